//! The recipes that the README shows are sound.

use drover::format::recipe::Recipe;

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
