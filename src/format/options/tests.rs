use super::super::fixtures::named;
use super::*;

const PATH: &str = "/nix/store/7h7qgvs4kgzsn8a6rb273saxyqh4jxlz-hello";

fn of(drv: &Derivation) -> Result<DerivationOptions, OptionsError> {
    DerivationOptions::from(drv, &StoreDir::default())
}

fn with(pairs: &[(&str, &str)]) -> Derivation {
    let mut drv = named("leaf");
    drv.env.extend(pairs.iter().map(|(name, value)| (BString::from(*name), BString::from(*value))));
    drv
}

fn error(pairs: &[(&str, &str)]) -> OptionsError {
    of(&with(pairs)).unwrap_err()
}

fn structured(json: &str) -> Result<DerivationOptions, OptionsError> {
    of(&with(&[("__json", json)]))
}

fn set<T: From<&'static str> + Ord>(items: &[&'static str]) -> BTreeSet<T> {
    items.iter().map(|item| T::from(item)).collect()
}

#[test]
fn a_plain_derivation_asks_for_nothing() {
    let options = of(&named("leaf")).unwrap();
    assert!(options.allow_substitutes && !options.prefer_local_build && !options.no_chroot);
    assert_eq!(options.outputs, Checks::default());
    assert!(options.outputs.of("out").is_none());
    assert_eq!(options.exports, Exports::default());
    let structured = of(&named("structured-fixed")).unwrap();
    assert_eq!(structured, options);
}

#[test]
fn flags_and_lists_in_the_environment() {
    let options = of(&named("options")).unwrap();
    assert!(!options.allow_substitutes && options.prefer_local_build && options.no_chroot);
    assert_eq!(options.required_system_features, set(&["kvm", "big-parallel"]));
    assert_eq!(options.impure_env_vars, set(&["http_proxy", "https_proxy"]));
    assert_eq!(options.host_paths, set(&["/bin", "/usr/lib"]));
    assert_eq!(of(&named("pass-as-file")).unwrap().pass_as_file, set(&["big", "missing"]));
    // Only `1` is true.
    let options = of(&with(&[("preferLocalBuild", "true"), ("allowSubstitutes", "0")])).unwrap();
    assert!(!options.prefer_local_build && !options.allow_substitutes);
    let options = of(&with(&[("requiredSystemFeatures", "\ta\n b\r\n")])).unwrap();
    assert_eq!(options.required_system_features, set(&["a", "b"]));
}

#[test]
fn flags_and_lists_in_structured_attributes() {
    let options = of(&named("structured-options")).unwrap();
    assert!(!options.allow_substitutes && options.prefer_local_build && options.no_chroot);
    assert_eq!(options.required_system_features, set(&["kvm"]));
    assert_eq!(options.impure_env_vars, set(&["a"]));
    let host = structured(r#"{"__hostPaths":"/a  /b"}"#).unwrap().host_paths;
    assert_eq!(host, structured(r#"{"__hostPaths":["/b","/a"]}"#).unwrap().host_paths);
    assert_eq!(host, set(&["/a", "/b"]));
}

#[test]
fn rules_for_outputs_in_the_environment() {
    let drv = named("checks");
    let options = of(&drv).unwrap();
    let rules = options.outputs.of("dev").unwrap();
    assert_eq!(Some(rules), options.outputs.of("out"));
    assert!(rules.ignore_self_refs);
    let dir = StoreDir::default();
    let path = |text: &str| RefSpec::Path(dir.parse(text.as_bytes()).unwrap());
    let leaf = named("leaf").output_path("out").map(|p| dir.print(p)).unwrap();
    let multi = named("multi").output_path("dev").map(|p| dir.print(p)).unwrap();
    let allowed = [RefSpec::Output("out".into()), path(&leaf)].into();
    assert_eq!(rules.allowed_references, Some(allowed));
    assert_eq!(rules.allowed_requisites, Some(BTreeSet::new()));
    assert_eq!(rules.disallowed_references, [path(&multi)].into());
    assert_eq!(rules.disallowed_requisites, [RefSpec::Output("dev".into())].into());
}

#[test]
fn rules_for_outputs_in_structured_attributes() {
    let options = of(&named("structured-checks")).unwrap();
    let out = options.outputs.of("out").unwrap();
    assert_eq!((out.max_size, out.max_closure_size), (Some(100), Some(1000)));
    assert!(!out.ignore_self_refs);
    assert_eq!(out.allowed_references.as_ref().unwrap().len(), 2);
    assert_eq!(out.allowed_requisites, Some(BTreeSet::new()));
    let dev = options.outputs.of("dev").unwrap();
    assert_eq!(dev.allowed_references, None);
    assert_eq!(dev.disallowed_references, [RefSpec::Output("out".into())].into());
    assert!(options.outputs.discards("dev") && !options.outputs.discards("out"));
    assert!(options.outputs.of("doc").is_none());
    assert!(options.pass_as_file.is_empty());
    assert_eq!(options.warnings.len(), 1, "{:?}", options.warnings);
    assert!(options.warnings[0].contains("'allowedReferences'"));
}

#[test]
fn graphs_for_the_builder() {
    let exports = of(&named("graphs")).unwrap().exports;
    assert_eq!(exports.references_graph.keys().collect::<Vec<_>>(), ["graph", "text"]);
    assert_eq!(exports.references_graph["text"].first().unwrap().name(), "some-text");
    assert_eq!(exports.build_references_graph["build-graph"].name(), "wide.drv");
    let exports = of(&named("attrs")).unwrap().exports;
    let sizes: Vec<_> =
        exports.references_graph.iter().map(|(k, v)| (k.as_str(), v.len())).collect();
    assert_eq!(sizes, [("graph", 1), ("graph-two", 2), ("one", 1)]);
    let inside = format!("g {PATH}/bin/x");
    let exports = of(&with(&[("exportReferencesGraph", &inside)])).unwrap().exports;
    assert_eq!(exports.references_graph["g"].first().unwrap().name(), "hello");
    let json = format!(r#"{{"exportBuildReferencesGraph":["g","{PATH}"]}}"#);
    assert_eq!(structured(&json).unwrap().exports.build_references_graph["g"].name(), "hello");
}

#[test]
fn bad_graphs_are_errors() {
    for attribute in [REFERENCES_GRAPH, BUILD_REFERENCES_GRAPH] {
        let odd = error(&[(attribute, "a b c")]);
        assert_eq!(odd.to_string(), format!("odd number of tokens in '{attribute}': 'a b c'"));
        let foreign = error(&[(attribute, "a /etc/passwd")]);
        assert!(matches!(foreign, OptionsError::NotInStore { .. }), "{foreign}");
        for name in ["..", "a/b", "/etc/x", "ü"] {
            let text = format!("{name} {PATH}");
            let bad = error(&[(attribute, &text)]);
            assert!(matches!(bad, OptionsError::FileName { .. }), "{bad}");
        }
    }
    assert!(matches!(
        error(&[(REFERENCES_GRAPH, &format!(".a {PATH}"))]),
        OptionsError::FileName { .. }
    ));
    assert!(structured(r#"{"exportReferencesGraph":{"a":1}}"#).is_err());
    assert!(structured(r#"{"exportReferencesGraph":{"a":"/etc"}}"#).is_err());
    let ignored = structured(r#"{"exportReferencesGraph":"a"}"#).unwrap();
    assert_eq!(ignored.warnings.len(), 1);
}

#[test]
fn wrong_types_are_errors() {
    for json in [
        r#"{"preferLocalBuild":"1"}"#,
        r#"{"allowSubstitutes":null}"#,
        r#"{"requiredSystemFeatures":"kvm"}"#,
        r#"{"impureEnvVars":[1]}"#,
        r#"{"outputChecks":[]}"#,
        r#"{"outputChecks":{"out":1}}"#,
        r#"{"outputChecks":{"out":{"maxSize":-1}}}"#,
        r#"{"outputChecks":{"out":{"maxSize":1.5}}}"#,
        r#"{"outputChecks":{"out":{"allowedReferences":"out"}}}"#,
        r#"{"unsafeDiscardReferences":{"out":"yes"}}"#,
    ] {
        assert!(matches!(structured(json), Err(OptionsError::Type { .. })), "{json}");
    }
    for json in ["", "[]", "1", "{", "\u{1}", "{\"a\":1e999}"] {
        assert!(matches!(structured(json), Err(OptionsError::Structured(_))), "{json}");
    }
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(matches!(structured(&deep), Err(OptionsError::Structured(_))));
}
