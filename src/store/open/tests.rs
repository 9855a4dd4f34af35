use super::*;
use crate::store::Store;
use crate::store::test_support::Scratch;

fn open_with(scratch: &Scratch, access: Access) -> Result<Store, StoreError> {
    Store::open(scratch.layout.clone(), OpenOptions { access, ..OpenOptions::default() })
}

#[test]
fn a_new_store_is_one_of_nix() {
    let scratch = Scratch::new();
    let missing = open_with(&scratch, Access::ReadWrite);
    assert!(matches!(missing, Err(StoreError::Missing { .. })), "{missing:?}");
    drop(scratch.open());
    let layout = &scratch.layout;
    assert_eq!(std::fs::read_to_string(layout.schema_file()).unwrap(), "10");
    assert_eq!(layout.reserved_file().metadata().unwrap().len(), RESERVED_BYTES);
    assert!(layout.db_dir().join("db.sqlite-wal").exists(), "the log persists");
    scratch.nix("nix-store", &["--verify"]);
    let text = scratch.dir.path().join("text");
    std::fs::write(&text, "hello").unwrap();
    scratch.nix("nix-store", &["--add", text.to_str().unwrap()]);
    let store = open_with(&scratch, Access::ReadWrite).unwrap();
    assert_eq!(store.db().all_valid().unwrap().len(), 1);
}

#[test]
fn many_makers_of_one_store() {
    let scratch = Scratch::new();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| scratch.open());
        }
    });
    scratch.nix("nix-store", &["--verify"]);
}

#[test]
fn schemas_of_other_times() {
    let scratch = Scratch::new();
    drop(scratch.open());
    let with = |text: &str| {
        std::fs::write(scratch.layout.schema_file(), text).unwrap();
        open_with(&scratch, Access::Create).unwrap_err().to_string()
    };
    let newer = with("11");
    assert!(newer.starts_with("current Nix store schema is version 11, but I only support 10"));
    assert!(newer.contains(&*scratch.layout.db_dir().to_string_lossy()), "{newer}");
    assert!(with("7").contains("open it once with Nix"));
    assert!(with("ten").contains("`ten`"));
    assert!(with("").contains("schema"));
    std::fs::write(scratch.layout.schema_file(), "10\n").unwrap();
    assert!(open_with(&scratch, Access::Create).is_ok());
}

#[test]
fn symlinks_on_the_way_are_refused() {
    let scratch = Scratch::new();
    drop(scratch.open());
    let link = scratch.dir.path().canonicalize().unwrap().join("link");
    std::os::unix::fs::symlink(&scratch.layout.real_store_dir, &link).unwrap();
    let mut layout = scratch.layout.clone();
    layout.real_store_dir = link.join("below");
    let refused = Store::open(layout.clone(), OpenOptions::default());
    assert!(matches!(&refused, Err(StoreError::Symlink(at)) if *at == link), "{refused:?}");
    std::fs::create_dir(&layout.real_store_dir).unwrap();
    let allowed = OpenOptions { symlinks: Symlinks::Allow, ..OpenOptions::default() };
    Store::open(layout, allowed).unwrap();
}

#[test]
fn a_read_only_store_is_read_and_not_touched() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let info = scratch.file('a', "a", b"a");
    store.db().register(&[info.clone().into()]).unwrap();
    // Still in the log alone: who reads must not miss it.
    let reader = open_with(&scratch, Access::ReadOnly).unwrap();
    assert!(reader.db().info(&info.path).unwrap().is_some());
    // The last to close must be one who may copy the log back.
    drop(reader);
    drop(store);
    std::fs::remove_file(scratch.layout.big_lock()).unwrap();
    let store = open_with(&scratch, Access::ReadOnly).unwrap();
    assert!(store.db().info(&info.path).unwrap().is_some());
    let refused = store.db().register(&[info.clone().into()]);
    assert!(matches!(refused, Err(StoreError::ReadOnly(_))), "{refused:?}");
    store.add_temp_roots([&info.path]).unwrap();
    assert!(!scratch.layout.big_lock().exists());
    std::fs::remove_file(scratch.layout.db_dir().join("db.sqlite-shm")).unwrap();
    std::fs::remove_file(scratch.layout.db_dir().join("db.sqlite-wal")).unwrap();
    let store = open_with(&scratch, Access::ReadOnly).unwrap();
    assert!(store.db().info(&info.path).unwrap().is_some());
    let names = std::fs::read_dir(scratch.layout.db_dir()).unwrap();
    assert_eq!(names.count(), 3, "db.sqlite, reserved, schema");
    assert_eq!(std::fs::read_dir(scratch.layout.temp_roots_dir()).unwrap().count(), 0);
}

#[test]
fn what_is_not_a_database_is_an_error() {
    let scratch = Scratch::new();
    drop(scratch.open());
    for suffix in ["", "-wal", "-shm"] {
        let mut file = scratch.layout.db_file().into_os_string();
        file.push(suffix);
        std::fs::write(file, "rubbish, and more than a header of it".repeat(100)).unwrap();
    }
    let result = open_with(&scratch, Access::Create)
        .and_then(|store| store.db().all_valid().map(|paths| paths.len()));
    assert!(matches!(result, Err(StoreError::Damaged { .. })), "{result:?}");
}

#[test]
fn missing_permission_is_named() {
    let error = denied("creating", Path::new("/x"), io::Error::from_raw_os_error(libc::EACCES));
    assert!(matches!(error, StoreError::NoPermission { .. }));
    let error = denied("creating", Path::new("/x"), io::Error::from_raw_os_error(libc::EROFS));
    assert!(error.to_string().contains("--store"));
    let error = denied("creating", Path::new("/x"), io::Error::from_raw_os_error(libc::ENOSPC));
    assert!(error.is_no_space());
}
