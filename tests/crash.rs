//! SIGKILL of drover at random moments: what it leaves is taken back, and the store is sound.
#![expect(clippy::unwrap_used, reason = "helpers of tests, outside the functions marked as such")]

use std::fmt::Write as _;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::support::{World, descendants, shell, succeed, text};

/// Kills in all, over several worlds of as many each.
const KILLS: usize = 100;
const WORLDS: usize = 10;
/// Kills that must hit a drover that runs. One that comes too late is done again, so often at most.
const HITS: usize = 90;
const MOST_TRIES: usize = 2 * KILLS / WORLDS;
/// Real Nix looks at the store as a kill leaves it after one of so many.
const VERIFIED: u64 = 5;
/// Nothing here may take as long as this.
const LONG: Duration = Duration::from_secs(30);

/// A small random number generator (xorshift), so that a seed makes a run again.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Sixty derivations in layers, each on up to three before it. Some have two outputs, some leave a
/// process in a session of its own that would write to the output later.
fn graph(random: &mut Random) -> String {
    let mut text = String::from("let\n");
    for n in 0..60_u64 {
        let inputs: Vec<String> = (0..random.below(4))
            .filter(|_| n > 0)
            .map(|_| format!("\"${{d{}}}\"", random.below(n)))
            .collect();
        let (outputs, two) = match n % 5 {
            0 => ("outputs = [ \"out\" \"dev\" ];", "mkdir $dev; echo $out > $dev/x; "),
            _ => ("", ""),
        };
        let daemon = match n % 7 {
            0 => "(setsid sh -c \"echo > $out/early; sleep 100; echo > $out/late\" &); ",
            _ => "",
        };
        let script = format!(
            "mkdir $out; {daemon}{two}for i in 1 2 3; do echo $inputs $i > $out/$i; done; \
             echo from {n}"
        );
        let _ = writeln!(
            text,
            "d{n} = derivation {{ name = \"n{n}\"; system = builtins.currentSystem; \
             builder = \"/bin/busybox\"; PATH = \"/bin:/usr/bin\"; \
             args = [ \"sh\" \"-c\" ''{script}'' ]; inputs = [ {} ]; {outputs} }};",
            inputs.join(" ")
        );
    }
    let all: Vec<String> = (0..60).map(|n| format!("\"${{d{n}}}\"")).collect();
    let _ = write!(
        text,
        "in derivation {{ name = \"all\"; system = builtins.currentSystem; builder = \
         \"/bin/busybox\"; args = [ \"sh\" \"-c\" \"echo $all > $out\" ]; all = [ {} ]; }}",
        all.join(" ")
    );
    text
}

fn build(world: &World, drv: &str) -> Command {
    let mut command = world.drover(["build", "--no-link", "-j4", "-L", drv]);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Lets drover run until it has said so many lines and so many microseconds more, then kills it.
/// Whether it was still running, and its family.
fn kill_at(mut child: Child, lines: u64, more: u64) -> (bool, Family) {
    let mut words = child.stderr.take().unwrap();
    let mut buffer = [0; 512];
    let mut seen = 0;
    while seen < lines {
        let got = words.read(&mut buffer).unwrap();
        if got == 0 {
            break;
        }
        seen += buffer[..got].iter().filter(|byte| **byte == b'\n').count() as u64;
    }
    // A wait for an event that does not come: nobody writes to this pipe.
    let (quiet, _keep) = rustix::pipe::pipe().unwrap();
    let wait = Timespec { tv_sec: 0, tv_nsec: more as i64 * 1000 };
    poll(&mut [PollFd::new(&quiet, PollFlags::IN)], Some(&wait)).unwrap();
    let family = descendants(child.id());
    let running = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    let killed = Instant::now();
    child.wait().unwrap();
    (running, Family { processes: family, killed })
}

/// All processes below a drover that was killed.
struct Family {
    processes: Vec<(u32, OwnedFd)>,
    killed: Instant,
}

fn must_be_dead(family: Family) {
    let Family { processes, killed } = family;
    for (pid, process) in processes {
        let left = Duration::from_secs(10).saturating_sub(killed.elapsed());
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: 0 };
        let gone = poll(&mut [PollFd::new(&process.as_fd(), PollFlags::IN)], Some(&left)).unwrap();
        assert_eq!(gone, 1, "process {pid} survives: {:?}", command_line(pid));
    }
}

fn command_line(pid: u32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ")
}

/// Names in `folder` that start with a digit: files of temporary roots.
fn roots_left(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Kills drover in `world` until it was hit as often as is wanted of a world. How often it was, and
/// what it was to build last.
fn kill_often(world: &World, random: &mut Random) -> (usize, String) {
    let mut drv = world.instantiate_one(&graph(random));
    let (mut hits, mut tries) = (0, 0);
    let mut dying = Vec::new();
    while hits < KILLS / WORLDS && tries < MOST_TRIES {
        tries += 1;
        let child = build(world, &drv).spawn().unwrap();
        // Of the lines there are some four a build; a late kill leaves less for the next.
        let (lines, more) = (random.below(25), random.below(20_000));
        let (hit, family) = kill_at(child, lines, more);
        hits += usize::from(hit);
        // The next run comes now, with builders of this one still dying, or when they are dead.
        if random.below(2) == 0 {
            must_be_dead(family);
        } else {
            dying.push(family);
        }
        if random.below(VERIFIED) == 0 {
            world.nix_verifies();
        }
        if !hit {
            // That one is built: another run of it would end as fast.
            drv = world.instantiate_one(&graph(random));
        }
    }
    dying.into_iter().for_each(must_be_dead);
    (hits, drv)
}

#[test]
fn killed_at_any_moment_nothing_is_lost_or_left() {
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = option_env!("DROVER_TEST_SEED").map_or(seed.as_nanos() as u64 | 1, |text| {
        text.parse().expect("DROVER_TEST_SEED is a number")
    });
    println!("seed {seed} (make it again with DROVER_TEST_SEED)");
    let begin = Instant::now();
    let mut random = Random(seed);
    let mut hits = 0;
    for _ in 0..WORLDS {
        let world = World::new();
        let (hit, drv) = kill_often(&world, &mut random);
        hits += hit;
        // Two of the runs that follow: the first may come while a keeper still holds a folder.
        succeed(&mut build(&world, &drv));
        succeed(&mut build(&world, &drv));
        world.nix_verifies();
        assert_eq!(world.leftovers(), Vec::<String>::new());
        assert_eq!(roots_left(&world.path("var/temproots")), Vec::<String>::new());
        let strays = std::fs::read_dir(world.store()).unwrap();
        let strays: Vec<_> = strays.map(|entry| entry.unwrap().file_name()).collect();
        let valid = succeed(&mut world.nix("nix-store", ["--dump-db"])).stdout;
        let valid = String::from_utf8(valid).unwrap();
        for stray in strays {
            let name = stray.to_str().unwrap();
            assert!(name == ".links" || valid.contains(name), "{name} is not valid");
        }
        assert!(begin.elapsed() < LONG * 4, "too slow");
    }
    println!("{hits} of {KILLS} kills hit a run, {:?}", begin.elapsed());
    assert!(hits >= HITS, "only {hits} of {KILLS} kills hit a run");
}

#[test]
fn what_the_dead_left_is_told_from_what_the_living_hold() {
    let world = World::new();
    let drv = world.instantiate_one(&shell("one", "", "echo > $out"));
    let other = world.instantiate_one(&shell("other", "", "echo > $out"));
    succeed(&mut world.drover(["build", "--no-link", &drv]));
    let output =
        |drv: &str| text(&succeed(&mut world.nix("nix-store", ["--query", "--outputs", drv])));
    let (valid, junk) = (output(&drv), output(&other));
    let held = valid.replace("-one", "-held");
    std::fs::create_dir(&junk).unwrap();
    std::fs::create_dir(&held).unwrap();
    for path in [&valid, &junk, &held] {
        std::fs::write(format!("{path}.lock"), "").unwrap();
    }
    let living = std::fs::File::open(format!("{held}.lock")).unwrap();
    nix_flock(&living);
    let temp = |n: u32| world.store().join(format!("tmp-999999999-{n}"));
    [0, 3, 4].iter().for_each(|n| std::fs::create_dir_all(temp(*n).join("x/y")).unwrap());
    let living_temp = std::fs::File::open(temp(3)).unwrap();
    nix_flock(&living_temp);
    let builds = world.path("var/builds");
    std::fs::create_dir_all(builds.join("drover-999999999-0/x")).unwrap();
    let roots = world.path("var/temproots/999999999");
    std::fs::write(&roots, format!("{valid}\0{junk}\0{held}\0/else/where\0")).unwrap();

    let again = || {
        let output = succeed(&mut world.drover(["build", "--no-link", &drv]));
        String::from_utf8(output.stderr).unwrap()
    };
    let said = again();
    let line = "removed what killed processes had left: 1 build folder, 2 lock files, \
                1 unfinished output, 2 temporary folders";
    assert!(said.lines().any(|l| l == line), "{said}");
    let there = |path: &str| Path::new(path).exists();
    assert!(there(&valid) && there(&held) && !there(&junk));
    assert!(roots.exists(), "something is held still");
    assert_eq!(world.leftovers().len(), 2, "{:?}", world.leftovers());
    drop((living, living_temp));
    let said = again();
    assert!(said.contains("1 lock file, 1 unfinished output, 1 temporary folder"), "{said}");
    assert!(!roots.exists() && !there(&held));
    assert_eq!(world.leftovers(), Vec::<String>::new());
    assert!(!again().contains("removed what"), "nothing is left");
    world.nix_verifies();
}

/// Locks as a living process would.
fn nix_flock(file: &std::fs::File) {
    rustix::fs::flock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
}

#[test]
fn twenty_thousand_stale_entries_hold_up_nobody() {
    let world = World::new();
    let drv = world.instantiate_one(&shell("one", "", "echo > $out"));
    let run = || {
        let start = Instant::now();
        succeed(&mut world.drover(["build", "--no-link", &drv]));
        start.elapsed()
    };
    run();
    let clean = run();
    let hash = |n: u32| format!("{n:032}").replace('9', "z");
    for process in 0..20 {
        let mut records = String::new();
        for n in 0..1000 {
            let path = world.store().join(format!("{}-x", hash(process * 1000 + n)));
            if n % 10 == 0 {
                std::fs::write(format!("{}.lock", path.display()), "").unwrap();
            }
            records += &format!("{}\0", path.display());
        }
        std::fs::write(world.path(format!("var/temproots/{}", 999_999_000 + process)), records)
            .unwrap();
    }
    let stale = run();
    println!("a run with nothing to do: {clean:?}; with 20,000 stale entries: {stale:?}");
    // What is not done within the run's patience is done by the next ones.
    for _ in 0..50 {
        if roots_left(&world.path("var/temproots")).is_empty() {
            break;
        }
        run();
    }
    assert_eq!(roots_left(&world.path("var/temproots")), Vec::<String>::new());
    assert_eq!(world.leftovers(), Vec::<String>::new());
}
