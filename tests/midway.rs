//! Interrupts in the middle of what takes long once a builder is through: taking outputs in,
//! copying sources, unlinking. Nothing half done is called valid, no lock stays, and what cannot be
//! removed within the second is taken back by the next start.
#![expect(clippy::unwrap_used, reason = "helpers of tests, outside the functions marked as such")]

use std::time::Duration;

use nix::sys::signal::Signal;
use rustix::fs::inotify::WatchFlags;

use crate::support::running::{Run, Watcher, spawn, start};
use crate::support::{World, fail_with, shell, succeed};

/// What a run has from its signal to its end.
const SECOND: Duration = Duration::from_secs(1);

/// Everything in the store folder but derivations.
fn in_store(world: &World) -> Vec<String> {
    let names = std::fs::read_dir(world.store()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !name.ends_with(".drv") && name != ".links").collect()
}

/// A file that would take long to read, unless there is a file `small`.
fn large(world: &World, name: &str, attributes: &str) -> String {
    let small = world.path("small");
    let script = format!(
        "if [ -e {} ]; then printf x > $out; else truncate -s 64G $out; fi",
        small.display()
    );
    world.instantiate_one(&shell(name, attributes, &script))
}

/// Whether the run ended within its second with nothing left. A loaded machine may be late, but not
/// each time; what is left then is said.
fn interrupted(world: &World, run: Run, (signal, code): (Signal, i32)) -> bool {
    run.signal(signal);
    let (found, words, took) = run.end();
    assert_eq!(found, Some(code), "{words}");
    assert!(words.contains(&format!("interrupted by {signal}: 0 done, 1 left")), "{words}");
    let left = world.leftovers();
    assert!(left.is_empty() || words.contains("not all that"), "{left:?}: {words}");
    if !left.is_empty() {
        taken_back(world);
    }
    left.is_empty() && took < SECOND
}

/// SIGINT and SIGTERM with their exit codes, twice.
const SIGNALS: [(Signal, i32); 4] =
    [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGINT, 130), (Signal::SIGTERM, 143)];

#[test]
fn an_interrupt_ends_the_ingest_of_a_large_output() {
    // printf x | sha256sum
    let fixed = "outputHashMode = \"flat\"; outputHashAlgo = \"sha256\"; outputHash = \
                 \"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881\";";
    for (name, attributes) in [("plain", ""), ("copied", fixed)] {
        let world = World::new();
        let drv = large(&world, name, attributes);
        let mut once = |signal| {
            let watcher = Watcher::new(&world.store(), WatchFlags::ACCESS);
            let run = start(&world, &[], &drv);
            watcher.wait(|file| file.ends_with(name));
            let tidy = interrupted(&world, run, signal);
            assert!(in_store(&world).iter().all(|file| !file.ends_with(name)));
            tidy
        };
        assert!(SIGNALS.into_iter().any(&mut once), "{name}: late or untidy each time");
        let out =
            crate::support::text(&succeed(&mut world.nix("nix-store", ["-q", "--outputs", &drv])));
        fail_with(1, &mut world.nix("nix-store", ["--check-validity", &out]));
        std::fs::write(world.path("small"), "").unwrap();
        succeed(&mut world.drover(["build", "--no-link", &drv]));
        world.nix_verifies();
    }
}

#[test]
fn the_next_builder_starts_while_outputs_are_taken_in() {
    let world = World::new();
    let begun = crate::support::fifo(&world.path("begun"));
    let script = format!("echo $name > {}; truncate -s 64G $out", begun.display());
    let drvs: Vec<String> =
        ["one", "two"].map(|name| world.instantiate_one(&shell(name, "", &script))).into();
    let run = spawn(world.drover(["build", "--no-link", "-j1"]).args(&drvs));
    // One slot: the second begins because the ingest of the first, which takes long, holds none.
    let mut names = [(); 2].map(|()| std::fs::read_to_string(&begun).unwrap());
    names.sort();
    assert_eq!(names, ["one\n", "two\n"]);
    run.signal(Signal::SIGINT);
    let (found, words, _) = run.end();
    assert_eq!(found, Some(130), "{words}");
    assert!(words.contains("0 done, 2 left"), "{words}");
    if !world.leftovers().is_empty() {
        taken_back(&world);
    }
}

#[test]
fn an_interrupt_ends_a_second_build_and_keeps_the_first() {
    let world = World::new();
    let drv = large(&world, "twice", "");
    std::fs::write(world.path("small"), "").unwrap();
    succeed(&mut world.drover(["build", "--no-link", &drv]));
    let before = in_store(&world);
    std::fs::remove_file(world.path("small")).unwrap();
    let mut once = |signal| {
        let watcher = Watcher::new(&world.store(), WatchFlags::ACCESS);
        let run = start(&world, &["--check"], &drv);
        watcher.wait(|file| file.ends_with("twice") && !before.iter().any(|one| one == file));
        interrupted(&world, run, signal)
    };
    assert!(SIGNALS.into_iter().any(&mut once), "late or untidy each time");
    assert!(before.iter().all(|one| in_store(&world).contains(one)));
    world.nix_verifies();
}

/// A builder that has written many files and goes on living.
fn many(world: &World) -> String {
    let script = "mkdir $out; cd $out; seq 20000 | xargs touch; echo ready; sleep 1000";
    world.instantiate_one(&shell("many", "", script))
}

/// Runs builds until nothing is left of killed ones; says what they said of it. A short run takes
/// back what it has time for.
fn taken_back(world: &World) -> String {
    let simple = world.instantiate_one(&shell("simple", "", "echo > $out"));
    let mut said = String::new();
    for _ in 0..50 {
        let done = succeed(&mut world.drover(["build", "--no-link", &simple]));
        said += &String::from_utf8(done.stderr).unwrap();
        if world.leftovers().is_empty() {
            return said;
        }
    }
    panic!("{:?} stay, after\n{said}", world.leftovers());
}

#[test]
fn what_an_interrupt_has_no_time_for_is_said_and_taken_back() {
    let world = World::new();
    let drv = many(&world);
    let run = start(&world, &[], &drv);
    run.hear("> ready", 1);
    run.signal(Signal::SIGINT);
    let (code, words, _) = run.end();
    assert_eq!(code, Some(130), "{words}");
    assert_eq!(words.contains("not all that"), !world.leftovers().is_empty(), "{words}");
    taken_back(&world);
    assert!(in_store(&world).iter().all(|name| !name.ends_with("-many")));
    world.nix_verifies();
}

#[test]
fn a_second_signal_during_the_tidying_ends_it_at_once() {
    // Should the machine stand still for so long that there is nothing left to cut off: once more.
    assert!((0..5).any(|_| cut_off()));
}

/// Whether the second signal came in time.
fn cut_off() -> bool {
    let world = World::new();
    let drv = many(&world);
    let run = start(&world, &[], &drv);
    run.hear("> ready", 1);
    let named = |name: &String| name.ends_with("-many");
    let out = world.store().join(in_store(&world).into_iter().find(named).unwrap());
    // The folder is renamed before it is emptied; the watch goes with it.
    let watcher = Watcher::new(&out, WatchFlags::DELETE);
    run.signal(Signal::SIGINT);
    watcher.wait(|_| true);
    run.signal(Signal::SIGTERM);
    let (code, words, _) = run.end();
    assert!(matches!(code, Some(130 | 143)), "{code:?}: {words}");
    let left = world.leftovers();
    assert!(left.iter().all(|name| !name.ends_with(".lock")), "{left:?}: {words}");
    if !left.iter().any(|name| name.starts_with("tmp-")) {
        return false;
    }
    assert!(!out.exists());
    let said = taken_back(&world);
    assert!(said.contains("removed what killed processes had left"), "{said}");
    world.nix_verifies();
    true
}

#[test]
fn an_interrupt_ends_an_addition() {
    let world = World::new();
    let source = world.path("work/source");
    std::fs::create_dir(&source).unwrap();
    std::fs::File::create(source.join("large")).unwrap().set_len(64 << 30).unwrap();
    let end = |run: Run, (signal, code): (Signal, i32)| {
        run.signal(signal);
        let (found, words, took) = run.end();
        assert_eq!(found, Some(code), "{words}");
        // Without words where its second was over.
        let tidy = words == format!("interrupted by {signal}") && took < SECOND;
        let roots = std::fs::read_dir(world.path("var/temproots"));
        let nothing = world.leftovers().is_empty() && roots.is_ok_and(|r| r.count() == 0);
        assert!(nothing || !tidy, "{:?}", in_store(&world));
        assert!(in_store(&world).iter().all(|name| !name.ends_with("-source")));
        if !nothing {
            taken_back(&world);
        }
        tidy && nothing
    };
    let hashed = |signal| {
        let watcher = Watcher::new(&source, WatchFlags::ACCESS);
        let run = spawn(&mut world.drover(["add", "source"]));
        watcher.wait(|file| file == "large");
        end(run, signal)
    };
    assert!(SIGNALS.into_iter().any(hashed), "late or untidy each time");
    std::fs::File::create(source.join("large")).unwrap().set_len(256 << 20).unwrap();
    let copied = |signal| {
        let watcher = Watcher::new(&world.store(), WatchFlags::CREATE);
        let run = spawn(&mut world.drover(["add", "source"]));
        watcher.wait(|file| file.starts_with("tmp-"));
        end(run, signal)
    };
    assert!(SIGNALS.into_iter().any(copied), "late or untidy each time");
    world.nix_verifies();
}

#[test]
fn an_addition_that_waits_for_a_lock_is_ended_too() {
    let world = World::new();
    std::fs::write(world.path("work/source"), "source").unwrap();
    let path = crate::support::text(&succeed(&mut world.nix("nix-store", ["--add", "source"])));
    succeed(&mut world.nix("nix-store", ["--delete", &path]));
    let file = std::fs::File::create(format!("{path}.lock")).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let watcher = Watcher::new(&world.store(), WatchFlags::OPEN);
    let run = spawn(&mut world.drover(["add", "source"]));
    watcher.wait(|name| name.ends_with("-source.lock"));
    run.signal(Signal::SIGINT);
    let (code, words, _) = run.end();
    assert_eq!(code, Some(130), "{words}");
    drop(file);
    fail_with(1, &mut world.nix("nix-store", ["--check-validity", &path]));
    taken_back(&world);
    let again = crate::support::text(&succeed(&mut world.drover(["add", "source"])));
    assert_eq!(again, path);
    world.nix_verifies();
}

#[test]
fn an_interrupt_ends_the_copying_of_a_recipe_s_sources() {
    let world = World::new();
    let source = world.path("work/source");
    std::fs::create_dir(&source).unwrap();
    std::fs::File::create(source.join("large")).unwrap().set_len(64 << 30).unwrap();
    let recipe = "[one]\nbuilder = \"/bin/sh\"\nsources = [\"source\"]\n";
    std::fs::write(world.path("work/recipe.toml"), recipe).unwrap();
    let watcher = Watcher::new(&source, WatchFlags::ACCESS);
    let run = spawn(&mut world.drover(["build", "recipe.toml"]));
    watcher.wait(|file| file == "large");
    run.signal(Signal::SIGINT);
    let (code, words, _) = run.end();
    assert_eq!(code, Some(130), "{words}");
    assert!(words.contains("interrupted by SIGINT"), "{words}");
    assert_eq!(in_store(&world), Vec::<String>::new());
}
