//! Derivations as JSON, as `nix derivation show` and `add` of Nix 2.34 have them (version 4;
//! `src/libstore/derivations.cc` of Nix).
//!
//! Paths are base names, hashes SRI; structured attributes are a key of their own and no variable
//! `__json` is left. The path of a fixed output is not written, it follows from the hash. Output
//! paths may be left out: `output_path::fill_output_paths` computes them.

use std::collections::{BTreeMap, BTreeSet};

use bstr::{BStr, BString};
use serde_json::{Map, Value, json};

use super::aterm::MAX_DEPTH;
use super::derivation::{DerivationOutput, InputNode, Method};
use super::store_path::StorePathError;
use super::structured_attrs::{self, StructuredAttrsError, VARIABLE};
use super::{Algorithm, Derivation, Hash, HashError, StoreDir, StorePath, output_path};

/// The version that is read and written.
pub const VERSION: u64 = 4;

/// Why a derivation cannot be turned into JSON, or JSON into a derivation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DerivationJsonError {
    /// A string of the derivation that JSON cannot hold.
    #[error("{0} is not UTF-8, so it cannot be written as JSON")]
    NotUtf8(String),
    /// The text is not JSON.
    #[error("derivation is not JSON: {0}")]
    Syntax(String),
    /// A key is missing.
    #[error("derivation JSON lacks `{0}`")]
    Missing(String),
    /// A value has another type.
    #[error("derivation JSON: `{place}` must be {expected}")]
    Type {
        /// Its keys with dots between them.
        place: String,
        /// What it must be.
        expected: &'static str,
    },
    /// Another version of the format.
    #[error(
        "derivation JSON has version {0}, only version {VERSION} (that of Nix 2.34) is supported"
    )]
    Version(Value),
    /// Keys of an output that do not go together.
    #[error(
        "derivation JSON: output `{0}` must have `path`, or `method` and `hash`, or `method` and \
         `hashAlgo` (and `impure`), or nothing"
    )]
    Output(String),
    /// The variable that structured attributes are kept in.
    #[error("derivation JSON: variable `{VARIABLE}` is reserved, use `structuredAttrs`")]
    Reserved,
    /// Structured attributes of the derivation.
    #[error(transparent)]
    Structured(#[from] StructuredAttrsError),
    /// A path or a name.
    #[error("derivation JSON: `{place}`: {cause}")]
    Path {
        /// Where.
        place: String,
        /// What is wrong with it.
        cause: StorePathError,
    },
    /// A hash.
    #[error("derivation JSON: `{place}`: {cause}")]
    Hash {
        /// Where.
        place: String,
        /// What is wrong with it.
        cause: HashError,
    },
    /// Outputs that do not go together.
    #[error("derivation JSON: {0}")]
    Outputs(#[from] super::derivation::OutputsError),
    /// Dynamic outputs nested too deep.
    #[error("derivation JSON: dynamic outputs are nested deeper than {MAX_DEPTH}")]
    TooDeep,
}

type Result<T> = std::result::Result<T, DerivationJsonError>;

/// The JSON of one derivation.
///
/// # Errors
/// [`DerivationJsonError`] if a string is not UTF-8 or structured attributes are not JSON.
pub fn to_json(drv: &Derivation) -> Result<Value> {
    let structured = structured_attrs::parse(drv)?;
    let outputs = drv.outputs.iter().map(|(name, output)| (name.clone(), output_json(output)));
    let inputs = drv.input_drvs.iter().map(|(path, node)| (path.to_string(), node_json(node)));
    let args = drv.args.iter().enumerate().map(|(i, arg)| utf8(arg, || format!("args.{i}")));
    let mut env = Map::new();
    for (name, value) in drv.env.iter().filter(|(name, _)| name.as_slice() != VARIABLE.as_bytes()) {
        let place = || format!("variable `{name}`");
        env.insert(utf8(name, place)?, utf8(value, place)?.into());
    }
    let mut json = json!({
        "args": args.collect::<Result<Vec<String>>>()?,
        "builder": utf8(&drv.builder, || "builder".to_owned())?,
        "env": env,
        "inputs": {
            "drvs": inputs.collect::<Map<_, _>>(),
            "srcs": drv.input_srcs.iter().map(StorePath::as_str).collect::<Vec<_>>(),
        },
        "name": drv.name,
        "outputs": outputs.collect::<Map<_, _>>(),
        "system": utf8(&drv.platform, || "system".to_owned())?,
        "version": VERSION,
    });
    if let Some(attrs) = structured {
        json["structuredAttrs"] = Value::Object(attrs);
    }
    Ok(json)
}

/// What `nix derivation show` prints for these derivations; [`text`] gives its bytes.
///
/// # Errors
/// As [`to_json`].
pub fn show<'d>(drvs: impl IntoIterator<Item = (&'d StorePath, &'d Derivation)>) -> Result<Value> {
    let mut derivations = Map::new();
    for (path, drv) in drvs {
        derivations.insert(path.to_string(), to_json(drv)?);
    }
    Ok(json!({ "derivations": derivations, "version": VERSION }))
}

/// Prints JSON as Nix does: keys sorted, no white space, no line end.
#[must_use]
pub fn text(json: &Value) -> String {
    structured_attrs::value_text(json)
}

/// Reads the text of one derivation's JSON, as `nix derivation add` takes it.
///
/// # Errors
/// As [`from_json`], and if it is not JSON.
pub fn parse(bytes: &[u8], dir: &StoreDir) -> Result<Derivation> {
    let json = serde_json::from_slice(bytes);
    from_json(&json.map_err(|e| DerivationJsonError::Syntax(e.to_string()))?, dir)
}

/// Reads the JSON of one derivation. Outputs without path stay deferred; keys that are not known
/// are ignored, as Nix does.
///
/// # Errors
/// [`DerivationJsonError`] with the place and what is wrong.
pub fn from_json(json: &Value, dir: &StoreDir) -> Result<Derivation> {
    let json = object(json, "derivation")?;
    let version = get(json, "version", "")?;
    if version.as_u64() != Some(VERSION) {
        return Err(DerivationJsonError::Version(version.clone()));
    }
    let name = string(get(json, "name", "")?, "name")?;
    checked_name(&name, "name")?;
    let mut outputs = BTreeMap::new();
    for (output, value) in object(get(json, "outputs", "")?, "outputs")? {
        let place = format!("outputs.{output}");
        output_path::check_output_name(output)
            .map_err(|cause| DerivationJsonError::Path { place: place.clone(), cause })?;
        outputs.insert(output.clone(), read_output(value, &name, output, &place, dir)?);
    }
    let inputs = object(get(json, "inputs", "")?, "inputs")?;
    let mut input_srcs = BTreeSet::new();
    for path in strings(get(inputs, "srcs", "inputs.")?, "inputs.srcs")? {
        input_srcs.insert(store_path(&path, "inputs.srcs")?);
    }
    let mut input_drvs = BTreeMap::new();
    for (path, node) in object(get(inputs, "drvs", "inputs.")?, "inputs.drvs")? {
        let place = format!("inputs.drvs.{path}");
        let input = store_path(path, &place)?;
        if !input.is_derivation() {
            return Err(wrong(&place, "the path of a derivation"));
        }
        input_drvs.insert(input, read_node(node, &place, 0)?);
    }
    let args = strings(get(json, "args", "")?, "args")?;
    let drv = Derivation {
        outputs,
        input_drvs,
        input_srcs,
        platform: string(get(json, "system", "")?, "system")?.into(),
        builder: string(get(json, "builder", "")?, "builder")?.into(),
        args: args.into_iter().map(BString::from).collect(),
        env: read_env(json)?,
        name,
    };
    drv.check_outputs()?;
    if !drv.platform_is_plain() {
        return Err(wrong("system", "a string without quotes and backslashes"));
    }
    Ok(drv)
}

fn output_json(output: &DerivationOutput) -> Value {
    match output {
        DerivationOutput::InputAddressed(path) => json!({ "path": path.as_str() }),
        DerivationOutput::Fixed { method, hash, .. } => {
            json!({ "hash": hash.sri(), "method": method.word() })
        }
        DerivationOutput::Floating { method, algorithm } => {
            json!({ "hashAlgo": algorithm.name(), "method": method.word() })
        }
        DerivationOutput::Deferred => json!({}),
        DerivationOutput::Impure { method, algorithm } => {
            json!({ "hashAlgo": algorithm.name(), "impure": true, "method": method.word() })
        }
    }
}

/// The depth is bounded where nodes are made.
fn node_json(node: &InputNode) -> Value {
    let dynamic = node.dynamic.iter().map(|(name, child)| (name.clone(), node_json(child)));
    json!({ "dynamicOutputs": dynamic.collect::<Map<_, _>>(), "outputs": node.outputs })
}

fn read_output(
    value: &Value,
    drv_name: &str,
    name: &str,
    place: &str,
    dir: &StoreDir,
) -> Result<DerivationOutput> {
    let json = object(value, place)?;
    let mut keys: Vec<_> = json.keys().map(String::as_str).collect();
    keys.sort_unstable();
    let key = |key: &str| string(get(json, key, &format!("{place}."))?, &format!("{place}.{key}"));
    let method = || {
        let word = key("method")?;
        Method::from_word(&word).ok_or_else(|| DerivationJsonError::Type {
            place: format!("{place}.method"),
            expected: "one of flat, nar, text and git",
        })
    };
    let hash_error = |cause| DerivationJsonError::Hash { place: place.to_owned(), cause };
    let algorithm = || Algorithm::parse(&key("hashAlgo")?).map_err(hash_error);
    match keys.as_slice() {
        [] => Ok(DerivationOutput::Deferred),
        ["path"] => Ok(DerivationOutput::InputAddressed(store_path(&key("path")?, place)?)),
        ["hash", "method"] => {
            let (method, hash) = (method()?, sri(&key("hash")?).map_err(hash_error)?);
            let path_name = output_path::output_path_name(drv_name, name);
            let path = output_path::fixed_output_path(dir, &path_name, method, &hash);
            let path =
                path.map_err(|cause| DerivationJsonError::Path { place: place.to_owned(), cause })?;
            Ok(DerivationOutput::Fixed { path, method, hash })
        }
        ["hashAlgo", "method"] => {
            Ok(DerivationOutput::Floating { method: method()?, algorithm: algorithm()? })
        }
        ["hashAlgo", "impure", "method"] => {
            Ok(DerivationOutput::Impure { method: method()?, algorithm: algorithm()? })
        }
        _ => Err(DerivationJsonError::Output(name.to_owned())),
    }
}

/// SRI alone is accepted, as in Nix.
fn sri(text: &str) -> std::result::Result<Hash, HashError> {
    match Hash::parse(text, None)? {
        hash if hash.sri() == text => Ok(hash),
        _ => Err(HashError::Digits(text.to_owned())),
    }
}

fn read_node(value: &Value, place: &str, depth: usize) -> Result<InputNode> {
    if depth > MAX_DEPTH {
        return Err(DerivationJsonError::TooDeep);
    }
    let json = object(value, place)?;
    let outputs_place = format!("{place}.outputs");
    let outputs: BTreeSet<_> =
        strings(get(json, "outputs", &format!("{place}."))?, &outputs_place)?.into_iter().collect();
    for output in &outputs {
        checked_name(output, &outputs_place)?;
    }
    let mut dynamic = BTreeMap::new();
    let dynamic_place = format!("{place}.dynamicOutputs");
    for (output, node) in
        object(get(json, "dynamicOutputs", &format!("{place}."))?, &dynamic_place)?
    {
        checked_name(output, &dynamic_place)?;
        dynamic.insert(output.clone(), read_node(node, &dynamic_place, depth + 1)?);
    }
    if outputs.is_empty() && dynamic.is_empty() {
        return Err(DerivationJsonError::Type {
            place: outputs_place,
            expected: "a list with at least one output",
        });
    }
    Ok(InputNode { outputs, dynamic })
}

fn read_env(json: &Map<String, Value>) -> Result<BTreeMap<BString, BString>> {
    let mut env = BTreeMap::new();
    for (name, value) in object(get(json, "env", "")?, "env")? {
        let value = string(value, &format!("env.{name}"))?;
        env.insert(BString::from(name.as_str()), BString::from(value));
    }
    if env.contains_key(VARIABLE.as_bytes()) {
        return Err(DerivationJsonError::Reserved);
    }
    if let Some(attrs) = json.get("structuredAttrs") {
        let attrs = object(attrs, "structuredAttrs")?;
        env.insert(BString::from(VARIABLE), structured_attrs::json_text(attrs).into());
    }
    Ok(env)
}

fn utf8(bytes: &BString, place: impl Fn() -> String) -> Result<String> {
    let text = std::str::from_utf8(bytes);
    text.map(str::to_owned).map_err(|_| {
        let start: &BStr = bytes[..bytes.len().min(60)].into();
        DerivationJsonError::NotUtf8(format!("{} ({start:?})", place()))
    })
}

fn get<'v>(json: &'v Map<String, Value>, key: &str, prefix: &str) -> Result<&'v Value> {
    json.get(key).ok_or_else(|| DerivationJsonError::Missing(format!("{prefix}{key}")))
}

fn object<'v>(value: &'v Value, place: &str) -> Result<&'v Map<String, Value>> {
    value.as_object().ok_or_else(|| wrong(place, "an object"))
}

fn string(value: &Value, place: &str) -> Result<String> {
    value.as_str().map(str::to_owned).ok_or_else(|| wrong(place, "a string"))
}

fn strings(value: &Value, place: &str) -> Result<Vec<String>> {
    let items = value.as_array().ok_or_else(|| wrong(place, "a list of strings"))?;
    items.iter().map(|item| string(item, place)).collect()
}

fn store_path(text: &str, place: &str) -> Result<StorePath> {
    StorePath::from_base_name(text.as_bytes())
        .map_err(|cause| DerivationJsonError::Path { place: place.to_owned(), cause })
}

fn checked_name(name: &str, place: &str) -> Result<()> {
    super::store_path::check_name(name.as_bytes())
        .map_err(|cause| DerivationJsonError::Path { place: place.to_owned(), cause })
}

fn wrong(place: &str, expected: &'static str) -> DerivationJsonError {
    DerivationJsonError::Type { place: place.to_owned(), expected }
}

#[cfg(test)]
mod tests;
