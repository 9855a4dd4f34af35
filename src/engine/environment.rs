//! What a builder sees: its environment, its arguments and the files that lie in its folder.
//!
//! Pure: the job hands in everything, and writes the files. Where two set
//! one variable the later wins: four bases, the derivation's own, what none may override.

use std::collections::{BTreeMap, BTreeSet};

use bstr::{BStr, BString, ByteSlice};

use crate::format::{Derivation, Hash, StoreDir};

/// What the environment is made from.
#[derive(Debug)]
pub struct Given<'a> {
    /// The derivation.
    pub drv: &'a Derivation,
    /// The logical store.
    pub store_dir: &'a StoreDir,
    /// The build folder as the builder sees it.
    pub build_dir: &'a BStr,
    /// `NIX_BUILD_CORES`.
    pub cores: usize,
    /// Names of variables to put into files (`passAsFile`).
    pub pass_as_file: &'a BTreeSet<BString>,
    /// For structured attributes: texts of `.attrs.json` and `.attrs.sh`, without rewriting.
    pub structured: Option<Structured>,
    /// `impureEnvVars` with their values; for fixed outputs only.
    pub impure: BTreeMap<BString, BString>,
    /// Texts to replace wherever they occur: placeholders and redirected outputs.
    pub rewrites: &'a Rewrites,
}

/// The two files of structured attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Structured {
    /// Text of `.attrs.json`.
    pub json: BString,
    /// Text of `.attrs.sh`.
    pub shell: BString,
}

/// What a builder gets.
#[derive(Debug, PartialEq, Eq)]
pub struct Environment {
    /// Its whole environment.
    pub vars: BTreeMap<BString, BString>,
    /// Its arguments after `argv[0]`.
    pub args: Vec<BString>,
    /// Files to write into its folder: name and contents.
    pub files: Vec<(String, BString)>,
}

/// Replacements of texts, of equal length or not, in the order of what is replaced.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Rewrites(BTreeMap<Vec<u8>, Vec<u8>>);

impl Rewrites {
    /// Adds one; an empty `from` or one equal to `to` is left out.
    pub fn add(&mut self, from: &str, to: &str) {
        if !from.is_empty() && from != to {
            self.0.insert(from.into(), to.into());
        }
    }

    /// `text` with every replacement made. As in Nix, each is applied to the whole text in turn.
    #[must_use]
    pub fn apply(&self, text: &[u8]) -> BString {
        let mut text = BString::from(text);
        for (from, to) in &self.0 {
            if text.find(from).is_some() {
                text = text.replace(from, to).into();
            }
        }
        text
    }
}

/// Makes the environment.
#[must_use]
pub fn environment(given: &Given<'_>) -> Environment {
    let mut vars = BTreeMap::new();
    let mut files = Vec::new();
    set(&mut vars, "PATH", "/path-not-set");
    set(&mut vars, "HOME", "/homeless-shelter");
    set(&mut vars, "NIX_STORE", given.store_dir.as_str());
    set(&mut vars, "NIX_BUILD_CORES", &given.cores.to_string());
    match &given.structured {
        Some(structured) => add_structured(given, structured, &mut vars, &mut files),
        None => add_plain(given, &mut vars, &mut files),
    }
    for name in ["NIX_BUILD_TOP", "TMPDIR", "TEMPDIR", "TMP", "TEMP", "PWD"] {
        vars.insert(name.into(), given.build_dir.into());
    }
    if given.drv.is_fixed() {
        set(&mut vars, "NIX_OUTPUT_CHECKED", "1");
        vars.extend(given.impure.clone());
    }
    set(&mut vars, "NIX_LOG_FD", "2");
    set(&mut vars, "TERM", "xterm-256color");
    let args = given.drv.args.iter().map(|arg| given.rewrites.apply(arg)).collect();
    Environment { vars, args, files }
}

fn set(vars: &mut BTreeMap<BString, BString>, name: &str, value: &str) {
    vars.insert(name.into(), value.into());
}

fn in_build_dir(given: &Given<'_>, file: &str) -> BString {
    let mut path = given.build_dir.to_owned();
    path.push(b'/');
    path.extend_from_slice(file.as_bytes());
    path
}

fn add_plain(
    given: &Given<'_>,
    vars: &mut BTreeMap<BString, BString>,
    files: &mut Vec<(String, BString)>,
) {
    for (name, value) in &given.drv.env {
        let value = given.rewrites.apply(value);
        if given.pass_as_file.contains(name) {
            let file = format!(".attr-{}", Hash::sha256(name).base32());
            let mut variable = name.clone();
            variable.extend_from_slice(b"Path");
            vars.insert(variable, in_build_dir(given, &file));
            files.push((file, value));
        } else {
            vars.insert(name.clone(), value);
        }
    }
}

fn add_structured(
    given: &Given<'_>,
    structured: &Structured,
    vars: &mut BTreeMap<BString, BString>,
    files: &mut Vec<(String, BString)>,
) {
    let parts = [
        (".attrs.json", "NIX_ATTRS_JSON_FILE", &structured.json),
        (".attrs.sh", "NIX_ATTRS_SH_FILE", &structured.shell),
    ];
    for (file, variable, text) in parts {
        vars.insert(variable.into(), in_build_dir(given, file));
        files.push((file.to_owned(), given.rewrites.apply(text)));
    }
}
