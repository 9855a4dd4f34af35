//! Many processes on one store: each derivation is built once, nobody hangs, and who waits for a
//! lock sleeps.
#![expect(clippy::unwrap_used, reason = "helpers of tests, outside the functions marked as such")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::support::running;
use crate::support::{World, fifo, shell, text, traced};

/// Nothing here may take as long as this.
const LONG: Duration = Duration::from_secs(100);

/// A graph of `count` derivations, each on up to three before it. Each builder notes its name in
/// `built`, a file outside the store. `tops` of them, the last of each of as many overlapping
/// halves.
fn graph(world: &World, count: usize, tops: usize) -> Vec<String> {
    let note = world.path("built");
    let mut text = String::from("let\n");
    for n in 0..count {
        let inputs: Vec<String> = [n * 7 / 11, n * 3 / 5, n.saturating_sub(9)]
            .iter()
            .filter(|input| **input < n)
            .map(|input| format!("\"${{d{input}}}\""))
            .collect();
        let _ = writeln!(
            text,
            "d{n} = derivation {{ name = \"n{n}\"; system = builtins.currentSystem; \
             builder = \"/bin/busybox\"; inputs = [ {} ]; args = [ \"sh\" \"-c\" \
             \"echo n{n} >> {}; echo $inputs > $out\" ]; }};",
            inputs.join(" "),
            note.display(),
        );
    }
    text += "in [\n";
    for top in 0..tops {
        let ours: Vec<String> =
            (0..count).filter(|n| n % tops != top).map(|n| format!("\"${{d{n}}}\"")).collect();
        let _ = writeln!(
            text,
            "(derivation {{ name = \"top{top}\"; system = builtins.currentSystem; builder = \
             \"/bin/busybox\"; args = [ \"sh\" \"-c\" \"echo $all > $out; echo top{top} >> {}\" ]; \
             all = [ {} ]; }})",
            note.display(),
            ours.join(" ")
        );
    }
    text += "]\n";
    world.instantiate(&text)
}

/// The output of a process that has ended by itself, or a panic.
fn collect(name: &str, mut child: Child) -> Receiver<(String, bool, String)> {
    let (send, receive) = channel();
    let name = name.to_owned();
    std::thread::spawn(move || {
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let done = child.wait().unwrap().success();
        let _ = send.send((name, done, said));
    });
    receive
}

fn all_succeed(runs: Vec<Receiver<(String, bool, String)>>) {
    let end = Instant::now() + LONG;
    for run in runs {
        let left = end.saturating_duration_since(Instant::now());
        let (name, done, said) = run.recv_timeout(left).expect("a process hangs");
        assert!(done, "{name} failed:\n{said}");
        // Nix warns of its own retries, beside itself too; drover has nothing to say of them.
        assert!(name != "drover" || !said.contains("busy"), "{name}:\n{said}");
    }
}

/// How often each derivation was built.
fn built(world: &World) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for name in std::fs::read_to_string(world.path("built")).unwrap().lines() {
        *counts.entry(name.to_owned()).or_default() += 1;
    }
    counts
}

fn spawn(command: &mut Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn eight_processes_build_each_derivation_once() {
    let world = World::new();
    let drvs = graph(&world, 200, 8);
    let start = Instant::now();
    let run = |drv: &String| {
        collect("drover", spawn(&mut world.drover(["build", "--no-link", "-j4", drv])))
    };
    all_succeed(drvs.iter().map(run).collect());
    println!("eight processes: {:?}", start.elapsed());
    let counts = built(&world);
    assert_eq!(counts.len(), 208);
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "built more than once: {twice:?}");
    world.nix_verifies();
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[test]
fn drover_and_real_nix_build_side_by_side() {
    let world = World::new();
    let drvs = graph(&world, 60, 6);
    let drover = |drv: &String| {
        collect("drover", spawn(&mut world.drover(["build", "--no-link", "-j2", drv])))
    };
    let nix = |drv: &String| {
        let args = ["--realise", "--no-gc-warning", "-j2", drv];
        collect("nix-store", spawn(&mut world.nix("nix-store", args)))
    };
    let mut runs: Vec<_> = drvs[..4].iter().map(drover).collect();
    runs.extend(drvs[4..].iter().map(nix));
    all_succeed(runs);
    let counts = built(&world);
    assert_eq!(counts.len(), 66);
    assert!(counts.values().all(|count| *count == 1), "built more than once: {counts:?}");
    world.nix_verifies();
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

/// Ticks of CPU time that a process has used.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn who_waits_for_a_lock_says_for_whom_and_sleeps() {
    let world = World::new();
    let go = fifo(&world.path("go"));
    let script = format!("read x < {}; echo done > $out", go.display());
    let drv = world.instantiate_one(&crate::support::shell("slow", "", &script));
    let mut first = spawn(&mut world.drover(["build", "--no-link", &drv]));
    let mut said = BufReader::new(first.stderr.take().unwrap()).lines();
    // Once it is building it has the lock.
    assert!(said.any(|line| line.unwrap().starts_with("building")));
    let mut second = spawn(&mut world.drover(["build", "--no-link", &drv]));
    let (send, words) = channel();
    let lines = BufReader::new(second.stderr.take().unwrap()).lines();
    std::thread::spawn(move || lines.for_each(|line| drop(send.send(line.unwrap()))));
    let line = words.recv_timeout(LONG).expect("nothing is said of the wait");
    let mut waits = line.clone();
    while !waits.starts_with("waiting for lock on") {
        waits = words.recv_timeout(LONG).expect("nothing is said of the wait");
    }
    let holder = format!("held by process {} (", first.id());
    assert!(waits.contains(&holder) && waits.contains("drover"), "{waits}");
    let before = ticks(second.id());
    // Two quiet seconds: no word comes meanwhile.
    assert!(words.recv_timeout(Duration::from_secs(2)).is_err());
    let used = ticks(second.id()) - before;
    assert!(used <= 2, "{used} ticks of CPU in two seconds of waiting");
    let released = Instant::now();
    std::fs::write(&go, "go\n").unwrap();
    assert!(said.by_ref().count() > 0);
    assert!(first.wait().unwrap().success());
    let held = released.elapsed();
    let (end, ended) = channel();
    std::thread::spawn(move || end.send(second.wait().unwrap().success()));
    assert!(ended.recv_timeout(LONG).expect("the second process hangs"));
    println!("first ended after {held:?}, second after {:?}", released.elapsed());
    let path =
        text(&crate::support::succeed(&mut world.nix("nix-store", ["--query", "--outputs", &drv])));
    assert_eq!(std::fs::read_to_string(path).unwrap(), "done\n");
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[test]
fn who_waits_for_a_lock_goes_on_as_soon_as_it_is_free() {
    let world = World::new();
    // Each release is a try: a loaded machine may be late, but hardly each time.
    let tries = (0..6).map(|n| {
        let go = fifo(&world.path(format!("go{n}")));
        let script = format!("echo go > {}; echo > $out", go.display());
        let drv = world.instantiate_one(&crate::support::shell(&format!("n{n}"), "", &script));
        let query = world.nix("nix-store", ["--query", "--outputs", &drv]).output().unwrap();
        let file = std::fs::File::create(format!("{}.lock", text(&query))).unwrap();
        let lock = nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusive).unwrap();
        let mut child = spawn(&mut world.drover(["build", "--no-link", &drv]));
        let said = BufReader::new(child.stderr.take().unwrap()).lines();
        (go, lock, child, said)
    });
    let mut all = Vec::new();
    for (go, lock, mut child, mut said) in tries.collect::<Vec<_>>() {
        assert!(said.any(|line| line.unwrap().starts_with("waiting for lock on")));
        let released = Instant::now();
        drop(lock);
        assert_eq!(std::fs::read_to_string(&go).unwrap(), "go\n");
        all.push(released.elapsed());
        said.for_each(drop);
        assert!(child.wait().unwrap().success());
    }
    all.sort();
    println!("from the release to the first word of the builder: {all:?}");
    // Half of them: who looks again every 100 ms would be late as often as not, each time.
    assert!(all[2] < Duration::from_millis(50), "{all:?}");
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[test]
fn who_waits_for_a_lock_holds_no_slot_and_nobody_up() {
    let world = World::new();
    let one = |name: &str| world.instantiate_one(&crate::support::shell(name, "", "echo > $out"));
    let (locked, free) = (one("locked"), one("free"));
    let query = world.nix("nix-store", ["--query", "--outputs", &locked]).output().unwrap();
    let file = std::fs::File::create(format!("{}.lock", text(&query))).unwrap();
    let lock = nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusive).unwrap();
    let mut child = spawn(&mut world.drover(["build", "--no-link", "-j1", &locked, &free]));
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut words = Vec::new();
    // The line of the wait comes after a while: then the other one has long been built.
    for line in said.by_ref() {
        let waits = line.starts_with("waiting for lock on");
        words.push(line);
        if waits {
            break;
        }
    }
    assert!(
        words.iter().any(|line| line.starts_with("built") && line.contains("-free")),
        "{words:?}"
    );
    drop(lock);
    said.for_each(drop);
    assert!(child.wait().unwrap().success());
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[test]
fn a_foreign_transaction_holds_a_build_up_and_no_more() {
    let world = World::new();
    let drv = world.instantiate_one(&shell("one", "", "echo > $out"));
    let foreign = rusqlite::Connection::open(world.path("var/db/db.sqlite")).unwrap();
    foreign.execute_batch("begin immediate").unwrap();
    let mut command = traced(&world, "fcntl", &[]);
    let run = running::spawn(command.args(["build", "--no-link", &drv]));
    // SQLite asks for the lock again and again, each time after a longer pause.
    run.hear("= -1 EAGAIN", 10);
    foreign.execute_batch("commit").unwrap();
    let (code, said, _) = run.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("busy") && !said.contains("database is locked"), "{said}");
    world.nix_verifies();
}
