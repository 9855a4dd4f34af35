//! The recipes that the README shows are sound.

use std::collections::BTreeMap;
use std::sync::Arc;

use drover::format::output_path::{Modulo, check_invariants, fill_output_paths, text_path};
use drover::format::recipe::{Finish, Instance, Recipe, instantiate};
use drover::format::recipe_make::Surroundings;
use drover::format::{Derivation, Hash, StoreDir, StorePath, aterm};

fn example(name: &str) -> Recipe {
    let path = format!("{}/tests/examples/{name}", env!("CARGO_MANIFEST_DIR"));
    Recipe::parse(&std::fs::read_to_string(&path).unwrap(), name).unwrap()
}

#[test]
fn examples_are_recipes() {
    assert_eq!(example("hello.toml").tables[0].name, "hello");
    let pipeline = example("pipeline.toml");
    let (needed, wanted) = pipeline.select(&[]).unwrap();
    assert_eq!((needed.len(), wanted), (3, vec![2]));
    assert!(pipeline.tables[0].fixed.is_some());
}

#[test]
fn sources_of_examples_exist() {
    let folder = format!("{}/tests/examples", env!("CARGO_MANIFEST_DIR"));
    for name in ["hello.toml", "pipeline.toml"] {
        for source in example(name).tables.iter().flat_map(|t| &t.sources) {
            let path = std::path::Path::new(&folder).join(&source.path);
            assert!(path.exists(), "{name}:{}: {}", source.line, path.display());
        }
    }
}

/// The whole way without a store: names and hashes as they would be there.
struct Memory {
    memo: Modulo,
    drvs: BTreeMap<StorePath, Arc<Derivation>>,
}

impl Finish for Memory {
    fn outputs(&mut self, drv: &StorePath) -> Result<BTreeMap<String, StorePath>, String> {
        Err(format!("`{drv}` is not there"))
    }

    fn finish(&mut self, drv: &mut Derivation) -> Result<StorePath, String> {
        let drvs = &self.drvs;
        let mut load = |path: &StorePath| Ok(Arc::clone(&drvs[path]));
        fill_output_paths(drv, &mut self.memo, &mut load).map_err(|e| e.to_string())?;
        let dir = StoreDir::default();
        let text = aterm::print(drv, &dir);
        let references = drv.input_srcs.iter().chain(drv.input_drvs.keys()).cloned().collect();
        let name = format!("{}.drv", drv.name);
        let path = text_path(&dir, &name, &Hash::sha256(&text), &references);
        let path = path.map_err(|e| e.to_string())?;
        self.drvs.insert(path.clone(), Arc::new(drv.clone()));
        Ok(path)
    }
}

#[test]
fn derivations_of_recipes_keep_every_rule() {
    let recipe = example("pipeline.toml");
    let dir = StoreDir::default();
    let words = StorePath::from_parts(&[3; 20], "words.txt").unwrap();
    let sources = BTreeMap::from([("words.txt".to_owned(), words)]);
    let around = Surroundings { dir: &dir, system: "x86_64-linux", sources: &sources };
    let mut memory = Memory { memo: Modulo::new(dir.clone()), drvs: BTreeMap::new() };
    let made = instantiate(&recipe, &recipe.order, around, &mut memory).unwrap();
    assert_eq!(made.len(), 3);
    for Instance { path, derivation, .. } in &made {
        let mut memo = Modulo::new(dir.clone());
        let mut load = |path: &StorePath| Ok(Arc::clone(&memory.drvs[path]));
        check_invariants(path, derivation, &mut memo, &mut load).unwrap();
        let text = aterm::print(derivation, &dir);
        let again = aterm::parse(&derivation.name, &text, &dir).unwrap();
        assert_eq!(&again, derivation);
    }
}
