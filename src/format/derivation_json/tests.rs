use proptest::prelude::*;

use super::super::fixtures::{any_derivation, folder, named, recorded};
use super::*;

fn shown(file: &str) -> String {
    let file = folder("derivation_json/2.34").join(file).with_extension("json");
    std::fs::read_to_string(file).unwrap()
}

const FILES: [&str; 4] = ["plain", "structured", "experimental", "dynamic"];

#[test]
fn show_prints_the_bytes_of_nix() {
    let fixtures = recorded("2.34");
    for file in FILES {
        let given: Value = serde_json::from_str(&shown(file)).unwrap();
        let drvs: Vec<_> = fixtures
            .iter()
            .filter(|f| given["derivations"].get(f.path.as_str()).is_some())
            .map(|f| (f.path.clone(), f.parse()))
            .collect();
        assert_eq!(drvs.len(), given["derivations"].as_object().unwrap().len());
        let ours = show(drvs.iter().map(|(path, drv)| (path, drv))).unwrap();
        assert_eq!(text(&ours), shown(file).trim_end(), "{file}");
    }
}

#[test]
fn what_nix_shows_reads_as_the_derivation() {
    let fixtures = recorded("2.34");
    let dir = StoreDir::default();
    let mut count = 0;
    for file in FILES {
        let given: Value = serde_json::from_str(&shown(file)).unwrap();
        for fixture in &fixtures {
            let Some(json) = given["derivations"].get(fixture.path.as_str()) else { continue };
            assert_eq!(from_json(json, &dir).unwrap(), fixture.parse(), "{}", fixture.path);
            count += 1;
        }
    }
    assert!(count >= fixtures.len());
}

fn changed(name: &str, change: impl FnOnce(&mut Value)) -> DerivationJsonError {
    let mut json = to_json(&named(name)).unwrap();
    change(&mut json);
    let bytes = text(&json);
    parse(bytes.as_bytes(), &StoreDir::default()).unwrap_err()
}

#[test]
fn missing_and_wrong_values_name_their_place() {
    for key in ["name", "version", "outputs", "inputs", "system", "builder", "args", "env"] {
        let error = changed("multi", |json| {
            json.as_object_mut().unwrap().remove(key);
        });
        assert_eq!(error, DerivationJsonError::Missing(key.to_owned()));
        let error = changed("multi", |json| json[key] = Value::Bool(true));
        assert!(error.to_string().contains(key), "{error}");
    }
    let error = changed("multi", |json| json["env"]["x"] = 1.into());
    assert_eq!(error.to_string(), "derivation JSON: `env.x` must be a string");
    let error = changed("multi", |json| json["inputs"]["srcs"] = json!(["/etc/passwd"]));
    assert!(matches!(error, DerivationJsonError::Path { .. }));
    let error = changed("multi", |json| json["system"] = "a\",\"/evil".into());
    assert!(error.to_string().contains("`system`"), "{error}");
    let error = changed("uses-multi", |json| {
        let node = json!({"outputs": ["out"], "dynamicOutputs": {}});
        json["inputs"]["drvs"]["00000000000000000000000000000000-a"] = node;
    });
    assert!(error.to_string().contains("the path of a derivation"), "{error}");
    assert!(matches!(
        changed("multi", |json| json["version"] = 3.into()),
        DerivationJsonError::Version(_)
    ));
    assert_eq!(
        changed("multi", |json| json["env"]["__json"] = "{}".into()),
        DerivationJsonError::Reserved
    );
    assert!(matches!(parse(b"{", &StoreDir::default()), Err(DerivationJsonError::Syntax(_))));
}

#[test]
fn what_nix_adds_has_the_same_paths() {
    // `nix derivation add` of 2.34 printed this path for this JSON with `"out":""`; without the
    // variable it refuses, we add it.
    let expected = "4ik8ifprmxkh3n3q62c432kmlip688c8-x.drv";
    let dir = StoreDir::default();
    for env in [r#"{"out":""}"#, "{}"] {
        let json = format!(
            r#"{{"args":[],"builder":"/b","env":{env},"inputs":{{"drvs":{{}},"srcs":[]}},
                "name":"x","outputs":{{"out":{{}}}},"system":"s","version":4}}"#
        );
        let mut drv = parse(json.as_bytes(), &dir).unwrap();
        let mut memo = output_path::Modulo::new(dir.clone());
        let mut none = |path: &StorePath| Err(format!("{path} is not there").into());
        output_path::fill_output_paths(&mut drv, &mut memo, &mut none).unwrap();
        assert_eq!(drv.drv_path(&dir).unwrap().as_str(), expected);
        let out = drv.output_path("out").unwrap();
        assert_eq!(out.as_str(), "b8g7kgsgcjkh6fpx7kwidq4b37a9s85w-x");
    }
}

#[test]
fn outputs_are_of_one_kind() {
    let error = changed("multi", |json| json["outputs"]["out"] = json!({"a": 1}));
    assert_eq!(error, DerivationJsonError::Output("out".to_owned()));
    let error = changed("multi", |json| json["outputs"]["out"] = json!({}));
    assert!(matches!(error, DerivationJsonError::Outputs(_)));
    let error = changed("multi", |json| json["outputs"]["drv"] = json!({}));
    assert!(matches!(error, DerivationJsonError::Path { .. }));
    let error = changed("multi", |json| json["outputs"] = json!({}));
    assert!(matches!(error, DerivationJsonError::Outputs(_)));
    for hash in ["sha256:00", "e3b0", "sha256-!", "sha3-AAAA"] {
        let error = changed("rec-sha256", |json| json["outputs"]["out"]["hash"] = hash.into());
        assert!(matches!(error, DerivationJsonError::Hash { .. }), "{hash}");
    }
    let error = changed("rec-sha256", |json| json["outputs"]["out"]["method"] = "r:".into());
    assert!(matches!(error, DerivationJsonError::Type { .. }));
}

#[test]
fn strings_that_are_not_utf8_are_named() {
    let mut drv = named("leaf");
    drv.env.insert("bad".into(), BString::from(&b"\xff"[..]));
    let error = to_json(&drv).unwrap_err();
    assert!(error.to_string().contains("variable `bad`"), "{error}");
    let mut drv = named("leaf");
    drv.args.push(BString::from(&b"\xff"[..]));
    assert!(to_json(&drv).is_err());
}

#[test]
fn deep_dynamic_outputs_are_an_error() {
    let mut node = json!({"outputs": ["out"], "dynamicOutputs": {}});
    for _ in 0..=MAX_DEPTH {
        node = json!({"outputs": [], "dynamicOutputs": {"out": node}});
    }
    let mut json = to_json(&named("leaf")).unwrap();
    json["inputs"]["drvs"]["00000000000000000000000000000000-a.drv"] = node;
    assert_eq!(from_json(&json, &StoreDir::default()), Err(DerivationJsonError::TooDeep));
}

proptest! {
    #[test]
    fn round_trip(drv in any_derivation()) {
        let dir = StoreDir::default();
        match to_json(&drv) {
            Ok(json) => {
                prop_assert_eq!(parse(text(&json).as_bytes(), &dir).unwrap(), drv);
            }
            Err(e) => prop_assert!(matches!(e, DerivationJsonError::NotUtf8(_))),
        }
    }
}
