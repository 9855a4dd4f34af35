//! The program as a caller sees it: arguments, configuration, exit codes, closed pipes.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use clap::CommandFactory;

use crate::support::{World, shell, succeed};

/// A call of drover with an environment that has nothing of the caller's.
#[expect(clippy::disallowed_methods, reason = "tests run the program itself")]
fn drover(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_drover"));
    command.env_clear().env("HOME", home).env("NIX_CONF_DIR", home.join("etc"));
    command.env("XDG_CONFIG_HOME", home.join("config")).env("XDG_CONFIG_DIRS", home.join("xdg"));
    command.stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

#[test]
fn wrong_usage_exits_with_2() {
    let home = tempfile::tempdir().unwrap();
    for args in [&["nonsense"][..], &["build"], &["query", "x"], &["build", "-j"], &[]] {
        let (code, out, err) = run(drover(home.path()).args(args));
        assert_eq!((code, out.as_str()), (Some(2), ""), "{args:?}");
        assert!(err.contains("--help") || err.contains("Usage"), "{args:?}: {err}");
    }
    for (args, flag) in [
        (&["build", "-j", "many", "x"][..], "--max-jobs"),
        (&["build", "--timeout", "soon", "x"], "--timeout"),
        (&["config", "show", "--option", "cores", "all"], "--option"),
        (&["config", "show", "--store", "ftp://x"], "--store"),
    ] {
        let (code, out, err) = run(drover(home.path()).args(args));
        assert_eq!((code, out.as_str()), (Some(2), ""), "{args:?}: {err}");
        assert!(err.contains(flag), "{args:?}: {err}");
    }
    let (code, out, _) = run(drover(home.path()).arg("--help"));
    assert_eq!(code, Some(0));
    assert!(out.contains("96+bits") && out.contains("130/143"), "{out}");
}

#[test]
fn settings_come_from_files_environment_and_flags() {
    let home = tempfile::tempdir().unwrap();
    write(&home.path().join("etc/nix.conf"), "cores = 1\nmax-jobs = 1\ntimeout = 1\nlog-lines = 1");
    write(&home.path().join("config/nix/nix.conf"), "max-jobs = 2\ntimeout = 2\nlog-lines = 2");
    write(&home.path().join("config/drover/drover.conf"), "log-lines = 4\nfoo = 1");
    let mut command = drover(home.path());
    command.env("NIX_CONFIG", "timeout = 3\nlog-lines = 3");
    let show = ["config", "show", "--option", "keep-going", "yes", "--option", "bar", "1"];
    let (code, out, err) = run(command.args(show));
    assert_eq!(code, Some(0), "{err}");
    for line in ["cores = 1", "max-jobs = 2", "timeout = 3", "log-lines = 4", "keep-going = true"] {
        assert!(out.lines().any(|l| l == line), "{line}: {out}");
    }
    let conf = home.path().join("config/drover/drover.conf");
    let foo = format!("warning: unknown setting 'foo' ({}:2)\n", conf.display());
    assert_eq!(err, format!("{foo}warning: unknown setting 'bar' (--option)\n"));
}

#[test]
fn wrong_values_name_file_and_line() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("config/drover/drover.conf");
    write(&file, "# mine\nmax-jobs = many\n");
    let (code, out, err) = run(drover(home.path()).args(["config", "show"]));
    assert_eq!((code, out.as_str()), (Some(1), ""));
    let want = format!(
        "error: {}:2: setting `max-jobs` has the wrong value `many`; allowed is a whole number or \
         `auto`\n",
        file.display()
    );
    assert_eq!(err, want);
}

#[test]
fn the_file_of_the_whole_system_is_read() {
    let world = World::new();
    let show = |content: &str| {
        // An `/etc` with nothing else in it.
        let script = r#"
            mount -t tmpfs tmpfs /etc ||
                { echo "cannot mount: this test needs root and mount namespaces" >&2; exit 77; }
            mkdir /etc/drover
            printf "$CONTENT" > /etc/drover/drover.conf
            exec "$DROVER" config show log-lines
        "#;
        let mut command = world.command("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", script]);
        command.env("CONTENT", content).env("DROVER", env!("CARGO_BIN_EXE_drover"));
        run(command.env("NIX_CONFIG", "log-lines = 3"))
    };
    assert_eq!(show("# ours\nlog-lines = 17\n"), (Some(0), "17\n".into(), String::new()));
    let (code, out, err) = show("# ours\nlog-lines = many\n");
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
    let want = "error: /etc/drover/drover.conf:2: setting `log-lines` has the wrong value `many`;";
    assert!(err.starts_with(want), "{err}");
}

#[test]
fn one_setting_can_be_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let (code, out, _) = run(drover(home.path()).args(["config", "show", "log-lines"]));
    assert_eq!((code, out.as_str()), (Some(0), "10\n"));
    let (code, _, err) = run(drover(home.path()).args(["config", "show", "nonsense"]));
    assert_eq!(code, Some(1));
    assert_eq!(err, "error: `nonsense` is not a setting of drover\n");
}

#[test]
fn completions_and_manual_are_printed() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, _) = run(drover(home.path()).args(["completions", shell]));
        assert_eq!(code, Some(0));
        assert!(out.contains("path-info"), "{shell}");
    }
    let (code, out, _) = run(drover(home.path()).arg("man"));
    assert_eq!(code, Some(0));
    assert!(out.starts_with(".TH drover 1") || out.contains("\n.TH drover 1"), "{out}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let home = tempfile::tempdir().unwrap();
    let mut command = drover(home.path());
    let mut child = command
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""));
}

#[test]
fn a_full_disk_at_stdout_is_an_error() {
    let home = tempfile::tempdir().unwrap();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (code, _, err) = run(drover(home.path()).args(["completions", "bash"]).stdout(full));
    assert_eq!(code, Some(1));
    assert!(err.contains("No space left"), "{err}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "tests run the program itself")]
fn a_limit_of_file_sizes_is_an_error_and_no_end_in_the_middle() {
    let home = tempfile::tempdir().unwrap();
    let out = fs::File::create(home.path().join("out")).unwrap();
    let script = "ulimit -f 1; exec \"$0\" completions bash";
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_drover")]).stdout(out);
    let (code, _, err) = run(&mut command);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("write to standard output: File too large"), "{err}");
}

#[test]
fn files_are_hashed() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("f");
    write(&file, "abc");
    let hash = |format: &str| {
        let args = ["hash", "file", "--format", format, file.to_str().unwrap()];
        run(drover(home.path()).args(args)).1
    };
    assert_eq!(hash("sri"), "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=\n");
    assert_eq!(hash("nix32"), "1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s\n");
    let (code, _, err) = run(drover(home.path()).args(["hash", "file", "/no/such"]));
    assert_eq!(code, Some(1));
    assert!(err.starts_with("error: cannot read `/no/such`: "), "{err}");
}

#[test]
fn nothing_is_built_into_a_store_that_lies_elsewhere() {
    let home = tempfile::tempdir().unwrap();
    let recipe = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/hello.toml");
    let store = home.path().join("s");
    let build = |flag: &str| {
        let mut command = drover(home.path());
        run(command.args(["build", flag, "--store", store.to_str().unwrap(), recipe]))
    };
    let (code, out, err) = build("--no-link");
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.starts_with("error: cannot build into the store at `"), "{err}");
    assert!(err.contains("NIX_STORE_DIR"), "{err}");
    assert!(!store.exists(), "what nothing is built into is not made");
    assert_eq!(build("--dry-run").0, Some(0));
    assert!(store.exists(), "it has the derivations of the recipe");
    let (code, out, err) = build("--json");
    assert_eq!(code, Some(1), "{err}");
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    let failure = &json[0]["failure"];
    assert_eq!((&json[0]["target"], &failure["kind"]), (&recipe.into(), &"engine".into()));
    assert!(failure["message"].as_str().unwrap().starts_with("cannot build into"), "{json}");
}

/// A call of every command; each works in `world`.
fn calls(world: &World) -> Vec<Vec<String>> {
    let drv = world.instantiate_one(&shell("one", "", "echo > $out"));
    succeed(&mut world.drover(["build", &drv]));
    fs::write(world.path("work/jobs.toml"), "[a]\nbuilder = \"/bin/sh\"\n").unwrap();
    let nar = succeed(&mut world.drover(["nar", "dump", &drv])).stdout;
    fs::write(world.path("work/nar"), nar).unwrap();
    let shown = succeed(&mut world.drover(["derivation", "show", &drv])).stdout;
    let shown: serde_json::Value = serde_json::from_slice(&shown).unwrap();
    let one = shown["derivations"].as_object().unwrap().values().next().unwrap();
    fs::write(world.path("work/one.json"), one.to_string()).unwrap();
    let lines = [
        "build DRV",
        "add jobs.toml",
        "derivation show DRV",
        "derivation add",
        "derivation instantiate jobs.toml",
        "query --tree DRV",
        "path-info DRV",
        "log DRV",
        "register",
        "dump-db",
        "nar dump DRV",
        "nar restore tree",
        "nar ls nar",
        "hash path DRV",
        "hash file DRV",
        "config show",
        "completions bash",
        "man",
    ];
    let words = |line: &str| line.split(' ').map(|word| word.replace("DRV", &drv)).collect();
    lines.into_iter().map(words).collect()
}

/// The names of the commands that have none below them.
fn names(command: &clap::Command, before: &str, all: &mut BTreeSet<String>) {
    for sub in command.get_subcommands() {
        let name = format!("{before}{}", sub.get_name());
        if sub.has_subcommands() {
            names(sub, &format!("{name} "), all);
        } else {
            all.insert(name);
        }
    }
}

#[test]
fn options_of_every_command_work_on_every_command() {
    let world = World::new();
    let calls = calls(&world);
    let mut all = BTreeSet::new();
    names(&drover::cli::args::Cli::command(), "", &mut all);
    for call in &calls {
        let named = |name: &String| call.join(" ").starts_with(name.as_str());
        all.retain(|name| !named(name));
    }
    assert!(all.is_empty(), "not called: {all:?}");
    let run = |before: &[&str], call: &[String], after: &[&str]| {
        let _ = fs::remove_file(world.path("work/tree"));
        let input = match call.join(" ").as_str() {
            "derivation add" => "one.json",
            "nar restore tree" => "nar",
            _ => "/dev/null",
        };
        let input = fs::File::open(world.path("work").join(input)).unwrap();
        let mut command = world.drover(before);
        run(command.args(call).args(after).stdin(input))
    };
    for call in &calls {
        let settings = ["--option", "cores", "3", "--store", "local"];
        let plain = run(&[], call, &[]);
        assert_eq!(plain.0, Some(0), "{call:?}: {}", plain.2);
        let verbose = run(&["-v"], call, &settings);
        assert_eq!(verbose.0, Some(0), "{call:?}: {}", verbose.2);
        let unknown = ["--option", "coresx", "3"];
        let quiet = run(&settings, call, &["--quiet", "--option", "coresx", "3"]);
        assert_eq!(quiet, (Some(0), quiet.1.clone(), String::new()), "{call:?}");
        let told = run(&unknown, call, &[]);
        let warning = "warning: unknown setting 'coresx' (--option): did you mean `cores`?\n";
        assert_eq!((told.0, told.2.matches(warning).count()), (Some(0), 1), "{call:?}: {}", told.2);
        for (flags, flag) in [
            (&["--option", "cores", "zz"][..], "--option: setting `cores` has the wrong value"),
            (&["--option", "build-dir", "here"], "--option: setting `build-dir` has the wrong"),
            (&["--store", "ftp://x"], "--store: cannot use the store `ftp://x`"),
        ] {
            let (code, out, err) = run(flags, call, &[]);
            assert_eq!((code, out.as_str()), (Some(2), ""), "{call:?} {flags:?}: {err}");
            assert!(err.starts_with(&format!("error: {flag}")), "{call:?}: {err}");
        }
    }
}
