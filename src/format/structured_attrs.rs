//! Structured attributes: the JSON in `__json` and the two files that a builder gets of it
//! (`src/libstore/parsed-derivations.cc` of Nix).
//!
//! `.attrs.json` is the JSON with the outputs and the exported graphs added, `.attrs.sh` what of it
//! bash can hold. Both are byte for byte what Nix 2.34 writes, quirks of its numbers included:
//! output hashes depend on them. Where files lie and which paths stand for outputs is the caller's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::{ContentAddress, Derivation, Hash, StoreDir, StorePath};

mod number;

/// The variable that holds the JSON.
pub const VARIABLE: &str = "__json";

/// Why the structured attributes of a derivation cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StructuredAttrsError {
    /// Not JSON, nested deeper than 128, or a number too large.
    #[error("cannot process {VARIABLE} attribute: {0}")]
    Json(String),
    /// JSON, but not an object.
    #[error("cannot process {VARIABLE} attribute: it is not a JSON object")]
    NotAnObject,
}

/// The structured attributes of `drv`, if it has any.
///
/// # Errors
/// [`StructuredAttrsError`] if they are not a JSON object.
pub fn parse(drv: &Derivation) -> Result<Option<Map<String, Value>>, StructuredAttrsError> {
    let Some(text) = drv.env.get(VARIABLE.as_bytes()) else { return Ok(None) };
    match serde_json::from_slice(text) {
        Ok(Value::Object(attrs)) => Ok(Some(attrs)),
        Ok(_) => Err(StructuredAttrsError::NotAnObject),
        Err(e) => Err(StructuredAttrsError::Json(e.to_string())),
    }
}

/// One path of an exported graph, as the builder reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphEntry {
    /// The path.
    pub path: StorePath,
    /// sha256 of its NAR.
    pub nar_hash: Hash,
    /// Bytes of its NAR.
    pub nar_size: u64,
    /// What it refers to, itself included where it does.
    pub references: BTreeSet<StorePath>,
    /// Its content address.
    pub ca: Option<ContentAddress>,
    /// Bytes of all NARs of its closure.
    pub closure_size: u64,
}

/// The JSON of an exported graph; entries are listed in order of their paths.
#[must_use]
pub fn graph_json(entries: &[GraphEntry], dir: &StoreDir) -> Value {
    let mut entries: Vec<_> = entries.iter().collect();
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let json = |entry: &&GraphEntry| {
        let references = entry.references.iter().map(|r| Value::from(dir.print(r))).collect();
        let mut object = Map::new();
        if let Some(ca) = &entry.ca {
            object.insert("ca".to_owned(), ca.to_string().into());
        }
        object.insert("closureSize".to_owned(), entry.closure_size.into());
        object.insert("narHash".to_owned(), entry.nar_hash.typed_base32().into());
        object.insert("narSize".to_owned(), entry.nar_size.into());
        object.insert("path".to_owned(), dir.print(&entry.path).into());
        object.insert("references".to_owned(), Value::Array(references));
        object.insert("valid".to_owned(), true.into());
        Value::Object(object)
    };
    Value::Array(entries.iter().map(json).collect())
}

/// The attributes as the builder gets them: with `outputs` (name to path as the builder sees it)
/// and each exported graph under its key. Both replace attributes of the same name.
#[must_use]
pub fn for_builder(
    mut attrs: Map<String, Value>,
    outputs: &BTreeMap<String, String>,
    graphs: BTreeMap<String, Value>,
) -> Map<String, Value> {
    let outputs = outputs.iter().map(|(name, path)| (name.clone(), path.as_str().into()));
    attrs.insert("outputs".to_owned(), Value::Object(outputs.collect()));
    attrs.extend(graphs);
    attrs
}

/// The text of `.attrs.json`: keys sorted, no white space.
#[must_use]
pub fn json_text(attrs: &Map<String, Value>) -> String {
    let mut text = String::new();
    write_object(&mut text, attrs);
    text
}

/// The same form for any JSON.
#[must_use]
pub fn value_text(value: &Value) -> String {
    let mut text = String::new();
    write_value(&mut text, value);
    text
}

/// The text of `.attrs.sh`: a `declare` line for each attribute that bash can hold. Names that are
/// no variables, fractions, and lists or objects with more than flat values in them are left out.
#[must_use]
pub fn shell_text(attrs: &Map<String, Value>) -> String {
    let mut text = String::new();
    for (name, value) in attrs.iter().filter(|(name, _)| is_variable(name)) {
        let declaration = match value {
            Value::Array(items) => list(items).map(|items| format!("-a {name}=({items})")),
            Value::Object(items) => table(items).map(|items| format!("-A {name}=({items})")),
            simple => scalar(simple).map(|value| format!("{name}={value}")),
        };
        if let Some(declaration) = declaration {
            let _ = writeln!(text, "declare {declaration}");
        }
    }
    text
}

fn is_variable(name: &str) -> bool {
    let start = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    name.bytes().next().is_some_and(start) && name.bytes().all(|b| start(b) || b.is_ascii_digit())
}

fn list(items: &[Value]) -> Option<String> {
    let mut text = String::new();
    for item in items {
        text.push_str(&scalar(item)?);
        text.push(' ');
    }
    Some(text)
}

fn table(items: &Map<String, Value>) -> Option<String> {
    let mut text = String::new();
    for (key, item) in items {
        let _ = write!(text, "[{}]={} ", quote(key), scalar(item)?);
    }
    Some(text)
}

/// A flat value as a word of bash; none for fractions, lists and objects.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(quote(text)),
        Value::Number(number) => number::shell(number),
        Value::Null => Some("''".to_owned()),
        Value::Bool(true) => Some("1".to_owned()),
        Value::Bool(false) => Some(String::new()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Recursion is bounded: values come from a reader that allows 128 levels.
fn write_value(text: &mut String, value: &Value) {
    match value {
        Value::Array(items) => {
            text.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                write_value(text, item);
            }
            text.push(']');
        }
        Value::Object(object) => write_object(text, object),
        Value::Number(number) => text.push_str(&number::json(number)),
        simple => {
            let _ = write!(text, "{simple}");
        }
    }
}

fn write_object(text: &mut String, object: &Map<String, Value>) {
    // Sorted here, since a feature of the JSON library may make its maps keep another order.
    let mut pairs: Vec<_> = object.iter().collect();
    pairs.sort_by(|a, b| a.0.cmp(b.0));
    text.push('{');
    for (i, (key, value)) in pairs.into_iter().enumerate() {
        if i > 0 {
            text.push(',');
        }
        let _ = write!(text, "{}:", Value::from(key.as_str()));
        write_value(text, value);
    }
    text.push('}');
}

#[cfg(test)]
mod tests;
