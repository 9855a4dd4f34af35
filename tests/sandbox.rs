//! One process under its keeper: its world, its end, its limits, its family.
//!
//! Waits are for events: a process that must be dead holds the writing end of a FIFO, and the end
//! of file on it is the event.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside the functions marked as such")]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, Once};
use std::time::{Duration, Instant};

use bstr::BString;
use drover::base::{Cancel, Urgency, nursery};
use drover::sandbox::{Ended, Exit, Family, Limits, LogSink, SandboxError, SpawnPlan, run};

/// Nothing here may take as long as this; a hang then is a failure that says where.
const LONG: Duration = Duration::from_secs(20);

fn setup() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| nursery::use_program(env!("CARGO_BIN_EXE_drover")));
}

/// Tests that kill the nursery or count processes run alone.
fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn shell(script: &str) -> SpawnPlan {
    setup();
    let mut plan = SpawnPlan::new("/bin/busybox", "/");
    plan.argv = ["sh", "-c", script].map(BString::from).to_vec();
    plan.env = BTreeMap::from([("PATH".into(), "/bin:/usr/bin".into())]);
    plan
}

fn run_with(plan: &SpawnPlan, limits: &Limits) -> (Exit, String) {
    let mut log = Vec::new();
    let exit = run(plan, limits, &mut log, &Cancel::new().unwrap()).unwrap();
    (exit, String::from_utf8_lossy(&log).into_owned())
}

fn run_shell(script: &str) -> (Exit, String) {
    run_with(&shell(script), &Limits::default())
}

/// A FIFO whose reader sees the end of file when the last process that holds it is dead.
struct Fifo {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Fifo {
    fn new() -> Fifo {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        Fifo { _folder: folder, path }
    }

    fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// Opens the reading end in a thread and says when everything was read and all writers died.
    fn watch(&self) -> std::sync::mpsc::Receiver<(String, Instant)> {
        let (send, receive) = std::sync::mpsc::channel();
        let path = self.path.clone();
        std::thread::spawn(move || {
            let mut text = String::new();
            std::fs::File::open(path).unwrap().read_to_string(&mut text).unwrap();
            let _ = send.send((text, Instant::now()));
        });
        receive
    }
}

#[test]
fn codes_signals_and_output() {
    let (exit, log) = run_shell("echo out; echo err >&2; exit 7");
    assert_eq!((exit.ended, exit.family), (Ended::Exited(7), Family::Gone));
    assert_eq!(log, "out\nerr\n");
    assert_eq!(run_shell("exit 0").0.ended, Ended::Exited(0));
    assert_eq!(run_shell("kill -TERM $$").0.ended, Ended::Signalled(15));
    assert_eq!(run_shell("kill -KILL $$").0.ended, Ended::Signalled(9));
    assert_eq!(run_shell("kill -40 $$").0.ended, Ended::Signalled(40), "a real-time signal");
}

#[test]
fn the_world_the_builder_sees() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().canonicalize().unwrap();
    let mut plan = shell(
        "env | sort; pwd; umask; ls /proc/self/fd | tr '\\n' ' '; echo; readlink /proc/$$/fd/0; \
         grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status; ulimit -c; ulimit -n; ulimit -Hn; \
         cat /proc/$$/personality; [ \"$(cut -d' ' -f6 /proc/$$/stat)\" = $$ ] && echo leader; \
         [ $(readlink /proc/$$/fd/1) = $(readlink /proc/$$/fd/2) ] && echo same; exec cat",
    );
    plan.cwd = place.clone();
    plan.open_files = Some((200, 300));
    plan.env.insert("bytes".into(), b"a=b c".into());
    // A descriptor that is not CLOEXEC: it must not arrive.
    let leak = std::fs::File::open("/dev/null").unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    let (exit, log) = run_with(&plan, &Limits::default());
    assert_eq!(exit.ended, Ended::Exited(0), "{log}");
    let place = place.to_str().unwrap();
    let want = [
        "PATH=/bin:/usr/bin".to_string(),
        format!("PWD={place}"),
        "SHLVL=1".into(),
        "bytes=a=b c".into(),
        place.to_string(),
        "0022".into(),
        "0 1 2 3 ".into(),
        "/dev/null".into(),
    ];
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines[..want.len()], want, "{log}");
    let signals: Vec<&str> = lines[want.len()..][..3].iter().map(|l| &l[8..]).collect();
    assert_eq!(signals[..2], ["0000000000000000"; 2], "blocked, ignored");
    assert_eq!(lines[want.len() + 3..], ["0", "200", "300", "00040000", "leader", "same"]);
}

#[test]
fn a_32_bit_machine_on_request() {
    let mut plan = shell("uname -m");
    plan.personality = drover::sandbox::Personality::Linux32;
    let (_, log) = run_with(&plan, &Limits::default());
    if cfg!(target_arch = "x86_64") {
        assert_eq!(log, "i686\n");
    }
}

#[test]
fn a_step_that_fails_is_named() {
    let error = |plan: &SpawnPlan| {
        let cancel = Cancel::new().unwrap();
        run(plan, &Limits::default(), &mut Vec::new(), &cancel).unwrap_err()
    };
    let mut plan = shell("exit 0");
    plan.program = "/no/such".into();
    let SandboxError::Setup { step, cause } = error(&plan) else { panic!() };
    assert_eq!(step, "executing `/no/such`");
    assert_eq!(cause.raw_os_error(), Some(libc::ENOENT));
    plan.program = "/proc/version".into();
    assert!(error(&plan).to_string().contains("executing `/proc/version`: Permission denied"));
    let mut plan = shell("exit 0");
    plan.cwd = "/no/folder".into();
    assert!(error(&plan).to_string().contains("changing into `/no/folder`: No such file"));
    plan.cwd = "/".into();
    plan.argv.push(b"a\0b".into());
    assert!(error(&plan).to_string().contains("argument 3 has a NUL byte"));
}

#[test]
fn a_large_environment_arrives() {
    let mut plan = shell("echo $n; echo ${#V7}");
    for n in 0..15 {
        plan.env.insert(format!("V{n}").into(), vec![b'x'; 100_000].into());
    }
    plan.env.insert("n".into(), "15".into());
    assert_eq!(run_with(&plan, &Limits::default()).1, "15\n100000\n");
    plan.env.insert("big".into(), vec![b'x'; 200_000].into());
    let error = run(&plan, &Limits::default(), &mut Vec::new(), &Cancel::new().unwrap());
    assert!(error.unwrap_err().to_string().contains("Argument list too long"));
}

/// Runs a script that leaves somebody behind who holds the FIFO; he must be dead on return.
fn leaves_nobody(script: &str) {
    let fifo = Fifo::new();
    let dead = fifo.watch();
    let start = Instant::now();
    let (exit, log) = run_shell(&script.replace("FIFO", fifo.path()));
    let took = start.elapsed();
    assert_eq!((exit.ended, exit.family), (Ended::Exited(0), Family::Gone), "{log}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    let (text, _) = dead.recv_timeout(LONG).expect("a process survives");
    assert_eq!(text, "here\n");
}

#[test]
fn a_background_child_is_killed_and_not_waited_for() {
    leaves_nobody("exec 9>FIFO; echo here >&9; sleep 1000 & exit 0");
}

#[test]
fn a_child_in_a_session_of_its_own_is_killed() {
    leaves_nobody("exec 9>FIFO; echo here >&9; setsid sleep 1000 & exit 0");
}

#[test]
fn a_daemon_is_killed() {
    // The daemon says when it is one: only then does the builder end.
    leaves_nobody(
        "export P=$$; trap 'exit 0' USR1; exec 9>FIFO; \
         (setsid sh -c 'trap \"\" HUP TERM INT; \
         (setsid sh -c \"echo here >&9; kill -USR1 \\$P; sleep 1000\" &)' &); sleep 1000 & wait",
    );
}

#[test]
fn a_builder_that_closes_its_output_is_waited_for() {
    let fifo = Fifo::new();
    let read = fifo.watch();
    let script = format!("exec >&- 2>&-; sleep 0.3; echo done >{}; exit 5", fifo.path());
    let (exit, log) = run_shell(&script);
    assert_eq!((exit.ended, log.as_str()), (Ended::Exited(5), ""));
    assert_eq!(read.recv_timeout(LONG).unwrap().0, "done\n");
}

#[test]
fn all_output_of_an_ended_process_is_there() {
    for _ in 0..20 {
        let (_, log) = run_shell("head -c 200000 /dev/zero | tr '\\0' x; echo; echo last");
        assert_eq!(log.len(), 200_006);
        assert!(log.ends_with("x\nlast\n"));
    }
}

#[test]
fn limits_end_the_process() {
    let limits = |timeout, max_silent, max_log_size| Limits { timeout, max_silent, max_log_size };
    let short = Some(Duration::from_millis(150));
    let start = Instant::now();
    let talking = shell("while :; do echo x; sleep 0.02; done");
    assert_eq!(run_with(&talking, &limits(short, None, None)).0.ended, Ended::TimedOut);
    let silent = shell("echo x; sleep 1000");
    assert_eq!(run_with(&silent, &limits(None, short, None)).0.ended, Ended::Silent);
    let flood = shell("yes");
    assert_eq!(run_with(&flood, &limits(short, None, None)).0.ended, Ended::TimedOut);
    let (exit, log) = run_with(&flood, &limits(None, None, Some(1_000_000)));
    assert_eq!((exit.ended, log.len()), (Ended::LogLimit, 1_000_000));
    let (exit, log) = run_with(&shell("printf 12345"), &limits(None, None, Some(4)));
    assert_eq!((exit.ended, log.as_str()), (Ended::LogLimit, "1234"));
    let (exit, log) = run_with(&shell("printf 1234"), &limits(None, None, Some(4)));
    assert_eq!((exit.ended, log.as_str()), (Ended::Exited(0), "1234"));
    assert!(start.elapsed() < LONG);
}

#[test]
fn a_sink_that_blocks_is_not_the_builders_silence() {
    struct Slow(FifoReader, usize);
    type FifoReader = std::sync::mpsc::Receiver<()>;
    impl LogSink for Slow {
        fn write(&mut self, bytes: &[u8]) {
            self.1 += bytes.len();
            // Longer than the limit on silence.
            let _ = self.0.recv_timeout(Duration::from_millis(250));
        }
    }
    let (_keep, never) = std::sync::mpsc::channel();
    let mut sink = Slow(never, 0);
    let plan = shell("for i in 1 2 3; do echo x; sleep 0.05; done");
    let limits = Limits { max_silent: Some(Duration::from_millis(200)), ..Limits::default() };
    let exit = run(&plan, &limits, &mut sink, &Cancel::new().unwrap()).unwrap();
    assert_eq!((exit.ended, sink.1), (Ended::Exited(0), 6));
}

/// A sink that triggers a token at the first output.
struct Trigger<'a>(&'a Cancel, Option<Instant>);

impl LogSink for Trigger<'_> {
    fn write(&mut self, _: &[u8]) {
        self.1.get_or_insert_with(Instant::now);
        self.0.trigger(Urgency::Stop);
    }
}

#[test]
fn a_token_ends_the_process_and_its_family_within_a_second() {
    let fifo = Fifo::new();
    let dead = fifo.watch();
    let script = format!(
        "trap '' TERM INT HUP; exec 9>{}; setsid sleep 1000 & echo ready; sleep 1000",
        fifo.path()
    );
    let cancel = Cancel::new().unwrap();
    let mut sink = Trigger(&cancel, None);
    let exit = run(&shell(&script), &Limits::default(), &mut sink, &cancel).unwrap();
    assert_eq!((exit.ended, exit.family), (Ended::Cancelled, Family::Gone));
    assert!(sink.1.unwrap().elapsed() < Duration::from_secs(1));
    dead.recv_timeout(LONG).expect("a process survives");
    let cancel = Cancel::new().unwrap();
    cancel.trigger(Urgency::AtOnce);
    let exit = run(&shell("sleep 1000"), &Limits::default(), &mut Vec::new(), &cancel).unwrap();
    assert_eq!(exit.ended, Ended::Cancelled, "triggered before the start");
}

#[test]
fn usage_is_measured() {
    let (exit, _) = run_shell("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done");
    assert!(exit.usage.user > Duration::from_millis(5), "{exit:?}");
    assert!((100 << 10..100 << 20).contains(&exit.usage.max_rss), "{exit:?}");
    assert!(exit.duration >= exit.usage.user);
}

#[test]
fn two_hundred_at_once() {
    let _alone = alone();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..200)
            .map(|n| scope.spawn(move || (n, run_shell(&format!("echo {n}; exit {}", n % 100)))))
            .collect();
        for thread in threads {
            let (n, (exit, log)) = thread.join().unwrap();
            assert_eq!((exit.ended, log), (Ended::Exited(n % 100), format!("{n}\n")));
        }
    });
}

#[test]
fn those_who_fork_all_the_time_are_ended() {
    let _alone = alone();
    let fifo = Fifo::new();
    let dead = fifo.watch();
    // Each generation leaves its session and its parent at once; a few hundred comets.
    let comet = "#!/bin/sh\n(setsid \"$0\" &)\nexit 0\n";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("comet");
    std::fs::write(&file, comet).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&file, mode).unwrap();
    // They set out when the builder ends, whose end of the pipe holds them: before that they would
    // take all its time.
    let go = Fifo::new();
    let script = format!(
        "exec 9>{}; i=0; while [ $i -lt 50 ]; do setsid sh -c 'read x < {go}; exec {}' & \
         i=$((i+1)); done; exec 8> {go}; exit 0",
        fifo.path(),
        file.display(),
        go = go.path()
    );
    let (exit, _) = run_shell(&script);
    assert_eq!(exit.ended, Ended::Exited(0));
    let returned = Instant::now();
    // On a loaded machine the keeper has to fight for its time.
    dead.recv_timeout(LONG * 3).expect("comets survive");
    println!("all dead {:?} after the return", returned.elapsed());
}

#[test]
fn a_fork_bomb_is_ended_by_its_time() {
    let _alone = alone();
    let fifo = Fifo::new();
    let dead = fifo.watch();
    let script = format!("exec 9>{}; bomb() {{ bomb | bomb & }}; bomb; sleep 1000", fifo.path());
    let limits = Limits { timeout: Some(Duration::from_millis(200)), ..Limits::default() };
    let start = Instant::now();
    let (exit, _) = run_with(&shell(&script), &limits);
    assert_eq!(exit.ended, Ended::TimedOut);
    assert!(start.elapsed() < LONG);
    // Thousands may take longer to die than a return waits for, but die they do.
    dead.recv_timeout(LONG).expect("the bomb survives");
}

fn kill(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
}

/// A sink that does something at the first output.
struct AtFirst<F: FnMut()>(Option<F>);

impl<F: FnMut()> LogSink for AtFirst<F> {
    fn write(&mut self, _: &[u8]) {
        if let Some(mut act) = self.0.take() {
            act();
        }
    }
}

#[test]
fn a_killed_nursery_disturbs_no_build() {
    let _alone = alone();
    let mut sink = AtFirst(Some(|| kill(nursery::nursery_pid().unwrap())));
    let plan = shell("echo ready; sleep 0.2; exit 3");
    let exit = run(&plan, &Limits::default(), &mut sink, &Cancel::new().unwrap()).unwrap();
    assert_eq!((exit.ended, exit.family), (Ended::Exited(3), Family::Gone));
    assert_eq!(run_shell("exit 4").0.ended, Ended::Exited(4), "another one is made");
}

#[test]
fn a_killed_keeper_is_an_error_and_leaves_nobody() {
    // The nursery ends the orphans of a lost keeper: it must not be killed meanwhile.
    let _alone = alone();
    let fifo = Fifo::new();
    let dead = fifo.watch();
    let script =
        format!("exec 9>{}; (setsid sleep 1000 &); kill -9 $PPID; sleep 1000", fifo.path());
    let plan = shell(&script);
    let error = run(&plan, &Limits::default(), &mut Vec::new(), &Cancel::new().unwrap());
    assert!(matches!(error, Err(SandboxError::KeeperLost)), "{error:?}");
    dead.recv_timeout(LONG).expect("a process survives its keeper");
}

#[test]
fn a_stopped_keeper_goes_on() {
    // The nursery wakes it: it must not be killed meanwhile.
    let _alone = alone();
    let fifo = Fifo::new();
    let dead = fifo.watch();
    let script = format!("exec 9>{}; (setsid sleep 1000 &); kill -STOP $PPID; exit 3", fifo.path());
    let (exit, _) = run_shell(&script);
    assert_eq!((exit.ended, exit.family), (Ended::Exited(3), Family::Gone));
    dead.recv_timeout(LONG).expect("a process survives");
}

/// In a process of its own, started by the test below: no other builder borrows its keepers.
#[test]
#[ignore = "the body of a process that the next test starts"]
fn one_keeper_and_many_builders() {
    let (first, _) = keeper_of("(setsid sleep 1000 &)");
    for _ in 0..20 {
        assert_eq!(keeper_of("(setsid sleep 1000 &)").0, first, "the family of the last is gone");
    }
    // What one used is not put down to the next, and how one ended neither.
    let (_, large) = keeper_of("dd if=/dev/zero of=/dev/null bs=64M count=1 2>/dev/null");
    assert!(large.usage.max_rss > 60 << 20, "{large:?}");
    let (_, small) = keeper_of("kill -9 $$");
    assert!(small.usage.max_rss < 30 << 20, "{small:?}");
    assert_eq!((small.ended, small.family), (Ended::Signalled(9), Family::Gone));
    // One that could not start leaves no keeper behind, one that was ended neither.
    let mut plan = shell("exit 0");
    plan.program = "/no/such".into();
    run(&plan, &Limits::default(), &mut Vec::new(), &Cancel::new().unwrap()).unwrap_err();
    let limits = Limits { timeout: Some(Duration::from_millis(50)), ..Limits::default() };
    assert_eq!(run_with(&shell("sleep 1000"), &limits).0.ended, Ended::TimedOut);
    let (another, _) = keeper_of("exit 0");
    // One that is killed while it waits is replaced, with and without its nursery.
    let pid = i32::try_from(another).ok().and_then(rustix::process::Pid::from_raw).unwrap();
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
    kill(another);
    ended(&pidfd);
    assert_eq!(keeper_of("exit 4").1.ended, Ended::Exited(4));
    kill(nursery::nursery_pid().unwrap());
    assert_eq!(keeper_of("exit 5").1.ended, Ended::Exited(5));
}

/// The keeper of a builder that ran.
fn keeper_of(script: &str) -> (u32, Exit) {
    let (exit, log) = run_shell(&format!("echo $PPID; {script}"));
    (log.trim().parse().unwrap(), exit)
}

#[test]
#[expect(clippy::disallowed_methods, reason = "makes the process that is to be alone")]
fn a_keeper_takes_one_builder_after_the_other() {
    let alone = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "sandbox::one_keeper_and_many_builders"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&alone.stdout);
    assert!(alone.status.success() && text.contains("1 passed"), "{text}");
}

/// In a process of its own, started by the test below: runs a script and never returns by itself.
#[test]
#[ignore = "the body of a process that the next test kills"]
fn victim() {
    let fifo = std::fs::read_to_string("victim-fifo").unwrap();
    let script = format!(
        "trap '' HUP TERM INT; exec 9>{fifo}; \
             (setsid sh -c 'trap \"\" HUP; sleep 1000; sleep 1000' &); \
         setsid sleep 1000 & echo here >&9; sleep 1000; sleep 1000"
    );
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| run_shell(&script));
        }
    });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "makes the process that is killed")]
fn sigkill_of_drover_leaves_nobody_after_a_second() {
    let fifo = Fifo::new();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("victim-fifo"), fifo.path()).unwrap();
    let mut victim = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "sandbox::victim"])
        .current_dir(folder.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut file = std::fs::File::open(&fifo.path).unwrap();
    let mut ready = [0; 5];
    for _ in 0..8 {
        file.read_exact(&mut ready).unwrap();
    }
    let keepers = keepers_of(victim.id());
    victim.kill().unwrap();
    let killed = Instant::now();
    victim.wait().unwrap();
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || send.send(file.read_to_end(&mut Vec::new())));
    receive.recv_timeout(LONG).expect("a builder's process survives").unwrap();
    assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
    // Keepers and nursery have nothing left to do either; a pidfd is the event of their end.
    assert_eq!(keepers.len(), 9, "eight keepers and the nursery");
    keepers.iter().for_each(ended);
}

/// Waits until a process has ended.
fn ended(pidfd: &std::os::fd::OwnedFd) {
    let mut fds = [rustix::event::PollFd::new(pidfd, rustix::event::PollFlags::IN)];
    let time = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut fds, Some(&time)), Ok(1), "a keeper stays");
}

/// The nursery of the process `pid` and its keepers, held by descriptor.
fn keepers_of(pid: u32) -> Vec<std::os::fd::OwnedFd> {
    let mut parents = vec![pid];
    let mut found = Vec::new();
    while let Some(parent) = parents.pop() {
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some((pid, name, its_parent)) = stat(&entry.path()) else { continue };
            if its_parent == parent && name.starts_with("drover-") {
                parents.push(pid);
                let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
                let flags = rustix::process::PidfdFlags::empty();
                found.push(rustix::process::pidfd_open(pid, flags).unwrap());
            }
        }
    }
    found
}

fn stat(folder: &Path) -> Option<(u32, String, u32)> {
    let pid = folder.file_name()?.to_str()?.parse().ok()?;
    let text = std::fs::read_to_string(folder.join("stat")).ok()?;
    let (name, rest) = text.split_once('(')?.1.rsplit_once(')')?;
    Some((pid, name.to_string(), rest.split_whitespace().nth(1)?.parse().ok()?))
}

#[test]
#[expect(clippy::disallowed_methods, reason = "starts what a user might")]
fn the_verb_of_the_nursery_does_nothing_for_a_user() {
    let mut drover = std::process::Command::new(env!("CARGO_BIN_EXE_drover"));
    let status = drover.arg("__keeper").stdin(std::process::Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(2));
}

/// `cargo test --release -- --ignored --nocapture spawn_cost`
#[test]
#[ignore = "a measurement, not a check"]
#[expect(clippy::disallowed_methods, reason = "a plain spawn to compare with")]
fn spawn_cost() {
    setup();
    let mut plan = shell("");
    plan.argv = vec!["true".into()];
    let build = || drop(run_with(&plan, &Limits::default()));
    let plain = || {
        let mut child = std::process::Command::new("/bin/busybox").arg("true").spawn().unwrap();
        child.wait().unwrap();
    };
    let best = |act: &dyn Fn()| {
        let round = || {
            let start = Instant::now();
            (0..200).for_each(|_| act());
            start.elapsed() / 200
        };
        (0..7).map(|_| round()).min().unwrap()
    };
    println!("small: kept {:?}, plain spawn {:?}", best(&build), best(&plain));
    let ballast = std::hint::black_box(vec![1u8; 300 << 20]);
    println!("300 MiB: kept {:?}, plain spawn {:?}", best(&build), best(&plain));
    drop(ballast);
}
