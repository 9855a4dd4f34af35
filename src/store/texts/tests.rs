use super::*;
use crate::store::test_support::Scratch;
use crate::store::{Durability, OpenOptions};

fn text(name: &str, contents: &str, references: &[&StorePath]) -> Text {
    Text {
        name: name.to_owned(),
        contents: contents.as_bytes().to_vec(),
        references: references.iter().map(|&path| path.clone()).collect(),
        outputs: BTreeMap::new(),
    }
}

#[test]
fn the_same_path_and_row_as_nix() {
    let (ours, theirs) = (Scratch::new(), Scratch::new());
    // The store folder is part of the path: Nix works on a store of its own at our folder.
    let mut nix = ours.command("nix-instantiate");
    nix.env("NIX_STATE_DIR", &theirs.layout.state_dir);
    let expression = "builtins.toFile \"two\" \"see ${builtins.toFile \"one\" \"1\"}\"";
    let output =
        nix.args(["--eval", "--read-write-mode", "--json", "-E", expression]).output().unwrap();
    let said: String = serde_json::from_slice(&output.stdout).unwrap();
    let their_path = ours.layout.store_dir.parse(said.as_bytes()).unwrap();
    let mut at = ours.layout.clone();
    at.state_dir = theirs.layout.state_dir.clone();
    let their_store = Store::open(at, OpenOptions::default()).unwrap();
    let mut expected = their_store.db().info(&their_path).unwrap().unwrap();

    let store = ours.open();
    let one = store.add_text(text("one", "1", &[])).unwrap();
    let see = format!("see {}", store.layout().store_dir.print(&one));
    let two = store.add_text(text("two", &see, &[&one])).unwrap();
    let mut info = store.db().info(&two).unwrap().unwrap();
    (info.registration_time, expected.registration_time) = (0, 0);
    assert_eq!(info, expected);
    ours.nix("nix-store", &["--verify", "--check-contents"]);
    assert_eq!(store.db().all_valid().unwrap().len(), 2);
}

#[test]
fn thousands_at_once() {
    let scratch = Scratch::new();
    let options = OpenOptions { durability: Durability::Relaxed, ..OpenOptions::default() };
    let store = Store::open(scratch.layout.clone(), options).unwrap();
    let mut texts: Vec<Text> =
        (0..2000).map(|n| text(&format!("t{n}"), &n.to_string(), &[])).collect();
    texts.push(texts[0].clone());
    let paths = store.add_texts(&texts).unwrap();
    assert_eq!((paths.len(), &paths[0]), (2001, &paths[2000]));
    assert_eq!(store.db().all_valid().unwrap().len(), 2000);
    assert_eq!(store.add_texts(&texts).unwrap(), paths, "adding again changes nothing");
    let names = std::fs::read_dir(&scratch.layout.real_store_dir).unwrap();
    assert_eq!(names.count(), 2000, "no lock files, no temporary folders");
    scratch.nix("nix-store", &["--verify", "--check-contents"]);
    assert_eq!(store.db().all_valid().unwrap().len(), 2000);
}

#[test]
fn garbage_in_the_place_is_replaced() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let dir = &store.layout().store_dir;
    let new = |name: &str| text(name, "right", &[]);
    for name in ["file", "folder", "link"] {
        let place = store.layout().real(&info_of(dir, &new(name)).unwrap().path);
        match name {
            "file" => std::fs::write(&place, "wrong").unwrap(),
            "folder" => {
                std::fs::create_dir(&place).unwrap();
                std::fs::write(place.join("x"), "").unwrap();
                std::fs::set_permissions(&place, Permissions::from_mode(0o555)).unwrap();
            }
            _ => std::os::unix::fs::symlink("/etc/passwd", &place).unwrap(),
        }
        store.add_text(new(name)).unwrap();
        assert_eq!(std::fs::read(&place).unwrap(), b"right");
        assert!(place.symlink_metadata().unwrap().is_file());
    }
    assert_eq!(std::fs::read_dir(&scratch.layout.real_store_dir).unwrap().count(), 3);
}

#[test]
fn a_reference_that_is_not_valid_is_refused() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let absent = crate::store::test_support::path('a', "a");
    let result = store.add_text(text("x", "", &[&absent]));
    assert!(matches!(result, Err(StoreError::ReferenceNotValid { .. })), "{result:?}");
    assert!(store.add_text(text("not a name", "", &[])).is_err());
    assert!(store.db().all_valid().unwrap().is_empty());
}

#[test]
fn many_writers_of_one_text() {
    let scratch = Scratch::new();
    let store = scratch.open();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let own = Store::open(scratch.layout.clone(), OpenOptions::default()).unwrap();
                let texts: Vec<Text> =
                    (0..20).map(|n| text(&format!("t{n}"), "same", &[])).collect();
                own.add_texts(&texts).unwrap();
            });
        }
    });
    assert_eq!(store.db().all_valid().unwrap().len(), 20);
    assert_eq!(std::fs::read_dir(&scratch.layout.real_store_dir).unwrap().count(), 20);
    scratch.nix("nix-store", &["--verify", "--check-contents"]);
    assert_eq!(store.db().all_valid().unwrap().len(), 20);
}

#[test]
fn a_tree_is_moved_and_registered_once() {
    use crate::store::add::{Added, LaidOut};
    let scratch = Scratch::new();
    let store = scratch.open();
    let syncer = store.syncer(sync_file).unwrap();
    let info = info_of(&store.layout().store_dir, &text("x", "tree", &[])).unwrap();
    for expected in [Added::Now, Added::Before] {
        let temp = store.temp_dir().unwrap();
        let at = temp.path().join("x");
        write_text(&at, b"tree").unwrap();
        let registration = Registration::from(info.clone());
        let tree = LaidOut { temp: &temp, at: &at, entries: 1, registration };
        assert_eq!(store.add_tree(tree, &syncer).unwrap(), expected);
    }
    scratch.nix("nix-store", &["--verify", "--check-contents"]);
    assert_eq!(store.db().all_valid().unwrap(), [info.path].into());
}
