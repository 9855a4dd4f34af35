//! Signals, killed helpers and stuck terminals: the run ends, and its processes and locks with it.
#![expect(clippy::unwrap_used, reason = "helpers of tests, outside the functions marked as such")]

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::running::{LONG, Run, all_dead, spawn, start, wait};
use crate::support::{World, descendants, fail_with, fifo, shell, succeed};

/// Builders that are hard to end, and one that waits for all of them.
fn stubborn(world: &World) -> String {
    let ready = "echo ready; while :; do sleep 1000; done";
    let deaf = shell("deaf", "", &format!("trap \"\" TERM INT HUP; {ready}"));
    let daemon = shell("daemon", "", &format!("mkdir $out; (setsid sleep 1000 &); {ready}"));
    let held = shell("held", "", &format!("sleep 1000 & sleep 1000 & {ready}"));
    let stopped = shell("stopped", "", "echo ready; kill -STOP $$; echo > $out");
    let all = shell("all", "inherit deaf daemon held stopped;", "echo > $out");
    world.instantiate_one(&format!(
        "let deaf = {deaf}; daemon = {daemon}; held = {held}; stopped = {stopped}; in {all}"
    ))
}

#[test]
fn a_signal_ends_the_run_and_all_its_processes() {
    let world = World::new();
    let drv = stubborn(&world);
    let mut least = LONG;
    for (signal, code, name) in [
        (Signal::SIGINT, 130, "SIGINT"),
        (Signal::SIGTERM, 143, "SIGTERM"),
        (Signal::SIGHUP, 129, "SIGHUP"),
    ] {
        let run = start(&world, &[], &drv);
        run.hear("> ready", 4);
        let family = descendants(run.child.id());
        assert!(family.len() >= 10, "nursery, keepers, builders: {}", family.len());
        run.signal(signal);
        let (found, words, took) = run.end();
        println!("{name}: ended after {took:?}");
        least = least.min(took);
        assert_eq!(found, Some(code), "{words}");
        assert!(words.contains(&format!("interrupted by {name}: 0 done, 5 left")), "{words}");
        all_dead(family);
        assert_eq!(world.leftovers(), Vec::<String>::new());
    }
    // A loaded machine may be late once, but hardly each time.
    assert!(least < Duration::from_secs(1), "ended {least:?} after the signal at best");
    world.nix_verifies();
}

#[test]
fn two_signals_at_once_leave_nobody() {
    let world = World::new();
    let drv = stubborn(&world);
    let run = start(&world, &[], &drv);
    run.hear("> ready", 4);
    let family = descendants(run.child.id());
    run.signal(Signal::SIGINT);
    run.signal(Signal::SIGTERM);
    let (code, words, _) = run.end();
    assert!(matches!(code, Some(130 | 143)), "{code:?}: {words}");
    all_dead(family);
    let simple = world.instantiate_one(&shell("simple", "", "echo > $out"));
    succeed(&mut world.drover(["build", "--no-link", &simple]));
    assert_eq!(world.leftovers(), Vec::<String>::new(), "the next run takes it back");
}

#[test]
fn the_interrupt_of_a_terminal_reaches_no_builder() {
    let world = World::new();
    let script = "trap \"echo hit\" INT; echo ready; while :; do sleep 1000; done";
    let drv = world.instantiate_one(&shell("aside", "", script));
    let mut command = world.drover(["build", "--no-link", "-L", &drv]);
    // As a shell with job control does.
    let run = spawn(command.process_group(0));
    run.hear("> ready", 1);
    let family = descendants(run.child.id());
    let group = Pid::from_raw(-i32::try_from(run.child.id()).unwrap());
    kill(group, Signal::SIGINT).unwrap();
    let (code, words, _) = run.end();
    assert_eq!(code, Some(130), "{words}");
    assert!(!words.contains("> hit"), "{words}");
    all_dead(family);
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[test]
fn who_ignores_a_hangup_from_the_start_goes_on() {
    let world = World::new();
    let go = fifo(&world.path("go"));
    let script = format!("echo ready; read x < {}; echo > $out", go.display());
    let drv = world.instantiate_one(&shell("kept", "", &script));
    let line = "trap \"\" HUP; exec \"$0\" build --no-link -L \"$1\"";
    let run = spawn(&mut world.nix("sh", ["-c", line, env!("CARGO_BIN_EXE_drover"), &drv]));
    run.hear("> ready", 1);
    run.signal(Signal::SIGHUP);
    std::fs::write(&go, "go\n").unwrap();
    let (code, words, _) = run.end();
    assert_eq!(code, Some(0), "{words}");
}

#[test]
fn a_builder_is_not_silent_while_we_are_stopped() {
    let world = World::new();
    let (go, passed) = (fifo(&world.path("go")), fifo(&world.path("passed")));
    // More than the pipe of the log holds; the limit passes while nobody reads it.
    let script = format!(
        "echo ready; read x < {}; (sleep 1.2; echo > {}) & seq 1 50000; echo > $out",
        go.display(),
        passed.display()
    );
    let drv = world.instantiate_one(&shell("stopped", "", &script));
    let run = start(&world, &["--max-silent-time", "1"], &drv);
    run.hear("> ready", 1);
    run.signal(Signal::SIGSTOP);
    std::fs::write(&go, "go\n").unwrap();
    assert_eq!(std::fs::read_to_string(&passed).unwrap(), "\n");
    run.signal(Signal::SIGCONT);
    let (code, words, _) = run.end();
    assert_eq!(code, Some(0), "{words}");
}

#[test]
fn failures_leave_no_locks() {
    let world = World::new();
    let fails = shell("fails", "outputs = [ \"out\" \"dev\" ];", "mkdir $out $dev; exit 3");
    let drv = world.instantiate_one(&fails);
    fail_with(100, &mut world.drover(["build", "--no-link", &drv]));
    let silent = world.instantiate_one(&shell("silent", "", "sleep 1000"));
    fail_with(101, &mut world.drover(["build", "--no-link", "--timeout", "1", &silent]));
    assert_eq!(world.leftovers(), Vec::<String>::new());
    let store = std::fs::read_dir(world.store()).unwrap();
    let left: Vec<_> = store.map(|entry| entry.unwrap().file_name()).collect();
    let only = |name: &std::ffi::OsString| name.to_str().is_some_and(|n| n.ends_with(".drv"));
    assert!(left.iter().all(|name| only(name) || name == ".links"), "{left:?}");
}

/// The processes below `run` of this name.
fn named(run: &Run, name: &str) -> Vec<Pid> {
    let is = |pid: &u32| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name)
    };
    let all = descendants(run.child.id()).into_iter().map(|(pid, _)| pid);
    all.filter(is).map(|pid| Pid::from_raw(i32::try_from(pid).unwrap())).collect()
}

#[test]
fn a_killed_keeper_fails_its_build_and_a_killed_nursery_none() {
    let world = World::new();
    let go = fifo(&world.path("go"));
    let script =
        format!("(setsid sleep 1000 &); echo ready; read x < {}; echo > $out", go.display());
    let drv = world.instantiate_one(&shell("kept", "", &script));
    let run = start(&world, &[], &drv);
    run.hear("> ready", 1);
    let family = descendants(run.child.id());
    let keepers = named(&run, "drover-keeper");
    assert_eq!(keepers.len(), 1);
    kill(keepers[0], Signal::SIGKILL).unwrap();
    let (code, words, _) = run.end();
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains("the keeper of the build process was killed"), "{words}");
    all_dead(family);
    assert_eq!(world.leftovers(), Vec::<String>::new());

    let run = start(&world, &[], &drv);
    run.hear("> ready", 1);
    let family = descendants(run.child.id());
    kill(named(&run, "drover-nursery")[0], Signal::SIGKILL).unwrap();
    std::fs::write(&go, "go\n").unwrap();
    let (code, words, _) = run.end();
    assert_eq!(code, Some(0), "{words}");
    all_dead(family);
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[test]
fn a_stopped_keeper_does_not_hold_up_an_interrupt() {
    let world = World::new();
    let drv =
        world.instantiate_one(&shell("held", "", "(setsid sleep 1000 &); echo ready; sleep 999"));
    let run = start(&world, &[], &drv);
    run.hear("> ready", 1);
    let family = descendants(run.child.id());
    for keeper in named(&run, "drover-keeper") {
        kill(keeper, Signal::SIGSTOP).unwrap();
    }
    run.signal(Signal::SIGINT);
    let (code, words, took) = run.end();
    println!("stopped keeper: ended after {took:?}");
    assert_eq!(code, Some(130), "{words}");
    all_dead(family);
}

#[test]
fn closed_outputs_disturb_no_build() {
    let world = World::new();
    let drv = world.instantiate_one(&shell("said", "", "echo one; echo two >&2; echo > $out"));
    let line = format!("exec {} build --no-link -L {drv} 2>&-", env!("CARGO_BIN_EXE_drover"));
    succeed(world.nix("sh", ["-c", &line]).stderr(Stdio::null()));
    let other = world.instantiate_one(&shell("other", "", "echo one; echo > $out"));
    let mut run = start(&world, &[], &other);
    drop(run.child.stdout.take());
    let (code, words, _) = run.end();
    // Nobody reads the result; that it is there is what counts.
    assert!(matches!(code, Some(0 | 1)), "{code:?}: {words}");
    let out = succeed(&mut world.nix("nix-store", ["--query", "--outputs", &other]));
    let out = crate::support::text(&out);
    succeed(&mut world.nix("nix-store", ["--check-validity", &out]));
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[test]
fn a_stuck_terminal_holds_up_no_build() {
    let world = World::new();
    let (ready, many) = (fifo(&world.path("ready")), 100_000);
    let script = format!("seq 1 {many}; echo > $out; echo done > {}", ready.display());
    let drv = world.instantiate_one(&shell("chatty", "", &script));
    let mut command = world.drover(["build", "--no-link", "-L", &drv]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // Nobody reads standard error until the builder is through.
    let (send, done) = channel();
    let opened = ready.clone();
    std::thread::spawn(move || send.send(std::fs::read_to_string(opened)));
    assert_eq!(done.recv_timeout(LONG).expect("the builder hangs").unwrap(), "done\n");
    let mut words = String::new();
    child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
    assert_eq!(wait(&mut child), Some(0));
    let shown = words.lines().filter(|line| line.starts_with("chatty> ")).count();
    let dropped: u64 = words
        .lines()
        .filter_map(|line| line.strip_prefix("chatty> (")?.split_once(" lines not shown"))
        .map(|(count, _)| count.parse::<u64>().unwrap())
        .sum();
    let notes = words.lines().filter(|line| line.contains(" lines not shown")).count();
    assert!(dropped > 0, "nothing was dropped");
    assert_eq!(dropped + (shown - notes) as u64, many, "each line is shown or counted");
    let log = succeed(&mut world.drover(["log", &drv])).stdout;
    assert_eq!(log.iter().filter(|byte| **byte == b'\n').count() as u64, many);
}

#[test]
fn a_stuck_terminal_holds_up_no_interrupt() {
    let world = World::new();
    let ready = fifo(&world.path("ready"));
    let script = format!("seq 1 100000; echo done > {}; sleep 1000", ready.display());
    let drv = world.instantiate_one(&shell("chatty", "", &script));
    let mut command = world.drover(["build", "--no-link", "-L", &drv]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    assert_eq!(std::fs::read_to_string(&ready).unwrap(), "done\n");
    let family = descendants(child.id());
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(wait(&mut child), Some(130));
    all_dead(family);
    assert_eq!(world.leftovers(), Vec::<String>::new());
}
