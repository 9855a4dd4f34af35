//! Builds that fail: the exit code, the words, the kind in JSON, the verdict in the log, and that
//! nothing stays behind.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::channel;

use serde_json::{Value, json};

use crate::support::running::{LONG, wait};
use crate::support::{Report, World, fail_with, fifo, lines, shell, succeed, text};

/// How one derivation failed.
struct Failed {
    code: i32,
    failure: Value,
    stderr: String,
    /// Its log as the store has it.
    log: String,
}

impl Failed {
    fn message(&self) -> &str {
        self.failure["message"].as_str().unwrap()
    }
}

/// Builds `expression`, which must fail; looks that nothing is left and that the log has the
/// verdict.
fn fails<const N: usize>(world: &World, expression: &str, args: [&str; N]) -> Failed {
    let drv = world.instantiate_one(expression);
    let Report { code, json, stderr } = world.build(args.into_iter().chain([drv.as_str()]));
    assert_eq!(json[0]["status"], "failed", "{stderr}");
    world.is_tidy();
    let failure = json[0]["failure"].clone();
    let mut log = String::new();
    if json[0]["log"].is_string() {
        log = text(&succeed(&mut world.nix("nix", ["log", &drv])));
        let verdict = failure["message"].as_str().unwrap().lines().next().unwrap();
        assert!(log.contains(&format!("drover: {verdict}")), "{verdict} in {log}");
    }
    let queried = world.nix("nix-store", ["--query", "--outputs", &drv]).output().unwrap();
    for output in lines(&queried) {
        assert!(fs::symlink_metadata(&output).is_err(), "an invalid output stays: {output}");
    }
    Failed { code, failure, stderr, log }
}

fn output_checks(rules: &str) -> String {
    format!("__structuredAttrs = true; outputChecks.out = {{ {rules} }};")
}

/// A derivation with a dependency `dep`, on which its output depends too.
fn with_dep(attributes: &str, script: &str) -> String {
    let deep = shell("deep", "", "echo > $out");
    let dep = shell("dep", "inherit deep;", "echo $deep > $out");
    let user = shell("user", &format!("inherit dep; {attributes}"), script);
    format!("let deep = {deep}; dep = {dep}; in {user}")
}

#[test]
fn ends_of_builders() {
    let world = World::new();
    let exit = fails(&world, &shell("exit", "", "echo one; echo two >&2; exit 42"), []);
    assert_eq!(
        (exit.code, &exit.failure["kind"], &exit.failure["exitCode"]),
        (100, &json!("exit-code"), &json!(42))
    );
    assert_eq!(exit.log, "one\ntwo\ndrover: builder failed with exit code 42");
    assert!(exit.stderr.contains("  > one\n  > two\n"), "{}", exit.stderr);
    let signal = fails(&world, &shell("signal", "", "printf 'no end'; kill -TERM $$"), []);
    assert_eq!(
        (signal.code, &signal.failure["kind"], &signal.failure["signal"]),
        (100, &json!("signal"), &json!(15))
    );
    assert_eq!(signal.log, "no end\ndrover: builder failed due to signal 15 (SIGTERM)");
    let missing = shell("missing", "", "").replace("/bin/sh", "/no/such/builder");
    let missing = fails(&world, &missing, []);
    assert_eq!((missing.code, &missing.failure["kind"]), (100, &json!("cannot-start")));
    assert!(
        missing.message().contains("/no/such/builder")
            && missing.message().contains("No such file"),
        "{}",
        missing.message()
    );
    let text = shell("text", "", "").replace("/bin/sh", "/etc/passwd");
    let text = fails(&world, &text, []);
    assert!(text.message().contains("Permission denied"), "{}", text.message());
    let nothing =
        fails(&world, &shell("nothing", "outputs = [ \"out\" \"dev\" ];", "echo > $out"), []);
    assert_eq!((nothing.code, &nothing.failure["kind"]), (100, &json!("missing-output")));
    assert!(
        nothing.message().contains("failed to produce output path for output 'dev' at '"),
        "{}",
        nothing.message()
    );
    assert_eq!(nothing.failure["paths"].as_array().unwrap().len(), 1);
}

#[test]
fn limits_have_codes_and_kinds_of_their_own() {
    let world = World::new();
    let time =
        fails(&world, &shell("time", "", "while :; do echo; sleep 0.1; done"), ["--timeout", "1"]);
    assert_eq!(
        (time.code, &time.failure["kind"], &time.failure["limit"]),
        (101, &json!("timeout"), &json!(1))
    );
    assert_eq!(time.message(), "timed out after 1 seconds");
    let silent =
        fails(&world, &shell("silent", "", "echo said; sleep 1000"), ["--max-silent-time", "1"]);
    assert_eq!(
        (silent.code, &silent.failure["kind"], &silent.failure["limit"]),
        (101, &json!("silence"), &json!(1))
    );
    let chatty = shell("chatty", "", "while :; do echo 0123456789; done");
    for flag in ["--max-log-size", "--max-build-log-size"] {
        let much = fails(&world, &chatty, [flag, "1000"]);
        assert_eq!(
            (much.code, &much.failure["kind"], &much.failure["limit"]),
            (100, &json!("log-limit"), &json!(1000))
        );
        assert!(
            much.message().contains("killed after writing more than 1000 bytes of log output"),
            "{}",
            much.message()
        );
        assert!(much.log.len() < 1000 + 300 + much.message().len(), "{}", much.log.len());
    }
    let calm = world.instantiate_one(&shell("calm", "", "echo 12345 > $out"));
    assert_eq!(
        world
            .build(["--timeout", "60", "--max-silent-time", "60", "--max-log-size", "6", &calm])
            .code,
        0
    );
}

#[test]
fn hashes_that_are_not_as_specified() {
    let world = World::new();
    let zeros = "0".repeat(64);
    for (mode, script) in
        [("flat", "echo hello > $out"), ("recursive", "mkdir $out; echo hello > $out/x")]
    {
        let attributes = format!(
            "outputHashMode = \"{mode}\"; outputHashAlgo = \"sha256\"; outputHash = \"{zeros}\";"
        );
        let expression = shell("fixed", &attributes, script);
        let drv = world.instantiate_one(&expression);
        let nix = fail_with(102, &mut world.nix("nix-store", ["--realise", &drv]));
        let dump = |world: &World| -> Vec<String> {
            let all = lines(&succeed(&mut world.nix("nix-store", ["--dump-db"])));
            all.into_iter().filter(|line| line.ends_with("-fixed")).collect()
        };
        let by_nix = dump(&world);
        assert_eq!(by_nix.len(), 1, "Nix keeps it under the path of its hash");
        let info = |path: &str| {
            let info = succeed(&mut world.nix("nix", ["path-info", "--json", path])).stdout;
            let mut info: Value = serde_json::from_slice(&info).unwrap();
            info[0].as_object_mut().unwrap().remove("registrationTime");
            info
        };
        let (path, known) = (by_nix[0].clone(), info(&by_nix[0]));
        world.wipe();
        let failed = fails(&world, &expression, []);
        assert_eq!((failed.code, &failed.failure["kind"]), (102, &json!("hash-mismatch")));
        let words = |text: &str, word: &str| {
            let line = text.lines().find(|line| line.contains(word)).unwrap();
            line.rsplit_once(' ').unwrap().1.to_owned()
        };
        for word in ["specified:", "got:"] {
            assert_eq!(words(failed.message(), word), words(&nix, word));
        }
        assert_eq!(dump(&world), [path.as_str()], "kept as Nix does");
        assert_eq!(info(&path), known);
        assert!(failed.stderr.contains("1 failed in"), "{}", failed.stderr);
        let again = fails(&world, &expression, []);
        assert_eq!(again.code, 102, "the path of its hash is valid already");
        world.nix_verifies();
        world.wipe();
    }
    let attributes = format!(
        "outputHashMode = \"flat\"; outputHashAlgo = \"sha256\"; outputHash = \"{zeros}\";"
    );
    for script in ["mkdir $out", "echo > $out; chmod +x $out", "ln -s /etc $out"] {
        let failed = fails(&world, &shell("shape", &attributes, script), []);
        assert_eq!((failed.code, &failed.failure["kind"]), (100, &json!("bad-output")), "{script}");
        assert!(
            failed.message().contains("should be a non-executable regular file"),
            "{}",
            failed.message()
        );
    }
}

#[test]
fn the_path_of_another_hash_is_never_waited_for() {
    let world = World::new();
    let attributes = format!(
        "outputHashMode = \"flat\"; outputHashAlgo = \"sha256\"; outputHash = \"{}\";",
        "0".repeat(64)
    );
    let expression = shell("fixed", &attributes, "echo hello > $out");
    let right = attributes.replace(
        &"0".repeat(64),
        "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
    );
    let right = world.instantiate_one(&shell("fixed", &right, "echo hello > $out"));
    let path = text(&succeed(&mut world.nix("nix-store", ["--query", "--outputs", &right])));
    let file = fs::File::create(format!("{path}.lock")).unwrap();
    let held = nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusive).unwrap();
    let drv = world.instantiate_one(&expression);
    let report = world.build([&drv]);
    assert_eq!(report.code, 102, "{}", report.stderr);
    assert!(fs::symlink_metadata(&path).is_err(), "whoever holds the lock may be making it");
    drop(held);
}

#[test]
fn fixed_outputs_refer_to_nothing() {
    let world = World::new();
    let attributes = format!(
        "outputHashMode = \"recursive\"; outputHashAlgo = \"sha256\"; outputHash = \"{}\";",
        "0".repeat(64)
    );
    for script in ["echo $dep > $out", "echo $out > $out"] {
        let failed = fails(&world, &with_dep(&attributes, script), []);
        assert_eq!((failed.code, &failed.failure["kind"]), (100, &json!("fixed-output-refers")));
        assert!(
            failed.message().contains("fixed-output derivations must not reference store paths"),
            "{}",
            failed.message()
        );
        assert_eq!(failed.failure["paths"].as_array().unwrap().len(), 1);
    }
    world.nix_verifies();
}

#[test]
fn rules_about_references() {
    let world = World::new();
    let refers = "echo $dep > $out";
    let to_itself = "echo $dep $out > $out";
    // Attributes, script, and whether Nix lets it pass.
    let cases = [
        ("allowedReferences = [ ];", refers),
        ("allowedReferences = [ dep ];", refers),
        ("allowedReferences = [ dep ];", to_itself),
        ("allowedReferences = [ dep \"out\" ];", to_itself),
        ("disallowedReferences = [ dep ];", refers),
        ("disallowedReferences = [ deep ];", refers),
        ("disallowedReferences = [ \"out\" ];", to_itself),
        ("allowedRequisites = [ dep ];", refers),
        ("allowedRequisites = [ dep deep ];", to_itself),
        ("disallowedRequisites = [ deep ];", refers),
        ("disallowedRequisites = [ \"out\" ];", to_itself),
    ];
    let expressions: Vec<String> =
        cases.iter().map(|(rules, script)| with_dep(rules, script)).collect();
    let structured: Vec<String> = cases
        .iter()
        .map(|(rules, script)| {
            let script = format!(". \"$NIX_ATTRS_SH_FILE\"; out=''${{outputs[out]}}; {script}");
            with_dep(&output_checks(rules), &script).replace("\"/bin/sh\"", "\"/bin/bash\"")
        })
        .collect();
    let all = format!("[ ({}) ]", [expressions, structured].concat().join(") ("));
    let drvs = world.instantiate(&all);
    let _ = world.nix("nix-store", ["--realise", "-k", "-j2"]).args(&drvs).output().unwrap();
    let output =
        |drv: &String| text(&succeed(&mut world.nix("nix-store", ["--query", "--outputs", drv])));
    let valid = lines(&succeed(&mut world.nix("nix-store", ["--dump-db"])));
    let passes: Vec<bool> = drvs.iter().map(|drv| valid.contains(&output(drv))).collect();
    assert!(passes.contains(&true) && passes.contains(&false), "{passes:?}");
    world.wipe();
    assert_eq!(world.instantiate(&all), drvs);
    let drover = world.build(["-k", "-j2"].into_iter().chain(drvs.iter().map(String::as_str)));
    for (i, passes) in passes.into_iter().enumerate() {
        let (rules, script) = cases[i % cases.len()];
        let target = &drover.json[i];
        assert_eq!(target["status"] == "built", passes, "{i}: {rules} {script}: {target}");
        if !passes {
            let message = target["failure"]["message"].as_str().unwrap();
            assert_eq!(target["failure"]["kind"], "forbidden-references", "{message}");
            let rule = rules.split_once(' ').unwrap().0;
            let words = "is not allowed to refer to the following paths";
            assert!(message.contains(words) && message.contains(rule), "{message}");
            assert!(!target["failure"]["paths"].as_array().unwrap().is_empty());
        }
    }
    assert_eq!(drover.code, 100);
    world.is_tidy();
    let unknown = fails(&world, &with_dep("allowedReferences = [ \"nonsense\" ];", refers), []);
    assert_eq!((unknown.code, &unknown.failure["kind"]), (100, &json!("bad-derivation")));
    assert!(unknown.message().contains("`nonsense`"), "{}", unknown.message());
}

#[test]
fn sizes_are_limited() {
    let world = World::new();
    let bash = |rules: &str| {
        let script = ". \"$NIX_ATTRS_SH_FILE\"; echo $dep > ''${outputs[out]}";
        with_dep(&output_checks(rules), script).replace("\"/bin/sh\"", "\"/bin/bash\"")
    };
    let large = fails(&world, &bash("maxSize = 10;"), []);
    assert_eq!(
        (large.code, &large.failure["kind"], &large.failure["limit"]),
        (100, &json!("too-large"), &json!(10))
    );
    assert!(
        large.message().contains("is too large at")
            && large.message().contains("limit is 10 bytes"),
        "{}",
        large.message()
    );
    let closure = fails(&world, &bash("maxSize = 1000; maxClosureSize = 300;"), []);
    assert!(closure.message().starts_with("closure of path '"), "{}", closure.message());
    let drv = world.instantiate_one(&bash("maxSize = 1000; maxClosureSize = 10000;"));
    assert_eq!(world.build([&drv]).code, 0);
}

#[test]
fn modes_and_kinds_of_files_that_no_store_takes() {
    let world = World::new();
    for (script, word) in [
        ("echo > $out; chmod 664 $out", "it is a regular file of user"),
        ("mkdir $out; chmod 1777 $out", "mode 1777; rejecting output 'out'"),
        ("mkdir $out; mkfifo $out/pipe", "unsupported type: it is a named pipe"),
        ("mkfifo $out", "unsupported type: it is a named pipe"),
        ("mkdir $out; mknod $out/null c 1 3", "unsupported type: it is a device"),
        (
            "mkdir $out; perl -MIO::Socket::UNIX -e \
              'IO::Socket::UNIX->new(Listen => 1, Local => \"s\")' && mv s $out/",
            "unsupported type: it is a socket",
        ),
    ] {
        let failed = fails(&world, &shell("odd", "", script), []);
        assert_eq!(
            (failed.code, &failed.failure["kind"]),
            (100, &json!("bad-output")),
            "{script}: {}",
            failed.stderr
        );
        assert!(failed.message().contains(word), "{script}: {}", failed.message());
        let suspicious = failed.message().contains("suspicious ownership or permission");
        assert_eq!(suspicious, script.contains("chmod"), "{script}: {}", failed.message());
    }
}

#[test]
fn outputs_in_a_circle() {
    let world = World::new();
    let attributes = "outputs = [ \"out\" \"dev\" \"doc\" ];";
    let circle = fails(
        &world,
        &shell("circle", attributes, "echo $dev > $out; echo $out > $dev; echo > $doc"),
        [],
    );
    assert_eq!((circle.code, &circle.failure["kind"]), (100, &json!("output-cycle")));
    assert!(circle.message().contains("cycle detected in build of"), "{}", circle.message());
    assert_eq!(
        circle.failure["paths"].as_array().unwrap().len(),
        2,
        "doc is not on it: {}",
        circle.message()
    );
}

#[test]
fn the_folder_of_a_failed_build_is_kept_on_request_only() {
    let world = World::new();
    let drv =
        world.instantiate_one(&shell("kept", "", "echo work > made; echo half > $out; exit 1"));
    let report = world.build(["-K", &drv]);
    assert_eq!(report.code, 100);
    let line = report.stderr.lines().find(|l| l.contains("keeping build directory '")).unwrap();
    let folder = line.split('\'').nth(1).unwrap();
    assert_eq!(fs::read_to_string(format!("{folder}/made")).unwrap(), "work\n");
    assert_eq!(
        fs::metadata(folder).unwrap().mode() & 0o777,
        0o755,
        "its owner may not be who asked"
    );
    assert_eq!(
        world.leftovers().len(),
        1,
        "the folder, and nothing in the store: {:?}",
        world.leftovers()
    );
    // The next run leaves it alone.
    assert_eq!(world.build([&drv]).code, 100);
    assert_eq!(fs::read_to_string(format!("{folder}/made")).unwrap(), "work\n");
    let fine = world.instantiate_one(&shell("fine", "", "echo > $out"));
    let report = world.build(["-K", &fine]);
    assert!(!report.stderr.contains("keeping"), "{}", report.stderr);
    fs::remove_dir_all(folder).unwrap();
    world.is_tidy();
}

#[test]
fn a_summary_of_many_failures_fits_on_a_screen() {
    let world = World::new();
    let expression = format!(
        "let bad = i: {}; on = d: {}; \
         in builtins.genList (i: if i < 300 then bad i else on (bad (i - 300))) 301",
        shell(
            "bad-${toString i}",
            "inherit i;",
            "for n in 1 2 3 4 5 6 7 8 9 10 11 12; do echo line $n; done; exit $((i % 3 + 1))"
        ),
        shell("on", "inherit d;", "echo > $out"),
    );
    let drvs = world.instantiate(&expression);
    let mut build = world.drover(["build", "-k", "-j8", "--quiet", "--no-link"]);
    let stderr = fail_with(100, build.args(&drvs));
    let running = stderr.lines().filter(|line| line.starts_with("failed '")).count();
    assert_eq!(running, 300, "each is told when it happens, a dependent is not");
    let summary: Vec<&str> =
        stderr.lines().skip_while(|line| !line.starts_with("failed: ")).collect();
    assert!(summary.len() <= 60, "{} lines", summary.len());
    let whole = summary.join("\n");
    assert!(
        whole.contains("  > line 12\n") && !whole.contains("  > line 2\n"),
        "the last ten: {whole}"
    );
    assert!(whole.contains("more failed: builder failed with exit code"), "{whole}");
    assert!(
        summary.last().unwrap().starts_with("300 failed, 1 not built for failed inputs in"),
        "{whole}"
    );
    world.is_tidy();
}

#[test]
fn what_is_said_while_it_runs() {
    let world = World::new();
    let bad = shell("bad", "", "echo to the log; exit 1");
    let good = shell("good", "", "echo from good; printf unended; echo > $out");
    let drvs = world.instantiate(&format!("[ ({good}) ({bad}) ]"));
    let run = |args: &[&str]| {
        let output = world
            .drover(["build", "--no-link", "-k", "-j1"])
            .args(args)
            .args(&drvs)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(100));
        let out = text(&output);
        let path = lines(&succeed(&mut world.nix("nix-store", ["--query", "--outputs", &drvs[0]])))
            .remove(0);
        assert_eq!(out, path, "paths of what is there, and nothing else");
        world.nix_deletes(["--delete", &path]);
        String::from_utf8(output.stderr).unwrap()
    };
    let plain = run(&[]);
    for want in [
        format!("building '{}'\n", drvs[0]),
        format!("built '{}' in ", drvs[0]),
        format!("building '{}'\n", drvs[1]),
        format!("failed '{}' after ", drvs[1]),
        "built good\n".to_owned(),
        "1 built, 1 failed in ".to_owned(),
    ] {
        assert_eq!(plain.matches(&want).count(), 1, "{want}: {plain}");
    }
    assert!(!plain.contains("from good"), "logs are not shown: {plain}");
    let live = run(&["-L"]);
    assert!(
        live.contains("good> from good\ngood> unended\n") && live.contains("bad> to the log\n"),
        "{live}"
    );
    let quiet = run(&["--quiet"]);
    assert!(!quiet.contains("building '") && !quiet.contains("built good"), "{quiet}");
    assert!(quiet.contains("failed: bad") && quiet.contains("  > to the log"), "{quiet}");
    let verbose = run(&["-v"]);
    assert!(verbose.contains(&format!("building '{}'", drvs[0])), "{verbose}");
    // On a terminal a status line stands for the lines of state, unless -v asks for them.
    let terminal = |flag: &str| {
        let drover = env!("CARGO_BIN_EXE_drover");
        let call = format!("{drover} build --no-link {flag} {}", drvs[1]);
        let mut script = world.command("script");
        let output =
            script.env("TERM", "xterm").args(["-qec", &call, "/dev/null"]).output().unwrap();
        assert_eq!(output.status.code(), Some(100));
        text(&output)
    };
    let shown = terminal("");
    assert!(!shown.contains("building '") && shown.contains("failed: bad"), "{shown}");
    assert!(terminal("-v").contains("building '"));
    assert!(!terminal("--quiet").contains("running,"));
}

#[test]
fn a_terminal_shows_what_is_running() {
    let world = World::new();
    let gate = fifo(&world.path("gate"));
    let slow = shell("slow", "", &format!("read x < {}; echo > $out", gate.display()));
    let drv = world.instantiate_one(&slow);
    let call = format!("{} build --no-link {drv}", env!("CARGO_BIN_EXE_drover"));
    let mut script = world.command("script");
    script.env("TERM", "xterm").args(["-qec", &call, "/dev/null"]);
    let mut child = script.stdout(Stdio::piped()).spawn().unwrap();
    let mut terminal = child.stdout.take().unwrap();
    let (send, pieces) = channel();
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = terminal.read(&mut piece) {
            drop(send.send(piece[..length].to_vec()));
        }
    });
    let mut shown = String::new();
    let line = "\r\u{1b}[K[1 running, 0 done, 0 waiting] slow";
    while !shown.contains(line) {
        let piece = pieces.recv_timeout(LONG).unwrap_or_else(|e| panic!("{e}: {shown:?}"));
        shown.push_str(&String::from_utf8(piece).unwrap());
    }
    fs::write(gate, "go\n").unwrap();
    assert_eq!(wait(&mut child), Some(0));
    let rest: Vec<u8> = pieces.iter().flatten().collect();
    let rest = String::from_utf8(rest).unwrap();
    assert!(rest.contains("\r\u{1b}[Kbuilt slow"), "the line makes room: {rest:?}");
}

#[test]
fn codes_of_several_failures_are_joined() {
    let world = World::new();
    let zeros = "0".repeat(64);
    let fixed = format!(
        "outputHashMode = \"flat\"; outputHashAlgo = \"sha256\"; outputHash = \"{zeros}\";"
    );
    let drvs = world.instantiate(&format!(
        "[ ({}) ({}) ({}) ]",
        shell("wrong", &fixed, "echo hello > $out"),
        shell("slow", "", "sleep 1000"),
        shell("good", "", "echo > $out")
    ));
    let report = world.build(["-k", "-j2", "--timeout", "1", &drvs[0], &drvs[1], &drvs[2]]);
    assert_eq!(report.code, 96 | 4 | 2 | 1, "{}", report.stderr);
    assert_eq!(report.json[2]["status"], "built");
    let nix = world
        .nix("nix-store", ["--realise", "-k", "--timeout", "1", &drvs[0], &drvs[1]])
        .output()
        .unwrap();
    assert_eq!(nix.status.code(), Some(report.code));
}

#[test]
fn leftovers_of_others_are_moved_aside() {
    let world = World::new();
    let drv = world.instantiate_one(&shell(
        "x",
        "",
        "[ -e $out ] && exit 9; mkdir $out; echo > $out/new",
    ));
    let out = text(&succeed(&mut world.nix("nix-store", ["--query", "--outputs", &drv])));
    fs::create_dir_all(format!("{out}/old/deep")).unwrap();
    succeed(world.command("chmod").args(["-R", "a-w", &out]));
    fs::write(format!("{out}.lock"), "").unwrap();
    let report = world.build([&drv]);
    assert_eq!(report.code, 0, "{}", report.stderr);
    assert!(!Path::new(&format!("{out}/old")).exists());
    world.nix_verifies();
    world.is_tidy();
}

#[test]
fn a_run_that_is_stopped_says_what_was_left() {
    let world = World::new();
    let pipe = world.path("work/pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let good = shell("good", "", "echo > $out");
    let long = shell("long", "inherit good;", &format!("echo > {}; sleep 1000", pipe.display()));
    let above = shell("above", "inherit long;", "echo > $out");
    let drvs =
        world.instantiate(&format!("let good = {good}; long = {long}; in [ ({above}) good ]"));
    let mut drover = world.drover(["build", "--json", "--no-link", &drvs[0], &drvs[1]]);
    drover.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = drover.spawn().unwrap();
    fs::read(&pipe).unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(143), "{stderr}");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json[0]["status"], &json[1]["status"]), (&json!("cancelled"), &json!("built")));
    assert!(stderr.contains("interrupted by SIGTERM: 1 done, 2 left"), "{stderr}");
    world.is_tidy();
}

#[test]
fn logs_are_kept_as_settings_say() {
    let world = World::new();
    let drv = world.instantiate_one(&shell("bad", "", "echo said; exit 1"));
    let log = |settings: &str| {
        world.configure(settings);
        let report = world.build([&drv]);
        assert_eq!(report.code, 100);
        assert!(report.stderr.contains("  > said\n"), "{}", report.stderr);
        (report.json[0]["log"].clone(), report.stderr)
    };
    let (none, stderr) = log("keep-build-log = false");
    assert_eq!(none, json!(null));
    assert!(!stderr.contains("full log"), "there is none: {stderr}");
    fail_with(1, &mut world.drover(["log", &drv]));
    let (plain, stderr) = log("compress-build-log = false");
    let plain = plain.as_str().unwrap();
    assert_eq!(
        fs::read_to_string(plain).unwrap(),
        "said\ndrover: builder failed with exit code 1\n"
    );
    assert!(stderr.contains(&format!("full log: drover log {drv}")), "{stderr}");
    let by_nix = text(&succeed(&mut world.nix("nix", ["log", &drv])));
    assert_eq!(by_nix, text(&succeed(&mut world.drover(["log", &drv]))));
    let (compressed, _) = log("");
    assert_eq!(compressed, format!("{plain}.bz2"));
    assert!(!Path::new(plain).exists(), "an old one would hide the new");
    assert_eq!(text(&succeed(&mut world.nix("nix", ["log", &drv]))), by_nix);
}

#[test]
fn a_failure_shows_its_last_lines_and_how_to_see_the_rest() {
    let world = World::new();
    let drv = world.instantiate_one(&shell("long", "", "seq 1 30; exit 1"));
    for (flags, shown) in [(&[][..], 10), (&["--option", "log-lines", "3"], 3)] {
        let report = world.build(flags.iter().copied().chain([drv.as_str()]));
        let lines: Vec<_> =
            report.stderr.lines().filter_map(|line| line.strip_prefix("  > ")).collect();
        let want: Vec<String> = (31 - shown..=30).map(|n: u32| n.to_string()).collect();
        assert_eq!(lines, want, "{}", report.stderr);
        let whole = format!("full log: drover log {drv}");
        assert!(report.stderr.contains(&whole), "{}", report.stderr);
    }
    let whole = lines(&succeed(&mut world.drover(["log", &drv])));
    assert_eq!(whole[..30], (1..=30).map(|n: u32| n.to_string()).collect::<Vec<_>>());
}
