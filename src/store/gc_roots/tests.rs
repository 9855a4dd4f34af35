use super::*;
use crate::store::test_support::{Scratch, path};

#[test]
fn names_of_links_are_those_of_nix_build() {
    let name = |index, output| link_name(Path::new("/w/result"), index, output);
    assert_eq!(name(0, "out"), Path::new("/w/result"));
    assert_eq!(name(0, "dev"), Path::new("/w/result-dev"));
    assert_eq!(name(1, "out"), Path::new("/w/result-2"));
    assert_eq!(name(2, "dev"), Path::new("/w/result-3-dev"));
}

#[test]
fn a_link_is_a_root_of_nix_for_as_long_as_it_is_there() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let infos = [scratch.file('a', "a", b"a"), scratch.file('b', "b", b"b")];
    store.db().register(&infos.clone().map(Into::into)).unwrap();
    let link = scratch.dir.path().canonicalize().unwrap().join("deep/er/result");
    add_root(&scratch.layout, &link, &infos[0].path).unwrap();
    add_root(&scratch.layout, &link, &infos[1].path).unwrap();
    assert_eq!(std::fs::read_link(&link).unwrap(), store.layout().real(&infos[1].path));
    let roots = scratch.collect_garbage(&["--print-roots"]);
    let full = scratch.layout.store_dir.print(&infos[1].path);
    assert_eq!(roots.trim(), format!("{} -> {full}", link.display()));
    scratch.collect_garbage(&[]);
    assert_eq!(store.db().all_valid().unwrap(), [infos[1].path.clone()].into());
    std::fs::remove_file(&link).unwrap();
    scratch.collect_garbage(&[]);
    assert!(store.db().all_valid().unwrap().is_empty());
}

#[test]
fn nix_makes_the_same_indirect_root() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let info = scratch.file('a', "a", b"a");
    store.db().register(&[info.clone().into()]).unwrap();
    let link = scratch.dir.path().canonicalize().unwrap().join("result");
    let full = scratch.layout.store_dir.print(&info.path);
    let args = ["--realise", &full, "--add-root", link.to_str().unwrap(), "--indirect"];
    scratch.nix("nix-store", &args);
    let names = || {
        let entries = std::fs::read_dir(scratch.layout.auto_roots_dir()).unwrap();
        entries.map(|e| e.unwrap().file_name()).collect::<Vec<_>>()
    };
    let theirs = names();
    assert_eq!(theirs.len(), 1);
    std::fs::remove_dir_all(scratch.layout.auto_roots_dir()).unwrap();
    add_root(&scratch.layout, &link, &info.path).unwrap();
    assert_eq!(names(), theirs);
}

#[test]
fn nothing_of_the_users_is_replaced() {
    let scratch = Scratch::new();
    let layout = &scratch.layout;
    let dir = scratch.dir.path().canonicalize().unwrap();
    let target = path('a', "a");
    std::fs::write(dir.join("file"), "mine").unwrap();
    std::fs::create_dir(dir.join("folder")).unwrap();
    symlink(dir.join("file"), dir.join("link")).unwrap();
    for name in ["file", "folder", "link"] {
        let result = add_root(layout, &dir.join(name), &target);
        assert!(matches!(result, Err(StoreError::LinkInTheWay(_))), "{name}: {result:?}");
    }
    assert_eq!(std::fs::read_to_string(dir.join("link")).unwrap(), "mine");
    let inside = layout.real_store_dir.join("result");
    assert!(matches!(add_root(layout, &inside, &target), Err(StoreError::RootInStore(_))));
}

#[test]
fn a_diverted_store_is_linked_where_it_is() {
    let scratch = Scratch::new();
    let mut layout = scratch.layout.clone();
    layout.store_dir = crate::format::StoreDir::default();
    let link = scratch.dir.path().join("result");
    symlink("/nix/store/x", &link).unwrap();
    add_root(&layout, &link, &path('a', "a")).unwrap();
    assert_eq!(std::fs::read_link(&link).unwrap(), layout.real(&path('a', "a")));
}
