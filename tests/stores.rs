//! Stores that are not as they should be: other schemas, damage, read-only places, missing
//! permission, symlinks; and stores of a user's own.

use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::process::Command;

use crate::support::{World, fail_with, lines, shell, succeed, text, texts};

/// A user without any rights.
const NOBODY: u32 = 65534;

fn one(world: &World) -> String {
    world.instantiate_one(&shell("one", "", "echo > $out"))
}

/// `drover build` and `drover query` both end with 1 and say all of `words`.
fn refused(world: &World, drv: &str, words: &[&str]) {
    for arguments in [&["build", "--no-link", drv][..], &["query", "--references", drv]] {
        let error = fail_with(1, &mut world.drover(arguments));
        for word in words {
            assert!(error.contains(word), "{arguments:?} does not say {word:?}:\n{error}");
        }
    }
}

#[test]
fn databases_of_other_times() {
    let world = World::new();
    let drv = one(&world);
    let schema = world.path("var/db/schema");
    let db = world.path("var/db");
    let place = db.to_str().unwrap();
    let cases = [
        ("11", &["schema is version 11, but I only support 10", place][..]),
        ("7", &["schema 7, which is too old", "open it once with Nix", place]),
        ("ten", &["is not the number of a store schema: `ten`", place]),
        ("", &["is not the number of a store schema", place]),
    ];
    for (text, words) in cases {
        std::fs::write(&schema, text).unwrap();
        refused(&world, &drv, words);
        assert_eq!(std::fs::read_to_string(&schema).unwrap(), text, "it is left alone");
    }
    std::fs::write(&schema, "10").unwrap();
    succeed(&mut world.drover(["build", "--no-link", &drv]));
}

#[test]
fn damaged_databases() {
    let world = World::new();
    let drv = one(&world);
    let db = world.path("var/db/db.sqlite");
    let place = db.to_str().unwrap();
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{place}{suffix}"));
    }
    let whole = std::fs::read(&db).unwrap();
    let mut garbled = whole.clone();
    garbled[..8192].fill(0xa5);
    for bad in [&garbled[..], &whole[..whole.len() / 2], b""] {
        std::fs::write(&db, bad).unwrap();
        refused(&world, &drv, &[place, "is damaged"]);
        assert_eq!(std::fs::read(&db).unwrap(), bad, "nothing is lost");
    }
    std::fs::remove_file(&db).unwrap();
    refused(&world, &drv, &["there is no store at", "`db/db.sqlite` is missing"]);
    assert!(!db.exists(), "an empty one would call everything garbage");
    std::fs::write(&db, whole).unwrap();
    succeed(&mut world.drover(["build", "--no-link", &drv]));
    world.nix_verifies();
}

#[test]
fn a_store_without_its_folder() {
    let world = World::new();
    let drv = one(&world);
    std::fs::rename(world.store(), world.path("away")).unwrap();
    let store = world.store();
    refused(&world, &drv, &["the store folder", store.to_str().unwrap(), "is missing"]);
    symlink("away", &store).unwrap();
    refused(&world, &drv, &[store.to_str().unwrap(), "is a symlink", "allow-symlinked-store"]);
    let allowed = ["build", "--no-link", "--option", "allow-symlinked-store", "true", &drv];
    succeed(&mut world.drover(allowed));
    let mut by_variable = world.drover(["query", "--references", &drv]);
    succeed(by_variable.env("NIX_IGNORE_SYMLINK_STORE", "1"));
}

/// Runs a script where folders can be mounted over; needs root.
fn mounting(world: &World, drv: &str, script: &str) -> String {
    let functions = r#"
        read_only() {
          mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" ||
            { echo "cannot mount: this test needs root and mount namespaces" >&2; exit 77; }
        }
    "#;
    let mut command = world.command("unshare");
    command.args(["--mount", "sh", "-c", &format!("{functions}{script}")]);
    let output = command.env("DROVER", env!("CARGO_BIN_EXE_drover")).env("DRV", drv).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", texts(&output));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn read_only_folders() {
    let world = World::new();
    let drv = one(&world);
    let build = "\"$DROVER\" build --no-link \"$DRV\"";
    let folders = ["NIX_STORE_DIR", "NIX_STATE_DIR"];
    for folder in folders {
        let error = mounting(&world, &drv, &format!("read_only \"${folder}\"; {build}"));
        assert!(error.contains("Read-only file system"), "{folder}: {error}");
        assert!(error.contains(world.path("").to_str().unwrap()), "{folder}: {error}");
    }
    let ask = "\"$DROVER\" query --references \"$DRV\" || exit 3; \
               \"$DROVER\" build --dry-run \"$DRV\" || exit 4; \"$DROVER\" add /etc/passwd";
    let error = mounting(&world, &drv, &format!("read_only \"$NIX_STATE_DIR\"; {ask}"));
    assert!(error.contains("this derivation will be built"), "{error}");
    assert!(error.contains("choose another store with `--store`"), "{error}");
    succeed(&mut world.drover(["build", "--no-link", &drv]));
    world.nix_verifies();
}

/// drover as a user without rights. Such a user can run a copy that lies where it may look.
fn as_nobody(world: &World, arguments: &[&str]) -> Command {
    let program = world.own_program();
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(world.path(""), open).unwrap();
    chown(world.path("home"), Some(NOBODY), Some(NOBODY)).unwrap();
    let mut command = world.command("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
    command.args(arguments);
    command
}

#[test]
fn no_permission_says_what_to_do() {
    let world = World::new();
    let drv = one(&world);
    for arguments in [&["build", "--no-link", &drv][..], &["add", "/etc/passwd"]] {
        let error = fail_with(1, &mut as_nobody(&world, arguments));
        assert!(error.contains("no permission to write `"), "{error}");
        assert!(error.contains("run as its owner (often root)"), "{error}");
        assert_eq!(error.matches("Permission denied").count(), 1, "said once: {error}");
    }
    succeed(&mut as_nobody(&world, &["query", "--references", &drv]));
    succeed(&mut as_nobody(&world, &["build", "--dry-run", &drv]));
    assert!(!world.path("home/.local").exists(), "no other store was made unasked");
}

/// Without the variables that name the system store.
fn without_places(mut command: Command) -> Command {
    for name in ["NIX_STORE_DIR", "NIX_STATE_DIR", "NIX_LOG_DIR"] {
        command.env_remove(name);
    }
    command
}

#[test]
fn a_user_has_a_store_of_their_own() {
    let world = World::new();
    let file = world.path("home/file");
    std::fs::write(&file, "contents").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let own = world.path("home/data/nix/root");
    let chosen = world.path("home/chosen");
    let file = file.to_str().unwrap();
    for (root, store) in [(&own, "auto"), (&chosen, chosen.to_str().unwrap())] {
        let run = |arguments: &[&str]| {
            let arguments = [&["--store", store], arguments].concat();
            let mut command = without_places(as_nobody(&world, &arguments));
            command.env("XDG_DATA_HOME", world.path("home/data"));
            text(&succeed(&mut command))
        };
        let added = run(&["add", file]);
        assert!(added.starts_with("/nix/store/"), "{added}");
        let real = root.join(added.strip_prefix('/').unwrap());
        assert_eq!(std::fs::read_to_string(&real).unwrap(), "contents");
        assert_eq!(run(&["query", "--size", &added]), "120");
        let by_nix = |arguments: &[&str]| {
            let root = root.to_str().unwrap();
            let arguments = [&["--store", root], arguments].concat();
            lines(&succeed(&mut without_places(world.nix("nix-store", arguments))))
        };
        assert_eq!(by_nix(&["--query", "--hash", &added]), [run(&["query", "--hash", &added])]);
        by_nix(&["--verify", "--check-contents"]);
    }
}

/// Runs a script in the root folder of a machine that has no `/nix`: it has what programs need,
/// `drover` and `work/tests/examples/hello.toml`; the script changes to it with `chroot .`.
fn on_a_fresh_machine(world: &World, script: &str) -> Command {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/hello.toml");
    let machine = r#"
        set -e
        mount -t tmpfs tmpfs "$ROOT" ||
            { echo "cannot mount: this test needs root and mount namespaces" >&2; exit 77; }
        cd "$ROOT"
        chmod 755 .
        mkdir -p work/tests/examples root
        for d in bin sbin lib lib64 usr etc proc dev tmp; do
          [ ! -e "/$d" ] || { mkdir "$d"; mount --rbind "/$d" "$d"; }
        done
        install -m 755 "$DROVER" drover
        install -m 644 "$EXAMPLE" work/tests/examples/hello.toml
        unset NIX_STORE_DIR NIX_STATE_DIR NIX_LOG_DIR NIX_CONF_DIR NIX_REMOTE
    "#;
    let mut command = world.command("unshare");
    let script = format!("{machine}{script}");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
    command.env("DROVER", env!("CARGO_BIN_EXE_drover")).env("EXAMPLE", example);
    std::fs::create_dir(world.path("machine")).unwrap();
    command.env("ROOT", world.path("machine"));
    command
}

#[test]
fn root_gets_the_system_store_made() {
    let world = World::new();
    let script = r#"
        export HOME=/root NIX_CONFIG="sandbox = false"
        chroot . sh -c 'cd /work && /drover build tests/examples/hello.toml && cat result'
        [ -e nix/var/nix/db/db.sqlite ] && [ -d nix/var/log/nix/drvs ]
    "#;
    let said = lines(&succeed(&mut on_a_fresh_machine(&world, script)));
    assert!(said[0].starts_with("/nix/store/") && said[0].ends_with("-hello"), "{said:?}");
    assert_eq!(said[1..], [format!("Hello, world! This is {}.", said[0])]);
}

#[test]
fn the_first_command_of_a_newcomer() {
    let world = World::new();
    let as_user = |script: &str| {
        let user = r#"
            mkdir home && chown -R 65534:65534 home work
            export HOME=/home SCRIPT
            exec chroot . setpriv --reuid=65534 --regid=65534 --clear-groups \
                sh -ec 'cd /work; eval "$SCRIPT"'
        "#;
        let _ = std::fs::remove_dir(world.path("machine"));
        let mut command = on_a_fresh_machine(&world, user);
        command.env("SCRIPT", script);
        command
    };
    let build = "/drover build tests/examples/hello.toml";
    let none_made = "[ ! -e /nix ] && [ ! -e /home/.local ] || exit 3; exit 1";
    let error = fail_with(1, &mut as_user(&format!("{build} || {{ {none_made}; }}")));
    let want = "error: cannot build into the store at `/home/.local/share/nix/root/";
    assert!(error.starts_with(want), "{error}");
    for word in ["NIX_STORE_DIR", "NIX_STATE_DIR", "NIX_LOG_DIR"] {
        assert!(error.contains(word), "{word}: {error}");
    }

    // What the README says to do then.
    let block = include_str!("../README.md").split("```sh\n").find(|b| b.starts_with("export "));
    let block = block.unwrap().split("```").next().unwrap();
    let script = block.replace("cargo run --release --", "/drover");
    assert!(script.contains(build), "{script}");
    let said = lines(&succeed(&mut as_user(&format!("{script}cat result"))));
    assert!(said[0].starts_with("/home/store/") && said[0].ends_with("-hello"), "{said:?}");
    assert_eq!(said[1..], [format!("Hello, world! This is {}.", said[0])]);
}

#[test]
fn defaults_are_those_of_nix() {
    // Recorded from a Nix with a configuration that sets these two, on a machine of its own.
    let set_there = ["substituters", "build-users-group"];
    let ours = ["allowed-host-paths", "impure-env"];
    let recorded: std::collections::BTreeMap<&str, &str> =
        include_str!("fixtures/config-show-2.34.conf")
            .lines()
            .filter_map(|line| line.split_once(" ="))
            .map(|(name, value)| (name, value.trim()))
            .collect();
    let mut compared = 0;
    for setting in drover::cli::settings::SETTINGS {
        let default = setting.nix_default.unwrap_or(setting.default);
        let of_the_machine = default.starts_with('@');
        if of_the_machine || set_there.contains(&setting.name) || ours.contains(&setting.name) {
            continue;
        }
        let theirs = recorded.get(setting.name);
        assert_eq!(theirs, Some(&default), "{}", setting.name);
        compared += 1;
    }
    assert!(compared > 25, "only {compared} were compared");
}

#[test]
fn every_setting_of_nix_is_known() {
    let world = World::new();
    let all = include_str!("fixtures/config-show-2.34.conf");
    assert!(all.lines().count() > 100);
    std::fs::write(world.path("etc/nix.conf"), all).unwrap();
    let output = succeed(&mut world.drover(["config", "show"]));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    std::fs::write(world.path("etc/nix.conf"), "max-jobs = some\n").unwrap();
    let error = fail_with(1, &mut world.drover(["config", "show"]));
    assert!(error.contains("nix.conf:1") && error.contains("max-jobs"), "{error}");
    std::fs::write(world.path("etc/nix.conf"), "cores = 1\ninclude nix.conf\n").unwrap();
    let error = fail_with(1, &mut world.drover(["config", "show"]));
    assert!(error.contains("nix.conf"), "an include that goes in a circle: {error}");
}
