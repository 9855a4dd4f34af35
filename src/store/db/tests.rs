use std::collections::BTreeSet;

use super::*;
use crate::format::{Algorithm, ValidPathInfo};
use crate::store::Store;
use crate::store::test_support::{Scratch, path};

const FIXTURE: &str = include_str!("../../../tests/fixtures/schema-2.34.8.sql");
const FIXTURE_CA: &str = include_str!("../../../tests/fixtures/schema-2.34.8-ca.sql");

/// `c` refers to `b` and itself, `b` to `a`; `d.drv` makes `c`.
fn family(scratch: &Scratch) -> [ValidPathInfo; 4] {
    let drv = scratch.file('d', "d.drv", b"not read by these tests");
    let a = scratch.file('a', "a", b"a");
    let mut b = scratch.file('b', "b", b"bb");
    b.references.insert(a.path.clone());
    let mut c = scratch.file('c', "c", b"ccc");
    c.references.extend([b.path.clone(), c.path.clone()]);
    c.deriver = Some(drv.path.clone());
    c.signatures.insert("key:c2ln".to_owned());
    [a, b, c, drv]
}

fn registrations(infos: &[ValidPathInfo]) -> Vec<Registration> {
    let mut all: Vec<Registration> = infos.iter().cloned().map(Registration::from).collect();
    if let Some(drv) = all.iter_mut().find(|r| r.info.path.is_derivation()) {
        drv.outputs.insert("out".to_owned(), path('c', "c"));
    }
    all
}

#[test]
fn nix_reads_what_we_register() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let infos = family(&scratch);
    store.db().register(&registrations(&infos[..3])).unwrap();
    let [a, b, c, _] = &infos;
    let full = |info: &ValidPathInfo| scratch.layout.store_dir.print(&info.path);
    let ask = |what: &str, info| scratch.nix("nix-store", &["-q", what, &full(info)]);
    assert_eq!(ask("--references", c), format!("{}\n{}\n", full(b), full(c)));
    assert_eq!(ask("--hash", c), format!("{}\n", c.nar_hash.typed_base32()));
    assert_eq!(ask("--size", b), format!("{}\n", b.nar_size));
    assert_eq!(ask("--referrers", a), format!("{}\n", full(b)));
    let drv = scratch.layout.store_dir.print(c.deriver.as_ref().unwrap());
    assert_eq!(ask("--deriver", c), format!("{drv}\n"));
    scratch.nix("nix-store", &["--verify", "--check-contents"]);
    assert_eq!(store.db().all_valid().unwrap().len(), 3, "verify found nothing to remove");
}

#[test]
fn we_read_what_nix_registers() {
    let scratch = Scratch::new();
    scratch.nix("nix-store", &["--init"]);
    let expression = "derivation { name = \"x\"; system = \"s\"; builder = \"b\"; \
                      src = builtins.toFile \"src\" \"hello\"; outputs = [ \"out\" \"dev\" ]; }";
    let drv = scratch.nix("nix-instantiate", &["-E", expression]);
    let store = scratch.open();
    let drv = store.layout().store_dir.parse(drv.trim().as_bytes()).unwrap();
    let info = store.db().info(&drv).unwrap().unwrap();
    let references: Vec<&str> = info.references.iter().map(|r| r.name()).collect();
    assert_eq!(references, ["src"]);
    assert!(info.ca.unwrap().starts_with("text:sha256:"));
    let full = store.layout().store_dir.print(&drv);
    let said = scratch.nix("nix-store", &["-q", "--hash", &full]);
    assert_eq!(said.trim(), info.nar_hash.typed_base32());
    let outputs = store.db().derivation_outputs([&drv]).unwrap().remove(&drv).unwrap();
    assert_eq!(outputs.keys().map(String::as_str).collect::<Vec<_>>(), ["dev", "out"]);
    let derivers = store.db().valid_derivers(outputs.values()).unwrap();
    assert_eq!(derivers[&outputs["dev"]], BTreeSet::from([drv.clone()]));
    assert_eq!(store.db().closure([&drv], Direction::References).unwrap().len(), 2);
}

#[test]
fn questions_about_many_paths() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let infos = family(&scratch);
    store.db().register(&registrations(&infos)).unwrap();
    let (db, [a, b, c, d]) = (store.db(), infos.each_ref().map(|info| info.path.clone()));
    let absent = path('f', "f");
    assert_eq!(db.valid([&c, &absent, &a]).unwrap(), BTreeSet::from([a.clone(), c.clone()]));
    let read = db.infos([&a, &b, &c, &d, &absent]).unwrap();
    assert_eq!(read.len(), 4);
    for info in &infos {
        let mut read = read[&info.path].clone();
        assert!(read.registration_time > 1_600_000_000, "the database stamps it");
        read.registration_time = 0;
        assert_eq!(&read, info);
    }
    assert_eq!(db.referrers([&b, &a]).unwrap()[&b], BTreeSet::from([c.clone()]));
    let forward = db.closure([&c, &absent], Direction::References).unwrap();
    assert_eq!(forward, BTreeSet::from([a.clone(), b.clone(), c.clone()]));
    assert_eq!(db.closure([&a], Direction::Referrers).unwrap(), forward);
    assert_eq!(db.deriver(&c).unwrap(), Some(d.clone()));
    assert_eq!(db.valid_derivers([&c]).unwrap()[&c], BTreeSet::from([d]));
    assert!(db.valid([]).unwrap().is_empty());
}

#[test]
fn a_bad_registration_changes_nothing() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let [a, mut b, mut c, _] = family(&scratch);
    let missing = store.db().register(&registrations(&[b.clone()]));
    assert!(matches!(missing, Err(StoreError::ReferenceNotValid { .. })), "{missing:?}");
    b.references.insert(c.path.clone());
    let cycle = store.db().register(&registrations(&[a.clone(), b.clone(), c.clone()]));
    let text = cycle.unwrap_err().to_string();
    let full = |info: &ValidPathInfo| scratch.layout.store_dir.print(&info.path);
    let expected =
        format!("cycle detected in the references of '{}' from '{}'", full(&b), full(&c));
    assert_eq!(text, expected);
    c.nar_hash = crate::format::Hash::of(Algorithm::Md5, b"");
    assert!(store.db().register(&registrations(&[a, c])).is_err());
    assert!(store.db().all_valid().unwrap().is_empty());
}

#[test]
fn registering_again_updates() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let [mut a, ..] = family(&scratch);
    a.registration_time = 7;
    store.db().register(&registrations(&[a.clone()])).unwrap();
    a.nar_size = 9;
    a.registration_time = 8;
    a.origin = crate::format::Origin::Elsewhere;
    store.db().register(&registrations(&[a.clone()])).unwrap();
    let read = store.db().info(&a.path).unwrap().unwrap();
    assert_eq!((read.nar_size, read.origin), (9, a.origin));
    assert_eq!(read.registration_time, 7, "the time of the first registration stays");
}

#[test]
fn a_group_fails_alone_and_takes_what_was_built_on_it() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let infos = family(&scratch);
    let [a, b, c, d] = infos.map(|info| registrations(&[info]));
    let group =
        |registrations, built_on| Group { registrations, built_on, standing: Standing::Sound };
    // `b` goes first and lacks its reference `a`; `d` refers to nothing but was built on `b`.
    let groups = [group(&b[..], &[]), group(&a, &[]), group(&d, &[0]), group(&c, &[])];
    let results = store.db().register_groups(&groups).unwrap();
    assert!(matches!(results[0], Err(StoreError::ReferenceNotValid { .. })));
    assert!(results[1].is_ok());
    assert!(matches!(results[2], Err(StoreError::BuiltOnRejected)));
    assert!(matches!(results[3], Err(StoreError::ReferenceNotValid { .. })));
    assert_eq!(store.db().all_valid().unwrap(), BTreeSet::from([path('a', "a")]));
}

#[test]
fn rows_of_others_that_break_rules_are_named() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let infos = family(&scratch);
    store.db().register(&registrations(&infos)).unwrap();
    let foreign = Connection::open(store.layout().db_file()).unwrap();
    let c = &infos[2].path;
    let full = scratch.layout.store_dir.print(c);
    let cases = [
        ("hash", "'sha256:zz'"),
        ("hash", "x'ff'"),
        ("narSize", "-1"),
        ("narSize", "'many'"),
        ("deriver", "'/elsewhere/x'"),
        ("sigs", "cast(x'ff' as text)"),
        ("registrationTime", "1.5"),
    ];
    for (column, value) in cases {
        let kept =
            format!("create temp table kept as select * from ValidPaths where path = '{full}'");
        foreign.execute_batch(&kept).unwrap();
        let spoil = format!("update ValidPaths set {column} = {value} where path = '{full}'");
        foreign.execute_batch(&spoil).unwrap();
        let error = store.db().info(c).unwrap_err().to_string();
        assert!(error.contains(&full) && error.contains(column), "{column}: {error}");
        let mend = format!(
            "update ValidPaths set {column} = (select {column} from kept) where path = '{full}'; \
             drop table kept"
        );
        foreign.execute_batch(&mend).unwrap();
        store.db().info(c).unwrap();
    }
    foreign
        .execute_batch(
            "insert into ValidPaths (path, hash, registrationTime) values ('rubbish', '', 0)",
        )
        .unwrap();
    let error = store.db().all_valid().unwrap_err().to_string();
    assert!(error.contains("rubbish"), "{error}");
}

/// Everything that a schema says, in a form in which two spellings of it are equal.
fn described(connection: &Connection) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut ask = |sql: String| {
        let mut statement = connection.prepare(&sql).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let cells = (0..columns).map(|i| format!("{:?}", row.get_ref(i).unwrap()));
            found.insert(format!("{sql}: {}", cells.collect::<Vec<_>>().join(" ")));
        }
    };
    let mut statement = connection
        .prepare("select name from sqlite_master where type = 'table' and name not like 'sqlite%'")
        .unwrap();
    let tables: Vec<String> =
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    ask("select type, name, tbl_name from sqlite_master".to_owned());
    for table in tables {
        ask(format!("select * from pragma_table_xinfo('{table}')"));
        ask(format!("select * from pragma_foreign_key_list('{table}')"));
        ask(format!(
            "select l.name, l.\"unique\", l.origin, l.partial, i.* \
             from pragma_index_list('{table}') l \
             join pragma_index_xinfo(l.name) i"
        ));
        ask(format!(
            "select instr(lower(sql), 'autoincrement') > 0 \
             from sqlite_master where name = '{table}'"
        ));
    }
    let words = "replace(replace(lower(sql), char(10), ''), ' ', '')";
    ask(format!("select {words} from sqlite_master where type = 'trigger'"));
    found.iter().map(|line| line.replace("ifnotexists", "")).collect()
}

#[test]
fn a_new_store_has_the_schema_of_nix() {
    let scratch = Scratch::new();
    drop(scratch.open());
    let ours = Connection::open(scratch.layout.db_file()).unwrap();
    let theirs = Connection::open_in_memory().unwrap();
    theirs.execute_batch(FIXTURE).unwrap();
    assert_eq!(described(&ours), described(&theirs));
}

#[test]
fn stores_of_other_versions_open() {
    let without = "drop index IndexReferrer; drop table SchemaMigrations;";
    let variants = [(FIXTURE, ""), (FIXTURE, without), (FIXTURE_CA, ""), (FIXTURE_CA, without)];
    for (schema, change) in variants {
        let scratch = Scratch::new();
        std::fs::create_dir_all(scratch.layout.db_dir()).unwrap();
        std::fs::create_dir_all(&scratch.layout.real_store_dir).unwrap();
        let made = Connection::open(scratch.layout.db_file()).unwrap();
        made.execute_batch(schema).unwrap();
        made.execute_batch(change).unwrap();
        drop(made);
        std::fs::write(scratch.layout.schema_file(), "10").unwrap();
        let store = scratch.open();
        let infos = family(&scratch);
        store.db().register(&registrations(&infos)).unwrap();
        assert_eq!(store.db().infos(infos.iter().map(|i| &i.path)).unwrap().len(), 4);
        assert_eq!(store.db().referrers([&infos[0].path]).unwrap().len(), 1);
    }
}

#[test]
fn writers_wait_for_each_other() {
    let scratch = Scratch::new();
    drop(scratch.open());
    let writers: Vec<_> = (0..4_u8)
        .map(|writer| {
            // A value of its own is to the database what a process of its own is.
            let store = scratch.open();
            let template = scratch.file('a', "a", b"a");
            std::thread::spawn(move || {
                for n in 0..50_u8 {
                    let mut info = template.clone();
                    let digest: [u8; 20] = std::array::from_fn(|i| [writer, n][i % 2]);
                    info.path = crate::format::StorePath::from_parts(&digest, "a").unwrap();
                    store.db().register(&[info.clone().into()]).unwrap();
                    assert!(store.db().valid([&info.path]).unwrap().contains(&info.path));
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|w| w.join().unwrap());
    assert_eq!(scratch.open().db().all_valid().unwrap().len(), 200);
}

/// Tries to begin writing that [`count_tries`] has heard of, and who waits for more.
static TRIES: (Mutex<u32>, parking_lot::Condvar) = (Mutex::new(0), parking_lot::Condvar::new());

fn count_tries(statement: &str) {
    if statement.starts_with("BEGIN") {
        *TRIES.0.lock() += 1;
        TRIES.1.notify_all();
    }
}

#[test]
fn a_writer_outlasts_the_patience_of_sqlite() {
    let scratch = Scratch::new();
    drop(scratch.open());
    let options = OpenOptions { listener: Some(count_tries), ..OpenOptions::default() };
    let layout = &scratch.layout;
    let (file, folder) = (layout.db_file(), layout.store_dir.clone());
    let mut db = Db::open(file, folder, options, Tables::Exist).unwrap();
    db.busy_timeout = Duration::from_millis(1);
    let foreign = Connection::open(layout.db_file()).unwrap();
    foreign.execute_batch("begin immediate").unwrap();
    let infos = registrations(&family(&scratch));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| db.register(&infos));
        let watchdog = Duration::from_secs(30);
        let mut tries = TRIES.0.lock();
        // Each try after the first comes when SQLite has said that the database is busy.
        let waited = TRIES.1.wait_while_for(&mut tries, |tries| *tries < 3, watchdog);
        drop(tries);
        foreign.execute_batch("commit").unwrap();
        let registered = writer.join().unwrap();
        assert!(!waited.timed_out(), "it is not tried again: {registered:?}");
        registered.unwrap();
    });
    assert_eq!(scratch.open().db().all_valid().unwrap().len(), 4);
}

#[test]
fn without_shared_memory() {
    let scratch = Scratch::new();
    let options = OpenOptions { journal: Journal::Truncate, ..OpenOptions::default() };
    let store = Store::open(scratch.layout.clone(), options).unwrap();
    let infos = family(&scratch);
    store.db().register(&registrations(&infos)).unwrap();
    assert_eq!(store.db().all_valid().unwrap().len(), 4);
}
