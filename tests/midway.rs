//! Interrupts in the middle of what takes long once a builder is through: taking outputs in,
//! copying sources, unlinking. Nothing half done is called valid, no lock stays, and what cannot be
//! removed within the second is taken back by the next start.
#![expect(clippy::unwrap_used, reason = "helpers of tests, outside the functions marked as such")]

use std::time::Duration;

use nix::sys::signal::Signal;
use rustix::fs::inotify::WatchFlags;

use crate::support::running::{Run, Watcher, start};
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

fn interrupted(run: Run, signal: Signal, code: i32) -> Duration {
    run.signal(signal);
    let (found, words, took) = run.end();
    assert_eq!(found, Some(code), "{words}");
    assert!(words.contains(&format!("interrupted by {signal}: 0 done, 1 left")), "{words}");
    took
}

#[test]
fn an_interrupt_ends_the_ingest_of_a_large_output() {
    // printf x | sha256sum
    let fixed = "outputHashMode = \"flat\"; outputHashAlgo = \"sha256\"; outputHash = \
                 \"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881\";";
    for (name, attributes) in [("plain", ""), ("copied", fixed)] {
        let world = World::new();
        let drv = large(&world, name, attributes);
        let mut least = Duration::MAX;
        for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
            let watcher = Watcher::new(&world.store(), WatchFlags::ACCESS);
            let run = start(&world, &[], &drv);
            watcher.wait(|file| file.ends_with(name));
            least = least.min(interrupted(run, signal, code));
            assert_eq!(world.leftovers(), Vec::<String>::new());
            assert_eq!(in_store(&world), Vec::<String>::new());
        }
        // A loaded machine may be late once, but hardly each time.
        assert!(least < SECOND, "{name}: ended {least:?} after the signal at best");
        let out =
            crate::support::text(&succeed(&mut world.nix("nix-store", ["-q", "--outputs", &drv])));
        fail_with(1, &mut world.nix("nix-store", ["--check-validity", &out]));
        std::fs::write(world.path("small"), "").unwrap();
        succeed(&mut world.drover(["build", "--no-link", &drv]));
        world.nix_verifies();
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
    let watcher = Watcher::new(&world.store(), WatchFlags::ACCESS);
    let run = start(&world, &["--check"], &drv);
    watcher.wait(|file| file.ends_with("twice") && !before.iter().any(|one| one == file));
    interrupted(run, Signal::SIGINT, 130);
    assert_eq!(world.leftovers(), Vec::<String>::new());
    assert_eq!(in_store(&world), before);
    world.nix_verifies();
}
