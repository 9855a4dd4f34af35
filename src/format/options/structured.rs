//! The same attributes where they stand in the JSON of `__json`.
//!
//! Types are checked strictly, for a rule that is misread is a rule that is not kept: what has the
//! wrong type is an error that names the attribute. What only warns in Nix is a warning here too.

use std::collections::{BTreeMap, BTreeSet};

use bstr::BString;
use serde_json::Value;

use super::super::{Derivation, StoreDir};
use super::{
    Attrs, BUILD_REFERENCES_GRAPH, Checks, DerivationOptions, Exports, OptionsError, OutputChecks,
    REFERENCES_GRAPH, RefSpec, build_graph, split, store_path,
};

/// Attributes that have an effect in the environment only.
const IGNORED: [&str; 6] = [
    "allowedReferences",
    "allowedRequisites",
    "disallowedReferences",
    "disallowedRequisites",
    "maxSize",
    "maxClosureSize",
];

type Result<T> = std::result::Result<T, OptionsError>;

pub(super) fn options(
    drv: &Derivation,
    attrs: &Attrs,
    dir: &StoreDir,
) -> Result<DerivationOptions> {
    let flag = |name, default| attrs.get(name).map_or(Ok(default), |value| boolean(name, value));
    let strings = |name| match attrs.get(name) {
        Some(value) => list(name, value),
        None => Ok(Vec::new()),
    };
    let bytes = |name| -> Result<BTreeSet<BString>> {
        Ok(strings(name)?.into_iter().map(BString::from).collect())
    };
    let mut warnings = Vec::new();
    for name in IGNORED.into_iter().filter(|name| attrs.contains_key(*name)) {
        warnings.push(format!(
            "'structuredAttrs' disables the effect of the top-level attribute '{name}'; \
             use 'outputChecks' instead"
        ));
    }
    let outputs = Checks {
        per_output: output_checks(attrs, dir)?,
        all: None,
        discard_references: discarded(attrs)?,
    };
    let exports = Exports {
        references_graph: references_graph(attrs, dir, &mut warnings)?,
        build_references_graph: build_graph(&words(drv, attrs, BUILD_REFERENCES_GRAPH)?, dir)?,
    };
    Ok(DerivationOptions {
        allow_substitutes: flag("allowSubstitutes", true)?,
        prefer_local_build: flag("preferLocalBuild", false)?,
        no_chroot: flag("__noChroot", false)?,
        required_system_features: strings("requiredSystemFeatures")?.into_iter().collect(),
        impure_env_vars: bytes("impureEnvVars")?,
        pass_as_file: BTreeSet::new(),
        exports,
        outputs,
        host_paths: split(&words(drv, attrs, "__hostPaths")?)
            .into_iter()
            .map(BString::from)
            .collect(),
        warnings,
    })
}

/// The text of an attribute of ours, where Nix has no rule: a list or one string with white space,
/// or the variable, where the attributes do not have it.
fn words(drv: &Derivation, attrs: &Attrs, name: &str) -> Result<Vec<u8>> {
    match attrs.get(name) {
        Some(Value::String(text)) => Ok(text.clone().into_bytes()),
        Some(value) => Ok(list(name, value)?.join(" ").into_bytes()),
        None => Ok(drv.env.get(name.as_bytes()).map(|v| v.to_vec()).unwrap_or_default()),
    }
}

fn output_checks(attrs: &Attrs, dir: &StoreDir) -> Result<BTreeMap<String, OutputChecks>> {
    let mut checks = BTreeMap::new();
    let Some(value) = attrs.get("outputChecks") else { return Ok(checks) };
    for (output, value) in object("outputChecks", value)? {
        let place = format!("outputChecks.{output}");
        let rules = object(&place, value)?;
        let refs = |name: &str| -> Result<Option<BTreeSet<RefSpec>>> {
            let Some(value) = rules.get(name) else { return Ok(None) };
            let texts = list(&format!("{place}.{name}"), value)?;
            Ok(Some(texts.iter().map(|text| RefSpec::parse(text, dir)).collect()))
        };
        let size = |name: &str| -> Result<Option<u64>> {
            let Some(value) = rules.get(name) else { return Ok(None) };
            let place = format!("{place}.{name}");
            value.as_u64().map(Some).ok_or_else(|| wrong(&place, "a number of bytes", value))
        };
        let rules = OutputChecks {
            ignore_self_refs: false,
            max_size: size("maxSize")?,
            max_closure_size: size("maxClosureSize")?,
            allowed_references: refs("allowedReferences")?,
            allowed_requisites: refs("allowedRequisites")?,
            disallowed_references: refs("disallowedReferences")?.unwrap_or_default(),
            disallowed_requisites: refs("disallowedRequisites")?.unwrap_or_default(),
        };
        checks.insert(output.clone(), rules);
    }
    Ok(checks)
}

fn discarded(attrs: &Attrs) -> Result<BTreeSet<String>> {
    let mut outputs = BTreeSet::new();
    let Some(value) = attrs.get("unsafeDiscardReferences") else { return Ok(outputs) };
    for (output, value) in object("unsafeDiscardReferences", value)? {
        if boolean(&format!("unsafeDiscardReferences.{output}"), value)? {
            outputs.insert(output.clone());
        }
    }
    Ok(outputs)
}

fn references_graph(
    attrs: &Attrs,
    dir: &StoreDir,
    warnings: &mut Vec<String>,
) -> Result<BTreeMap<String, BTreeSet<super::StorePath>>> {
    const NAME: &str = REFERENCES_GRAPH;
    let mut graphs = BTreeMap::new();
    let Some(value) = attrs.get(NAME) else { return Ok(graphs) };
    let Value::Object(value) = value else {
        warnings.push(format!("'{NAME}' in structured attrs is not a JSON object, ignoring"));
        return Ok(graphs);
    };
    for (key, value) in value {
        let mut paths = BTreeSet::new();
        // Lists in lists are flattened; their depth is bounded by the reader of the JSON.
        let mut open = vec![value];
        while let Some(value) = open.pop() {
            match value {
                Value::Array(values) => open.extend(values),
                Value::String(text) => {
                    paths.insert(store_path(NAME, text.as_bytes(), dir)?);
                }
                other => return Err(wrong(&format!("{NAME}.{key}"), "a list or string", other)),
            }
        }
        graphs.insert(key.clone(), paths);
    }
    Ok(graphs)
}

fn boolean(attribute: &str, value: &Value) -> Result<bool> {
    value.as_bool().ok_or_else(|| wrong(attribute, "a boolean", value))
}

fn object<'v>(attribute: &str, value: &'v Value) -> Result<&'v Attrs> {
    value.as_object().ok_or_else(|| wrong(attribute, "an object", value))
}

fn list(attribute: &str, value: &Value) -> Result<Vec<String>> {
    let items = value.as_array().ok_or_else(|| wrong(attribute, "a list of strings", value))?;
    let text = |item: &Value| {
        item.as_str().map(str::to_owned).ok_or_else(|| wrong(attribute, "a string", item))
    };
    items.iter().map(text).collect()
}

fn wrong(attribute: &str, expected: &'static str, found: &Value) -> OptionsError {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    OptionsError::Type { attribute: attribute.to_owned(), expected, found: found.to_owned() }
}
