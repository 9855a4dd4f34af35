//! Any text is a recipe or an error; of a recipe, every table can be made into a derivation.
#![no_main]

use std::collections::BTreeMap;

use drover::format::recipe::{Finish, Recipe, instantiate};
use drover::format::recipe_make::Surroundings;
use drover::format::{Derivation, DerivationOutput, StoreDir, StorePath};
use libfuzzer_sys::fuzz_target;

struct Stub;

impl Finish for Stub {
    fn outputs(&mut self, _: &StorePath) -> Result<BTreeMap<String, StorePath>, String> {
        Ok(BTreeMap::from([("out".to_owned(), path("x"))]))
    }

    fn finish(&mut self, drv: &mut Derivation) -> Result<StorePath, String> {
        for output in drv.outputs.values_mut() {
            if *output == DerivationOutput::Deferred {
                *output = DerivationOutput::InputAddressed(path(&drv.name));
            }
        }
        Ok(path(&format!("{}.drv", drv.name)))
    }
}

fn path(name: &str) -> StorePath {
    StorePath::from_parts(&[1; 20], name).expect("names of tables are names of the store")
}

fuzz_target!(|text: &str| {
    let Ok(recipe) = Recipe::parse(text, "fuzz.toml") else { return };
    let mut done = vec![false; recipe.tables.len()];
    for &table in &recipe.order {
        assert!(recipe.tables[table].needs().all(|n| done[n]), "inputs come first");
        assert!(!std::mem::replace(&mut done[table], true), "each table once");
    }
    assert!(done.iter().all(|&d| d), "all tables");
    let (needed, wanted) = recipe.select(&[]).expect("no name is unknown");
    assert!(wanted.iter().all(|w| needed.contains(w)));
    let all = recipe.tables.iter().flat_map(|t| &t.sources);
    let sources = all.map(|s| (s.path.clone(), path(&s.name))).collect();
    let dir = StoreDir::default();
    let around = Surroundings { dir: &dir, system: "x86_64-linux", sources: &sources };
    // Inputs may ask for outputs that are not there: an error, never a panic.
    let _ = instantiate(&recipe, &recipe.order, around, &mut Stub);
});
