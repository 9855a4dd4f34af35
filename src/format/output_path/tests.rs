use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};

use bstr::BString;

use super::super::aterm;
use super::super::derivation::{DerivationOutput, InputNode};
use super::super::fixtures::{loader, named, recorded, store_path};
use super::*;

fn all(version: &str) -> HashMap<StorePath, Arc<Derivation>> {
    recorded(version).into_iter().map(|f| (f.path.clone(), Arc::new(f.parse()))).collect()
}

fn leaf(name: &str, inputs: &[&StorePath]) -> Derivation {
    let mut drv = named("leaf");
    drv.name = name.to_owned();
    drv.outputs = BTreeMap::from([("out".to_owned(), DerivationOutput::Deferred)]);
    drv.env = BTreeMap::new();
    let node = InputNode { outputs: ["out".to_owned()].into(), dynamic: BTreeMap::new() };
    drv.input_drvs = inputs.iter().map(|path| ((*path).clone(), node.clone())).collect();
    drv
}

#[test]
fn every_recorded_output_path_follows() {
    for version in ["2.8", "2.34"] {
        let drvs = all(version);
        let mut memo = Modulo::new(StoreDir::default());
        for (path, drv) in &drvs {
            check_invariants(path, drv, &mut memo, &mut loader(&drvs)).unwrap();
        }
        assert!(memo.len() <= drvs.len());
    }
}

#[test]
fn output_paths_are_filled_in_as_nix_wrote_them() {
    for version in ["2.8", "2.34"] {
        let drvs = all(version);
        let mut memo = Modulo::new(StoreDir::default());
        for (path, drv) in &drvs {
            let mut bare = Derivation::clone(drv);
            for (name, output) in &mut bare.outputs {
                if let DerivationOutput::InputAddressed(_) = output {
                    *output = DerivationOutput::Deferred;
                    bare.env.remove(name.as_bytes());
                }
                if let DerivationOutput::Fixed { path, .. } = output {
                    *path = store_path("unknown");
                    bare.env.insert(BString::from(name.as_str()), BString::default());
                }
            }
            fill_output_paths(&mut bare, &mut memo, &mut loader(&drvs)).unwrap();
            assert_eq!(&bare, drv.as_ref(), "{path}");
        }
    }
}

#[test]
fn ways_to_fetch_do_not_change_output_paths() {
    let drvs = all("2.34");
    let paths: Vec<_> =
        drvs.values().filter(|d| d.name == "uses-mirror").map(|d| d.output_path("out")).collect();
    assert_eq!(paths.len(), 2, "two derivations");
    assert_eq!(paths[0], paths[1], "one output");
}

#[test]
fn wrong_paths_variables_and_names_are_found() {
    let drvs = all("2.34");
    let mut memo = Modulo::new(StoreDir::default());
    let mut check = |name: &str, change: &dyn Fn(&mut Derivation)| {
        let (path, drv) = drvs.iter().find(|(_, d)| d.name == name).unwrap();
        let mut drv = Derivation::clone(drv);
        change(&mut drv);
        check_invariants(path, &drv, &mut memo, &mut loader(&drvs))
    };
    let wrong = |drv: &mut Derivation| {
        drv.outputs.insert("out".into(), DerivationOutput::InputAddressed(store_path("multi")));
    };
    let error = check("multi", &wrong).unwrap_err();
    assert!(error.to_string().contains("-multi.drv` has incorrect output"), "{error}");
    let changed = check("multi", &|drv| drv.builder = BString::from("/bin/bash"));
    assert!(matches!(changed, Err(OutputPathError::Incorrect { .. })));
    let variable = check("multi", &|drv| {
        drv.env.insert("dev".into(), "/nix/store/x".into());
    });
    assert!(matches!(variable, Err(OutputPathError::Variable { .. })));
    let fixed = check("flat-sha1", &|drv| {
        drv.env.remove(&b"out"[..]);
    });
    assert!(matches!(fixed, Err(OutputPathError::Variable { .. })));
    let renamed = check("flat-sha1", &|drv| drv.name = "other".into());
    assert!(matches!(renamed, Err(OutputPathError::NameMismatch { .. })));
    let platform = check("multi", &|drv| drv.platform = "a\"".into());
    assert!(matches!(platform, Err(OutputPathError::Platform(_))));
    let deferred = check("multi", &|drv| {
        drv.outputs.values_mut().for_each(|o| *o = DerivationOutput::Deferred);
    });
    assert!(matches!(deferred, Err(OutputPathError::Incorrect { .. })));
}

#[test]
fn missing_outputs_and_inputs_are_errors() {
    let input = store_path("input.drv");
    let drvs = HashMap::from([(input.clone(), Arc::new(named("no-out")))]);
    let mut drv = leaf("x", &[&input]);
    let mut memo = Modulo::new(StoreDir::default());
    let error = fill_output_paths(&mut drv, &mut memo, &mut loader(&drvs)).unwrap_err();
    assert!(matches!(error, OutputPathError::NoSuchOutput { .. }), "{error}");
    let none = HashMap::new();
    let mut memo = Modulo::new(StoreDir::default());
    let error = fill_output_paths(&mut drv, &mut memo, &mut loader(&none)).unwrap_err();
    assert!(matches!(error, OutputPathError::Load { .. }), "{error}");
}

#[test]
fn derivations_that_need_each_other_are_an_error() {
    let (a, b) = (store_path("a.drv"), store_path("b.drv"));
    let drvs = HashMap::from([
        (a.clone(), Arc::new(leaf("a", &[&b]))),
        (b.clone(), Arc::new(leaf("b", &[&a]))),
    ]);
    let mut memo = Modulo::new(StoreDir::default());
    let error = memo.of_path(&a, &mut loader(&drvs)).unwrap_err();
    assert!(matches!(error, OutputPathError::Cycle(_)), "{error}");
    let own = HashMap::from([(a.clone(), Arc::new(leaf("a", &[&a])))]);
    assert!(matches!(memo.of_path(&a, &mut loader(&own)), Err(OutputPathError::Cycle(_))));
}

#[test]
fn each_derivation_of_a_graph_is_loaded_once() {
    // Each layer needs both of the one below: 2^60 paths, 120 derivations.
    let path = |layer: usize, side: usize| store_path(&format!("l{layer}-{side}.drv"));
    let mut drvs = HashMap::new();
    for layer in 0..60 {
        for side in 0..2 {
            let below: Vec<_> =
                if layer == 0 { Vec::new() } else { vec![path(layer - 1, 0), path(layer - 1, 1)] };
            let drv = leaf(&format!("l{layer}-{side}"), &below.iter().collect::<Vec<_>>());
            drvs.insert(path(layer, side), Arc::new(drv));
        }
    }
    let loads = Cell::new(0);
    let mut from_map = loader(&drvs);
    let mut load = |path: &StorePath| {
        loads.set(loads.get() + 1);
        from_map(path)
    };
    let mut memo = Modulo::new(StoreDir::default());
    memo.of_path(&path(59, 0), &mut load).unwrap();
    memo.of_path(&path(59, 1), &mut load).unwrap();
    assert_eq!(loads.get(), 120);
}

#[test]
fn a_chain_of_many_does_not_overflow_the_stack() {
    const LENGTH: usize = 30_000;
    let path = |n: usize| store_path(&format!("c{n}.drv"));
    let mut load = |at: &StorePath| {
        let n: usize = at.name()[1..at.name().len() - 4].parse().unwrap();
        let below = n.checked_sub(1).map(path);
        Ok(Arc::new(chain_link(n, below)))
    };
    fn chain_link(n: usize, below: Option<StorePath>) -> Derivation {
        let node = InputNode { outputs: ["out".to_owned()].into(), dynamic: BTreeMap::new() };
        Derivation {
            name: format!("c{n}"),
            outputs: BTreeMap::from([("out".to_owned(), DerivationOutput::Deferred)]),
            input_drvs: below.into_iter().map(|path| (path, node.clone())).collect(),
            input_srcs: BTreeSet::new(),
            platform: BString::default(),
            builder: BString::default(),
            args: Vec::new(),
            env: BTreeMap::new(),
        }
    }
    let mut memo = Modulo::new(StoreDir::default());
    memo.of_path(&path(LENGTH), &mut load).unwrap();
    assert_eq!(memo.len(), LENGTH + 1);
}

#[test]
fn floating_inputs_defer_output_paths() {
    let drvs = all("2.34");
    let mut memo = Modulo::new(StoreDir::default());
    let floating = drvs.iter().find(|(_, d)| d.name == "floating").unwrap().0;
    let mut drv = leaf("x", &[floating]);
    fill_output_paths(&mut drv, &mut memo, &mut loader(&drvs)).unwrap();
    assert_eq!(drv.outputs["out"], DerivationOutput::Deferred);
    assert_eq!(drv.env[&b"out"[..]], "");
    let path = store_path("x.drv");
    assert!(check_invariants(&path, &drv, &mut memo, &mut loader(&drvs)).is_ok());
    drv.outputs.insert("out".into(), DerivationOutput::InputAddressed(store_path("x")));
    assert!(check_invariants(&path, &drv, &mut memo, &mut loader(&drvs)).is_err());
}

#[test]
fn source_and_text_paths_are_those_of_nix() {
    let dir = StoreDir::default();
    let drv = named("sources");
    let source = |name: &str| drv.input_srcs.iter().find(|p| p.name() == name).unwrap();
    let none = BTreeSet::new();
    let text = Hash::sha256(b"a text\nwith \"quotes\" and \\ and \t tabs\n");
    let text_path_found = text_path(&dir, "some-text", &text, &none).unwrap();
    assert_eq!(&text_path_found, source("some-text"));
    let referring = format!("refers to {}\n", dir.print(&text_path_found));
    let hash = Hash::sha256(referring.as_bytes());
    let references = [text_path_found].into();
    assert_eq!(&text_path(&dir, "referring", &hash, &references).unwrap(), source("referring"));
    // The NAR hash that `nix-store -q --hash` prints of the file.
    let nar = "sha256:04zwf782yjwnh3q6hz5izfd6jyip8kgw6g6yj43fiqhbyhdd0dqw";
    let nar = Hash::parse(nar, None).unwrap();
    let path = source_path(&dir, "file", &nar, &none, SelfReference::No).unwrap();
    assert_eq!(&path, source("file"));
    assert_eq!(path, fixed_output_path(&dir, "file", Method::Recursive, &nar).unwrap());
    let own = source_path(&dir, "file", &nar, &none, SelfReference::Yes).unwrap();
    assert_ne!(path, own);
}

#[test]
fn names_of_outputs() {
    assert_eq!(output_path_name("x", "out"), "x");
    assert_eq!(output_path_name("x", "dev"), "x-dev");
    assert!(check_output_name("out").is_ok());
    for bad in ["drv", "", "a/b", ".."] {
        assert!(check_output_name(bad).is_err(), "{bad}");
    }
    let mut drv = named("leaf");
    drv.name = "n".repeat(208);
    assert!(drv.drv_path(&StoreDir::default()).is_err(), "no room for `.drv`");
}

#[test]
fn placeholder_is_that_of_nix() {
    // `nix-instantiate --eval -E 'builtins.placeholder "out"'`
    assert_eq!(placeholder("out"), "/1rz4g4znpzjwh1xymhjpm42vipw92pr73vdgl6xs1hycac8kf2n9");
    let drv = named("placeholders");
    assert_eq!(drv.args, [placeholder("out")]);
    assert_eq!(drv.env[&b"p"[..]], placeholder("dev"));
}

#[test]
fn another_store_folder_gives_other_paths() {
    let text = aterm::print(&named("leaf"), &StoreDir::default());
    let text = String::from_utf8(text).unwrap().replace("/nix/store", "/gnu/store");
    let dir = StoreDir::new("/gnu/store").unwrap();
    let drv = aterm::parse("leaf", text.as_bytes(), &dir).unwrap();
    let mut memo = Modulo::new(dir);
    let none = HashMap::new();
    let path = store_path("leaf.drv");
    let error = check_invariants(&path, &drv, &mut memo, &mut loader(&none));
    assert!(matches!(error, Err(OutputPathError::Incorrect { .. })));
}
