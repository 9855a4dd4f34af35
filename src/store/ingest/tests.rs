use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::sync::LazyLock;

use super::*;
use crate::base::Urgency;
use crate::store::restore::{Modes, dump, restore};

const A: &str = "7h7qgvs4kgzsn8a6rb273saxyqh4jxlz-a";
const B: &str = "1h7qgvs4kgzsn8a6rb273saxyqh4jxlz-b";
const C: &str = "2h7qgvs4kgzsn8a6rb273saxyqh4jxlz-c";
const NO_RULES: Rules<'static> = Rules { owner: None, ignored_acls: &[] };

fn path(text: &str) -> StorePath {
    StorePath::from_base_name(text.as_bytes()).unwrap()
}

fn paths(texts: &[&str]) -> BTreeSet<StorePath> {
    texts.iter().map(|t| path(t)).collect()
}

fn request<'r>(path: &'r Path, candidates: &'r BTreeSet<StorePath>) -> IngestRequest<'r> {
    IngestRequest { path, candidates, fixed: None, rules: NO_RULES, cancel: &CALM }
}

/// Never triggered.
static CALM: LazyLock<Cancel> = LazyLock::new(|| Cancel::new().unwrap());

fn take(path: &Path, candidates: &BTreeSet<StorePath>) -> Result<Ingested, IngestError> {
    ingest(&request(path, candidates), &mut InodesSeen::default())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn nar(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    dump(path, &mut bytes).unwrap();
    bytes
}

/// A tree with something of everything, and a folder that keeps it.
fn tree() -> (tempfile::TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let top = temp.path().join("out");
    fs::create_dir(&top).unwrap();
    fs::create_dir_all(top.join("lib/deep")).unwrap();
    fs::write(top.join("lib/deep/data"), vec![7; 700_000]).unwrap();
    fs::write(top.join("lib/empty"), "").unwrap();
    fs::write(top.join("plain"), format!("see /nix/store/{A}/x")).unwrap();
    fs::write(top.join("run"), "#!/bin/sh\n").unwrap();
    chmod(&top.join("run"), 0o4711);
    fs::write(top.join("lib.so"), "sorts after lib, before lib0").unwrap();
    symlink(format!("../{B}"), top.join("link")).unwrap();
    symlink("nowhere", top.join("dangling")).unwrap();
    (temp, top)
}

#[test]
fn one_walk_gives_what_nix_would() {
    let (_temp, top) = tree();
    fs::write(top.join(format!("{C}.txt")), "").unwrap();
    let all = paths(&[A, B, C, "3h7qgvs4kgzsn8a6rb273saxyqh4jxlz-not-there"]);
    let got = take(&top, &all).unwrap();
    let bytes = nar(&top);
    assert_eq!(got.nar_hash, Hash::sha256(&bytes));
    assert_eq!(got.nar_size, bytes.len() as u64);
    assert_eq!(got.references, paths(&[A, B, C]), "in contents, a target and a name");
    assert_eq!((got.root, got.entries, got.fixed_hash), (Root::Directory, 11, None));
    let theirs = nix_archive::nar::hash_path(&top, nix_archive::nar::CaseHack::Disabled).unwrap();
    assert_eq!((got.nar_size, got.nar_hash.digest()), (theirs.size, &theirs.sha256[..]));
    assert_eq!(take(&top, &all).unwrap(), got, "again, on what is canonical");
}

#[test]
fn each_file_is_opened_once() {
    use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
    let (_temp, top) = tree();
    let all = paths(&[A, B]);
    let large = top.join("large");
    fs::write(&large, vec![1; 20 << 20]).unwrap();
    let watched: Vec<PathBuf> =
        ["plain", "run", "lib/deep/data", "lib/empty", "large"].map(|n| top.join(n)).into();
    let opened = |work: &dyn Fn()| {
        let events = inotify::init(CreateFlags::NONBLOCK).unwrap();
        // The closes keep the kernel from making one event of two opens.
        let wanted = WatchFlags::OPEN | WatchFlags::CLOSE;
        let watch = |path| inotify::add_watch(&events, path, wanted).unwrap();
        let ids: Vec<i32> = watched.iter().map(watch).collect();
        work();
        let mut counts = vec![0; ids.len()];
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&events, &mut buffer);
        while let Ok(event) = reader.next() {
            assert!(!event.events().contains(ReadFlags::QUEUE_OVERFLOW));
            let file = ids.iter().position(|id| *id == event.wd()).unwrap();
            counts[file] += usize::from(event.events().contains(ReadFlags::OPEN));
        }
        counts
    };
    let fixed = Some((Method::Recursive, Algorithm::Sha1));
    let asked = IngestRequest { fixed, ..request(&top, &all) };
    let once = opened(&|| drop(ingest(&asked, &mut InodesSeen::default()).unwrap()));
    assert_eq!(once, [1; 5], "whatever is computed of it");
    let twice = opened(&|| (0..2).for_each(|_| drop(fs::File::open(&large).unwrap())));
    assert_eq!(twice, [0, 0, 0, 0, 2], "two opens would have been seen");
}

#[test]
fn files_are_canonical_afterwards() {
    let (_temp, top) = tree();
    let before = fs::metadata(top.join("plain")).unwrap();
    take(&top, &BTreeSet::new()).unwrap();
    for (name, expected) in
        [("", 0o555), ("lib", 0o555), ("lib/deep/data", 0o444), ("run", 0o555), ("plain", 0o444)]
    {
        assert_eq!(mode(&top.join(name)), expected, "{name}");
    }
    for name in ["", "lib", "lib/deep", "lib/deep/data", "link", "dangling", "run"] {
        let stat = fs::symlink_metadata(top.join(name)).unwrap();
        assert_eq!((stat.mtime(), stat.mtime_nsec()), (1, 0), "{name}");
    }
    let after = fs::metadata(top.join("plain")).unwrap();
    let atime = |m: &fs::Metadata| (m.atime(), m.atime_nsec());
    assert_eq!(atime(&before), atime(&after), "the time of last access is not ours to change");
}

#[test]
fn odd_modes_become_one_of_two() {
    let temp = tempfile::tempdir().unwrap();
    for (before, after) in
        [(0o444, 0o444), (0o555, 0o555), (0o000, 0o444), (0o6755, 0o555), (0o311, 0o555)]
    {
        let file = temp.path().join("file");
        fs::write(&file, "x").unwrap();
        chmod(&file, before);
        take(&file, &BTreeSet::new()).unwrap();
        assert_eq!(mode(&file), after, "{before:o}");
        let dir = temp.path().join("dir");
        fs::create_dir(&dir).unwrap();
        chmod(&dir, before);
        take(&dir, &BTreeSet::new()).unwrap();
        assert_eq!(mode(&dir), 0o555, "a folder with {before:o}");
        fs::remove_file(file).unwrap();
        chmod(&dir, 0o700);
        fs::remove_dir(dir).unwrap();
    }
}

#[test]
fn outputs_that_others_may_write_are_suspicious() {
    let (_temp, top) = tree();
    for writable in [0o775, 0o757, 0o1777] {
        chmod(&top, writable);
        let error = take(&top, &BTreeSet::new()).unwrap_err();
        assert!(matches!(&error, IngestError::Suspicious(p, _) if *p == top), "{error}");
        let found = format!(
            "a folder of user {}, mode {writable:04o}",
            rustix::process::geteuid().as_raw()
        );
        assert!(error.to_string().ends_with(&found), "{error}");
    }
    assert_eq!(mode(&top.join("run")), 0o4711, "nothing was touched");
}

#[test]
fn special_files_are_refused() {
    let (_temp, top) = tree();
    let fifo = top.join("lib/fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::from_raw_mode(0o644)).unwrap();
    let error = take(&top, &BTreeSet::new()).unwrap_err();
    assert!(
        matches!(&error, IngestError::UnsupportedType(p, "a named pipe") if *p == fifo),
        "{error}"
    );
    let error = take(&fifo, &BTreeSet::new()).unwrap_err();
    assert!(matches!(error, IngestError::UnsupportedType(..)));
}

#[test]
fn an_absent_output_keeps_its_errno() {
    let temp = tempfile::tempdir().unwrap();
    let error = take(&temp.path().join("none"), &BTreeSet::new()).unwrap_err();
    assert_eq!(error.io().unwrap().raw_os_error(), Some(libc::ENOENT));
}

#[test]
fn attributes_go_unless_ignored() {
    let (_temp, top) = tree();
    let file = top.join("plain");
    let flags = rustix::fs::XattrFlags::empty();
    for name in ["user.one", "user.two"] {
        let set = rustix::fs::setxattr(&file, name, b"v", flags);
        let place = "set TMPDIR to a folder whose file system has extended attributes";
        set.unwrap_or_else(|e| panic!("cannot set {name} of {}: {e}; {place}", file.display()));
    }
    let rules = Rules { owner: None, ignored_acls: &["user.two".to_owned()] };
    let none = BTreeSet::new();
    let request = IngestRequest { rules, ..request(&top, &none) };
    ingest(&request, &mut InodesSeen::default()).unwrap();
    let mut list = [0; 256];
    let len = rustix::fs::listxattr(&file, &mut list).unwrap();
    assert_eq!(&list[..len], b"user.two\0");
    assert_eq!(mode(&file), 0o444);
}

#[test]
fn files_of_others_are_refused_and_untouched() {
    if !is_root() {
        return; // Only root can give files away.
    }
    let (temp, top) = tree();
    let secret = temp.path().join("secret");
    fs::write(&secret, "root's").unwrap();
    chmod(&secret, 0o600);
    let rules = Rules { owner: Some(31_234), ignored_acls: &[] };
    let no = BTreeSet::new();
    let asked = IngestRequest { rules, ..request(&top, &no) };
    let error = ingest(&asked, &mut InodesSeen::default()).unwrap_err();
    assert!(matches!(&error, IngestError::Suspicious(..)), "{error}");
    assert!(error.to_string().contains("of user 0, not of user 31234"), "{error}");
    give(&top, 31_234);
    fs::hard_link(&secret, top.join("lib/stolen")).unwrap();
    let error = ingest(&asked, &mut InodesSeen::default()).unwrap_err();
    assert!(matches!(&error, IngestError::InvalidOwnership(p, 0) if p.ends_with("lib/stolen")));
    assert_eq!(mode(&secret), 0o600, "the file behind the link keeps its mode");
}

#[test]
fn links_within_a_build_are_known() {
    if !is_root() {
        return;
    }
    let (temp, top) = tree();
    let other = temp.path().join("dev");
    fs::create_dir(&other).unwrap();
    fs::hard_link(top.join("run"), top.join("run-too")).unwrap();
    fs::hard_link(top.join("run"), other.join("run")).unwrap();
    give(&top, 31_234);
    give(&other, 31_234);
    let rules = Rules { owner: Some(31_234), ignored_acls: &[] };
    let mut seen = InodesSeen::default();
    let no = BTreeSet::new();
    for output in [&top, &other] {
        ingest(&IngestRequest { rules, ..request(output, &no) }, &mut seen).unwrap();
    }
    let stat = fs::metadata(other.join("run")).unwrap();
    assert_eq!((stat.uid(), stat.mode() & 0o7777, stat.nlink()), (0, 0o555, 3));
    let link = fs::symlink_metadata(top.join("link")).unwrap();
    assert_eq!(link.uid(), 0);
}

fn give(path: &Path, uid: u32) {
    std::os::unix::fs::lchown(path, Some(uid), Some(uid)).unwrap();
    if fs::symlink_metadata(path).unwrap().is_dir() {
        fs::read_dir(path).unwrap().for_each(|e| give(&e.unwrap().path(), uid));
    }
}

#[test]
fn fixed_hashes() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("file");
    let contents = b"0123456789".repeat(100_000);
    fs::write(&file, &contents).unwrap();
    let no = BTreeSet::new();
    let fixed = |path, method, algorithm| {
        let asked = IngestRequest { fixed: Some((method, algorithm)), ..request(path, &no) };
        ingest(&asked, &mut InodesSeen::default()).unwrap().fixed_hash
    };
    let bytes = nar(&file);
    for algorithm in Algorithm::ALL {
        let flat = Some(Hash::of(algorithm, &contents));
        assert_eq!(fixed(&file, Method::Flat, algorithm), flat);
        let recursive = Some(Hash::of(algorithm, &bytes));
        assert_eq!(fixed(&file, Method::Recursive, algorithm), recursive);
        assert_eq!(fixed(temp.path(), Method::Flat, algorithm), None, "a folder has no flat hash");
    }
    let git = IngestRequest { fixed: Some((Method::Git, Algorithm::Sha1)), ..request(&file, &no) };
    assert!(matches!(ingest(&git, &mut InodesSeen::default()), Err(IngestError::GitHash)));
}

#[test]
fn large_files_go_through_two_threads() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("large");
    // References across the borders of buffers, and where the first buffer ends in the NAR.
    let mut contents = vec![b'-'; 5_000_001];
    for at in [262_144 - 112 - 16, 2 * 262_144 - 112, 3_000_000] {
        contents[at..at + 32].copy_from_slice(&A.as_bytes()[..32]);
    }
    contents[4_999_969..].copy_from_slice(&B.as_bytes()[..32]);
    fs::write(&file, &contents).unwrap();
    let got = take(&file, &paths(&[A, B, C])).unwrap();
    assert_eq!(got.references, paths(&[A, B]));
    assert_eq!(got.nar_hash, Hash::sha256(&nar(&file)));
    assert_eq!((got.bytes, got.entries), (5_000_001, 1));
}

#[test]
fn trees_deeper_than_a_nar_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    let top = temp.path().join("out");
    let mut deep = top.clone();
    (1..64).for_each(|_| deep.push("d"));
    fs::create_dir_all(&deep).unwrap();
    let got = take(&top, &BTreeSet::new()).unwrap();
    assert_eq!(got.entries, 64);
    let bytes = nar(&top);
    assert!(nix_archive::nar::decode(&bytes).is_ok());
    chmod(&deep, 0o755);
    fs::write(deep.join("too-much"), "").unwrap();
    let error = take(&top, &BTreeSet::new()).unwrap_err();
    assert!(matches!(error, IngestError::Archive { source: NarError::Depth, .. }), "{error}");
}

#[test]
fn rewriting_reaches_contents_targets_and_names() {
    let (temp, top) = tree();
    fs::write(top.join(format!("z-{A}")), "named first, sorts elsewhere").unwrap();
    fs::write(top.join(format!("{A}-x")), vec![b'0'; 300_000]).unwrap();
    fs::write(top.join("5"), "between the two names").unwrap();
    let mut long = vec![b'.'; 600_000];
    long[262_130..262_162].copy_from_slice(&A.as_bytes()[..32]);
    fs::write(top.join("long"), &long).unwrap();
    symlink(A, top.join("self")).unwrap();
    let into = temp.path().join("new");
    let rewrites = BTreeMap::from([(path(A), path(C))]);
    let all = paths(&[A, B, C]);
    let seen = &mut InodesSeen::default();
    let got = ingest_rewriting(&request(&top, &all), seen, &rewrites, &into).unwrap();
    assert_eq!(got.references, paths(&[B, C]), "the scratch path is gone");
    assert_eq!(got.nar_hash, Hash::sha256(&nar(&into)));
    assert_eq!(take(&into, &all).unwrap(), got, "what was written is canonical and the same");
    long[262_130..262_162].copy_from_slice(&C.as_bytes()[..32]);
    assert_eq!(fs::read(into.join("long")).unwrap(), long);
    assert_eq!(fs::read_link(into.join("self")).unwrap(), Path::new(&format!("{}-a", &C[..32])));
    assert!(into.join(format!("{}-a-x", &C[..32])).exists());
    assert_eq!(mode(&into), 0o555);
}

#[test]
fn a_copy_is_out_of_reach_of_old_descriptors() {
    let (temp, top) = tree();
    let smuggled = fs::OpenOptions::new().write(true).open(top.join("plain")).unwrap();
    let into = temp.path().join("new");
    let all = paths(&[A, B]);
    let got = ingest_copying(&request(&top, &all), &mut InodesSeen::default(), &into).unwrap();
    smuggled.write_all_at(b"evil", 0).unwrap();
    assert_eq!(take(&into, &all).unwrap(), got);
    assert_eq!(got.references, all);
    let error = ingest_copying(&request(&top, &all), &mut InodesSeen::default(), &into);
    assert_eq!(error.unwrap_err().io().unwrap().raw_os_error(), Some(libc::EEXIST));
}

#[test]
fn restores_what_it_dumps() {
    let (temp, top) = tree();
    take(&top, &BTreeSet::new()).unwrap();
    let bytes = nar(&top);
    for modes in [Modes::Store, Modes::User] {
        let into = temp.path().join(format!("{modes:?}"));
        restore(&bytes[..], &into, modes).unwrap();
        assert_eq!(nar(&into), bytes);
        assert!(restore(&bytes[..], &into, modes).is_err(), "it exists");
        assert_eq!(first_difference(&top, &into, &CALM).unwrap(), None);
    }
    let stored = temp.path().join("Store");
    assert_eq!((mode(&stored), mode(&stored.join("plain"))), (0o555, 0o444));
    assert_eq!(fs::symlink_metadata(stored.join("link")).unwrap().mtime(), 1);
    let cut = temp.path().join("cut");
    assert!(restore(&bytes[..bytes.len() - 8], &cut, Modes::Store).is_err());
}

#[test]
fn nothing_is_restored_outside() {
    let temp = tempfile::tempdir().unwrap();
    // A symlink, then an entry of the same name: must not be followed, must not even be read.
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes).unwrap();
    writer.directory().unwrap();
    writer.entry(b"a").unwrap();
    writer.symlink(b"..").unwrap();
    writer.entry(b"b").unwrap();
    writer.directory().unwrap();
    writer.end_directory().unwrap();
    writer.end_directory().unwrap();
    writer.finish().unwrap();
    let at = bytes.windows(9).rposition(|w| w == b"\x01\0\0\0\0\0\0\0b").unwrap() + 8;
    bytes[at] = b'a';
    let error = restore(&bytes[..], &temp.path().join("x"), Modes::Store).unwrap_err();
    assert!(error.to_string().contains("twice"), "{error}");
}

#[test]
fn first_differences() {
    let (temp, top) = tree();
    let (_other_temp, other) = tree();
    let first = || first_difference(&top, &other, &CALM).unwrap();
    assert_eq!(first(), None);
    fs::write(other.join("zzz"), "").unwrap();
    assert_eq!(first(), Some("zzz".into()));
    chmod(&other.join("run"), 0o644);
    assert_eq!(first(), Some("run".into()));
    fs::write(other.join("lib/deep/data"), vec![7; 699_999]).unwrap();
    assert_eq!(first(), Some("lib/deep/data".into()));
    fs::remove_file(other.join("dangling")).unwrap();
    assert_eq!(first(), Some("dangling".into()));
    assert_eq!(
        first_difference(&top, temp.path().join("none").as_path(), &CALM).unwrap(),
        Some("".into())
    );
}

#[test]
fn moves_and_syncs() {
    let (temp, top) = tree();
    take(&top, &BTreeSet::new()).unwrap();
    assert_eq!(sync_tree(&top).unwrap(), 8, "three folders and five files");
    // To another folder, which only root may do with a folder that is not writable.
    fs::create_dir(temp.path().join("store")).unwrap();
    let to = temp.path().join("store/place");
    move_into_place(&top, &to).unwrap();
    assert_eq!(mode(&to), 0o555);
    assert!(!top.exists());
}

fn nix_store(args: &[&str], home: &Path) -> std::process::Output {
    #[expect(clippy::disallowed_methods, reason = "compares with the real thing, in tests alone")]
    let mut command = std::process::Command::new("nix-store");
    for (key, dir) in [("NIX_STORE_DIR", "store"), ("NIX_STATE_DIR", "var")] {
        command.env(key, home.join(dir));
    }
    command.env("NIX_LOG_DIR", home.join("log")).env("NIX_CONF_DIR", home.join("etc"));
    command.env("NIX_REMOTE", "").env("HOME", home).args(args).output().unwrap()
}

#[test]
fn agrees_with_the_real_nix_store() {
    let (temp, top) = tree();
    let dumped = nix_store(&["--dump", top.to_str().unwrap()], temp.path());
    assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
    assert!(dumped.stdout == nar(&top), "the same bytes");
    let into = temp.path().join("ours");
    restore(&dumped.stdout[..], &into, Modes::Store).unwrap();
    let added = nix_store(&["--add", into.to_str().unwrap()], temp.path());
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    let stored = String::from_utf8(added.stdout).unwrap();
    let asked = nix_store(&["-q", "--hash", stored.trim()], temp.path());
    let hash = String::from_utf8(asked.stdout).unwrap();
    let got = take(&top, &BTreeSet::new()).unwrap();
    assert_eq!(hash.trim(), got.nar_hash.typed_base32());
}

#[test]
fn no_space_keeps_its_errno() {
    let (_temp, top) = tree();
    let mut full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let error = dump(&top, &mut full).unwrap_err();
    assert_eq!(error.io().unwrap().raw_os_error(), Some(libc::ENOSPC));
}

/// Triggers at the file number `left`, and counts what comes after.
struct Trip<'c> {
    cancel: &'c Cancel,
    left: u32,
    after: u32,
}

impl Sink for Trip<'_> {
    fn directory(&mut self, _: Option<&[u8]>, _: BorrowedFd<'_>) -> Result<(), Trouble> {
        Ok(())
    }
    fn end_directory(&mut self) -> Result<(), Trouble> {
        Ok(())
    }
    fn symlink(&mut self, _: Option<&[u8]>, _: &[u8]) -> Result<(), Trouble> {
        Ok(())
    }
    fn regular(&mut self, _: Option<&[u8]>, _: File<'_>) -> Result<(), Trouble> {
        self.after += u32::from(self.cancel.is_triggered());
        self.left -= 1;
        if self.left == 0 {
            self.cancel.trigger(Urgency::Stop);
        }
        Ok(())
    }
}

#[test]
fn a_token_ends_a_walk_at_the_next_file() {
    let (_temp, top) = tree();
    let cancel = Cancel::new().unwrap();
    let mut sink = Trip { cancel: &cancel, left: 2, after: 0 };
    let ended = walk(&top, None, Some(&cancel), &mut sink);
    assert!(matches!(ended, Err(IngestError::Cancelled)), "{ended:?}");
    assert_eq!((sink.left, sink.after), (0, 0));
}

#[test]
fn a_token_ends_the_stream_of_a_large_file() {
    let cancel = Cancel::new().unwrap();
    let stream = Stream::new(Scanner::new(&paths(&[])), Digests::new(None), cancel.clone());
    let (mut stream, piece) = (stream, vec![1; 64 * 1024]);
    // Far enough for the hashing thread to run.
    (0..40).for_each(|_| stream.write_all(&piece).unwrap());
    cancel.trigger(Urgency::Stop);
    let taken = (0..40).take_while(|_| stream.write_all(&piece).is_ok()).count();
    assert!(taken <= 4, "no more than a buffer: {taken}");
}

#[test]
fn a_triggered_token_lets_nothing_in() {
    let (temp, top) = tree();
    let (no, into) = (paths(&[]), temp.path().join("into"));
    let cancel = Cancel::new().unwrap();
    cancel.trigger(Urgency::Stop);
    let asked = IngestRequest { cancel: &cancel, ..request(&top, &no) };
    let mut seen = InodesSeen::default();
    let moved = BTreeMap::from([(path(A), path(B))]);
    for ended in [
        ingest(&asked, &mut seen),
        ingest_copying(&asked, &mut seen, &into),
        ingest_rewriting(&asked, &mut seen, &moved, &into),
    ] {
        assert!(matches!(ended, Err(IngestError::Cancelled)), "{ended:?}");
    }
    let compared = first_difference(&top, &top, &cancel);
    assert!(matches!(compared, Err(IngestError::Cancelled)), "{compared:?}");
}
