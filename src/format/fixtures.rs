//! Derivations that real Nix wrote, for tests (`scripts/record-fixtures` records them), and
//! random ones.
//!
//! The recorded ones keep us honest: nothing here was printed by drover itself. The random ones
//! follow the rules for outputs, so every reader must accept what a printer makes of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use bstr::BString;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

use super::output_path::BoxError;
use super::{
    Algorithm, Derivation, DerivationOutput, Hash, InputNode, Method, StoreDir, StorePath, aterm,
};

/// One recorded `.drv`.
pub struct Fixture {
    pub path: StorePath,
    pub text: Vec<u8>,
}

impl Fixture {
    pub fn name(&self) -> &str {
        self.path.name().strip_suffix(".drv").unwrap()
    }

    pub fn parse(&self) -> Derivation {
        aterm::parse(self.name(), &self.text, &StoreDir::default())
            .unwrap_or_else(|e| panic!("{}: {e}", self.path))
    }
}

pub fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// All `.drv` files that the Nix of this version wrote.
pub fn recorded(version: &str) -> Vec<Fixture> {
    let mut fixtures = Vec::new();
    for entry in std::fs::read_dir(folder("derivations").join(version)).unwrap() {
        let file = entry.unwrap().path();
        let base = file.file_name().unwrap().to_str().unwrap().as_bytes().to_vec();
        let path = StorePath::from_base_name(&base).unwrap();
        fixtures.push(Fixture { path, text: std::fs::read(&file).unwrap() });
    }
    fixtures.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(fixtures.len() >= 70, "{version} has {} fixtures", fixtures.len());
    fixtures
}

/// The recorded derivation of this name; the newest Nix's.
pub fn named(name: &str) -> Derivation {
    let found = recorded("2.34").into_iter().find(|f| f.name() == name);
    found.unwrap_or_else(|| panic!("no fixture is called {name}")).parse()
}

/// Gives derivations from a map.
pub fn loader(
    drvs: &HashMap<StorePath, Arc<Derivation>>,
) -> impl FnMut(&StorePath) -> Result<Arc<Derivation>, BoxError> + '_ {
    |path| drvs.get(path).cloned().ok_or_else(|| format!("{path} is not there").into())
}

pub fn store_path(name: &str) -> StorePath {
    StorePath::from_parts(&[7; 20], name).unwrap()
}

fn any_name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9+_?=][a-zA-Z0-9+_?=.-]{0,8}"
}

fn any_path() -> impl Strategy<Value = StorePath> {
    (any::<[u8; 20]>(), any_name()).prop_map(|(d, n)| StorePath::from_parts(&d, &n).unwrap())
}

fn any_bytes() -> impl Strategy<Value = BString> {
    vec(prop_oneof![any::<u8>(), Just(b'"'), Just(b'\\'), Just(b'\n')], 0..12)
        .prop_map(BString::from)
}

fn any_algorithm() -> impl Strategy<Value = Algorithm> {
    proptest::sample::select(Algorithm::ALL.to_vec())
}

fn any_method() -> impl Strategy<Value = Method> {
    proptest::sample::select(vec![Method::Flat, Method::Recursive, Method::Text, Method::Git])
}

fn any_outputs() -> impl Strategy<Value = BTreeMap<String, DerivationOutput>> {
    let one = |output: DerivationOutput| BTreeMap::from([("out".to_owned(), output)]);
    prop_oneof![
        btree_map(any_name(), any_path().prop_map(DerivationOutput::InputAddressed), 1..4),
        btree_map(any_name(), Just(DerivationOutput::Deferred), 1..3),
        (any_method(), any_algorithm(), any::<[u8; 4]>()).prop_map(move |(method, a, data)| {
            // The path is set when the name is known.
            one(DerivationOutput::Fixed { path: store_path("x"), method, hash: Hash::of(a, &data) })
        }),
        (any_method(), any_algorithm()).prop_map(move |(method, algorithm)| one(
            DerivationOutput::Floating { method, algorithm }
        )),
        (any_method(), any_algorithm()).prop_map(move |(method, algorithm)| one(
            DerivationOutput::Impure { method, algorithm }
        )),
    ]
}

fn any_node() -> impl Strategy<Value = InputNode> {
    let leaf = btree_set(any_name(), 1..3)
        .prop_map(|outputs| InputNode { outputs, dynamic: BTreeMap::new() });
    leaf.prop_recursive(3, 8, 2, |inner| {
        (btree_set(any_name(), 0..3), btree_map(any_name(), inner, 1..3))
            .prop_map(|(outputs, dynamic)| InputNode { outputs, dynamic })
    })
}

fn any_srcs() -> impl Strategy<Value = BTreeSet<StorePath>> {
    btree_set(any_path(), 0..4)
}

/// Random derivations that follow the rules for outputs.
pub fn any_derivation() -> impl Strategy<Value = Derivation> {
    let drv_path = any_path()
        .prop_map(|path| StorePath::from_base_name(format!("{path}.drv").as_bytes()).unwrap());
    let inputs = (btree_map(drv_path, any_node(), 0..4), any_srcs());
    let words = ("[a-z0-9_-]{1,8}", any_bytes(), vec(any_bytes(), 0..4));
    let env = btree_map(any_bytes(), any_bytes(), 0..5);
    (any_name(), any_outputs(), inputs, words, env).prop_map(
        |(name, mut outputs, (input_drvs, input_srcs), (platform, builder, args), env)| {
            let dir = StoreDir::default();
            if let Some(DerivationOutput::Fixed { path, method, hash }) = outputs.get_mut("out") {
                *path = super::output_path::fixed_output_path(&dir, &name, *method, hash).unwrap();
            }
            let platform = BString::from(platform);
            Derivation { name, outputs, input_drvs, input_srcs, platform, builder, args, env }
        },
    )
}
