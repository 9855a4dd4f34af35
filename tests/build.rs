//! One run of `drover build`: what is wanted, which builders run, what is said of it. Beside real
//! Nix where it has the behaviour.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{World, fail_with, lines, report, shell, succeed, text};

/// Keys of each object of `--json`, and of its `failure`.
const KEYS: [&str; 8] =
    ["drvPath", "failure", "log", "outputs", "realPath", "startTime", "status", "stopTime"];
const FAILURE_KEYS: [&str; 7] =
    ["blocked", "exitCode", "kind", "limit", "message", "paths", "signal"];

fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

fn multi() -> String {
    let script = "for o in $out $dev $doc; do echo $o > $o; done; echo $dev >> $out";
    shell("multi", "outputs = [ \"out\" \"dev\" \"doc\" ];", script)
}

fn outputs_by_nix(world: &World, drv: &str) -> Vec<String> {
    lines(&succeed(&mut world.nix("nix-store", ["--query", "--outputs", drv])))
}

fn delete(world: &World, path: &str) {
    world.nix_deletes(["--delete", path]);
    assert!(!Path::new(path).exists());
}

#[test]
fn wanted_outputs_are_those_that_are_printed_linked_and_reported() {
    let world = World::new();
    let drv = world.instantiate_one(&multi());
    let all = outputs_by_nix(&world, &drv);
    let [out, dev, doc] =
        ["multi", "multi-dev", "multi-doc"].map(|n| all.iter().find(|p| p.ends_with(n)).unwrap());
    let cases = [
        (format!("{drv}^out,dev"), vec![dev, out]),
        (format!("{drv}!doc"), vec![doc]),
        (format!("{drv}^*"), vec![dev, doc, out]),
        (format!("{drv}!*"), vec![dev, doc, out]),
        (drv.clone(), vec![dev, doc, out]),
    ];
    for (target, want) in &cases {
        let built = succeed(&mut world.drover(["build", "--no-link", target]));
        assert_eq!(lines(&built).iter().collect::<Vec<_>>(), *want, "{target}");
        let report = world.build([target]);
        assert_eq!(report.json[0]["outputs"].as_object().unwrap().len(), want.len(), "{target}");
        assert_eq!(report.json[0]["drvPath"], drv.as_str());
    }
    assert!(Path::new(doc).exists(), "a build makes all outputs, whatever is wanted");
    let report = world.build([&format!("{drv}^out"), &format!("{drv}^dev"), &drv]);
    let names = |i: usize| keys(&report.json[i]["outputs"]);
    assert_eq!((names(0), names(1)), (vec!["out"], vec!["dev"]));
    assert_eq!(names(2), ["dev", "doc", "out"]);
    let report = world.build([&format!("{drv}^out,nonsense")]);
    assert_eq!(report.code, 100);
    assert_eq!(report.json[0]["failure"]["kind"], "no-such-outputs");
    let message = report.json[0]["failure"]["message"].as_str().unwrap();
    assert!(message.contains(&drv) && message.contains("'nonsense'"), "{message}");
    for (bad, word) in [
        (format!("{drv}^"), "names no output"),
        (format!("{drv}^out,"), "names no output"),
        (format!("{drv}^out^x"), "not supported yet"),
        (format!("{out}^out"), "does not end in `.drv`"),
    ] {
        let error = fail_with(1, &mut world.drover(["build", "--no-link", &bad]));
        assert!(error.contains(word), "{bad}: {error}");
    }
    world.nix_verifies();
    world.is_tidy();
}

#[test]
fn links_lie_as_those_of_nix() {
    let world = World::new();
    let drv = world.instantiate_one(&multi());
    let other = world.instantiate_one(&shell("other", "", "echo > $out"));
    let nix = world.path("work/nix");
    succeed(world.nix("nix-store", ["-r", "--add-root"]).arg(&nix).args([&drv, &other]));
    let drover = world.path("work/drover");
    succeed(world.drover(["build", "-o"]).arg(&drover).args([&drv, &other]));
    succeed(&mut world.drover(["build", &format!("{drv}^doc,dev")]));
    let links = |start: &str| {
        let mut all: Vec<_> = fs::read_dir(world.path("work"))
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_name().to_str().unwrap().starts_with(start))
            .map(|entry| (entry.file_name(), fs::read_link(entry.path()).unwrap()))
            .collect();
        all.sort();
        all
    };
    let targets = |start| {
        let mut all: Vec<_> = links(start).into_iter().map(|(_, target)| target).collect();
        all.sort();
        all
    };
    assert_eq!(targets("drover"), targets("nix"));
    let names = |start: &str| -> Vec<String> {
        let cut = |name: std::ffi::OsString| name.to_str().unwrap()[start.len()..].to_owned();
        links(start).into_iter().map(|l| cut(l.0)).collect()
    };
    assert_eq!(names("drover"), ["", "-2", "-dev", "-doc"]);
    assert_eq!(names("drover"), names("nix"));
    assert_eq!(names("result"), ["-dev", "-doc"]);
    fs::write(world.path("work/mine"), "kept").unwrap();
    let error = fail_with(1, &mut world.drover(["build", "-o", "mine", &other]));
    assert!(error.contains("/work/mine`: ") && error.contains("`--no-link`"), "{error}");
    assert_eq!(fs::read(world.path("work/mine")).unwrap(), b"kept");
    let failing = world.instantiate_one(&shell("failing", "", "exit 1"));
    fail_with(100, &mut world.drover(["build", "-o", "none", &failing]));
    assert!(fs::symlink_metadata(world.path("work/none")).is_err());
}

/// Two that fail, two that wait for them, and one beside.
fn mixed() -> String {
    let bad = shell("bad", "", "echo why it fails; exit 3");
    let worse = shell("worse", "", "kill -9 $$");
    let good = shell("good", "", "echo > $out");
    let on_bad = shell("on-bad", "inherit bad;", "echo > $out");
    let on_both = shell("on-both", "inherit on_bad worse good;", "echo > $out");
    format!(
        "let bad = {bad}; worse = {worse}; good = {good}; on_bad = {on_bad}; \
         on_both = {on_both}; in [ on_both good bad ]"
    )
}

#[test]
fn keep_going_builds_exactly_what_does_not_depend_on_a_failure() {
    let world = World::new();
    let drvs = world.instantiate(&mixed());
    let report = world.build(["-k", "-j2"].iter().copied().chain(drvs.iter().map(String::as_str)));
    assert_eq!(report.code, 100, "{}", report.stderr);
    assert_eq!(world.started(&report.stderr), ["bad", "good", "worse"]);
    let statuses: Vec<_> =
        report.json.as_array().unwrap().iter().map(|t| t["status"].as_str().unwrap()).collect();
    // The targets, then the root failure that is none of them.
    assert_eq!(statuses, ["dependency-failed", "built", "failed", "failed"]);
    let [on_both, good, bad, worse] = [0, 1, 2, 3].map(|index| &report.json[index]);
    assert!(worse["drvPath"].as_str().unwrap().ends_with("-worse.drv"));
    assert_eq!(worse["failure"]["signal"], 9);
    for target in [on_both, good, bad, worse] {
        assert_eq!(keys(target), KEYS);
    }
    assert_eq!(keys(&bad["failure"]), FAILURE_KEYS);
    let failure = &bad["failure"];
    let of = |key: &str| failure[key].clone();
    assert_eq!(
        (of("kind"), of("exitCode"), of("signal")),
        (json!("exit-code"), json!(3), json!(null))
    );
    assert_eq!((of("limit"), of("paths")), (json!(null), json!([])));
    // What needs both belongs to the one that failed first.
    let blocked = match of("blocked").as_u64().unwrap() {
        1 => "1 dependent not built",
        2 => "2 dependents not built",
        other => panic!("{other} blocked"),
    };
    assert_eq!(of("message"), "builder failed with exit code 3");
    assert_eq!(good["failure"], json!(null));
    assert_eq!(on_both["failure"]["kind"], "inputs-failed");
    let message = on_both["failure"]["message"].as_str().unwrap();
    assert!(message.contains("2 dependencies failed"), "{message}");
    assert_eq!((&on_both["startTime"], &on_both["log"]), (&json!(null), &json!(null)));
    assert!(bad["startTime"].is_u64() && bad["stopTime"].is_u64());
    assert!(Path::new(bad["log"].as_str().unwrap()).exists());
    let out = good["outputs"]["out"].as_str().unwrap();
    assert_eq!(good["realPath"]["out"], out, "the store is not diverted");
    let said = &report.stderr;
    assert!(said.contains("failed: bad after") && said.contains(blocked), "{said}");
    assert!(said.contains("failed: worse after") && said.contains("signal 9"), "{said}");
    assert!(said.contains("  > why it fails"), "{said}");
    assert!(said.contains(&format!("full log: drover log {}", drvs[2])), "{said}");
    assert!(said.contains("1 built, 2 failed, 2 not built for failed inputs in"), "{said}");
    assert_eq!(said.matches("failed: bad").count(), 1, "each root failure once: {said}");
    world.is_tidy();
}

#[test]
fn without_keep_going_the_first_failure_ends_what_runs() {
    let world = World::new();
    let pipe = world.path("work/pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let pipe = pipe.display();
    // The one fails only once the other runs, which then would run for ever.
    let long = shell("long", "", &format!("echo > {pipe}; sleep 1000"));
    let bad = shell("bad", "", &format!("read x < {pipe}; exit 1"));
    let later = shell("later", "inherit long;", "echo > $out");
    let drvs = world.instantiate(&format!("let long = {long}; bad = {bad}; in [ ({later}) bad ]"));
    let report = world.build(["-j2"].iter().copied().chain(drvs.iter().map(String::as_str)));
    assert_eq!(report.code, 100, "{}", report.stderr);
    assert_eq!(report.json[0]["status"], "cancelled");
    assert_eq!(report.json[0]["failure"]["kind"], "cancelled");
    assert_eq!(report.json[1]["status"], "failed");
    assert_eq!(world.started(&report.stderr), ["bad", "long"]);
    assert!(!report.stderr.contains("failed: long"), "{}", report.stderr);
    world.is_tidy();
}

#[test]
fn what_depends_on_a_failed_target_was_blocked_by_it() {
    let world = World::new();
    let drvs = world.instantiate(&mixed());
    let report = world.build(["-j1", &drvs[2], &drvs[0], &drvs[1]]);
    assert_eq!(report.code, 100, "{}", report.stderr);
    let status = |i: usize| report.json[i]["status"].as_str().unwrap();
    assert_eq!(status(0), "failed", "{}", report.stderr);
    assert_eq!(report.json[0]["failure"]["blocked"], 2, "{}", report.stderr);
    assert_eq!(status(1), "dependency-failed");
    assert_eq!(report.json[1]["failure"]["kind"], "inputs-failed");
    assert!(report.stderr.contains(", 2 dependents not built"), "{}", report.stderr);
    world.is_tidy();
}

#[test]
fn what_many_need_is_built_once() {
    let world = World::new();
    let ran = world.path("work/ran").display().to_string();
    let shared = shell("shared", "", &format!("echo x >> {ran}; echo > $out"));
    let all: Vec<_> =
        (0..8).map(|i| shell(&format!("user-{i}"), "inherit shared;", "echo > $out")).collect();
    let drvs = world.instantiate(&format!("let shared = {shared}; in [ ({}) ]", all.join(") (")));
    let twice = drvs.iter().chain(&drvs).map(String::as_str);
    let report = world.build(["-j8"].into_iter().chain(twice));
    assert_eq!(report.code, 0, "{}", report.stderr);
    assert_eq!(report.json.as_array().unwrap().len(), 16, "one object a target");
    assert_eq!(fs::read_to_string(&ran).unwrap(), "x\n");
    let second = world.build([&drvs[0]]);
    assert_eq!(second.json[0]["status"], "already-valid");
    assert_eq!(
        (&second.json[0]["failure"], &second.json[0]["startTime"]),
        (&json!(null), &json!(null))
    );
    assert!(
        second.json[0]["log"].as_str().unwrap().ends_with(".bz2"),
        "the log of the first build"
    );
    assert!(second.stderr.starts_with("1 already valid in "), "{}", second.stderr);
}

/// Entries of registration text without hashes: path and references.
fn graph(text: &str) -> Vec<(String, Vec<String>)> {
    let mut lines = text.lines();
    let mut all = Vec::new();
    while let Some(path) = lines.next() {
        assert_eq!(lines.next(), Some(""), "no deriver: {text}");
        let count: usize = lines.next().unwrap().parse().unwrap();
        let mut references: Vec<_> = lines.by_ref().take(count).map(str::to_owned).collect();
        references.sort();
        all.push((path.to_owned(), references));
    }
    all.sort();
    all
}

#[test]
fn a_build_graph_is_realised_and_written() {
    let world = World::new();
    // What `top` was built from is gone, and only the graph's export wants it back.
    let deep = shell("deep", "", "echo deep > $out");
    let middle = shell(
        "middle",
        "inherit deep; outputs = [ \"out\" \"dev\" ];",
        "echo > $out; echo $out > $dev",
    );
    let top = shell("top", "inherit middle;", "echo > $out");
    let lets = format!("let deep = {deep}; middle = {middle}; top = {top};");
    let export = shell(
        "export",
        "exportBuildReferencesGraph = \
         [ \"graph\" (builtins.unsafeDiscardOutputDependency top.drvPath) ];",
        "cp graph $out",
    );
    let drvs = world.instantiate(&format!("{lets} in [ deep middle top ({export}) ]"));
    succeed(&mut world.drover(["build", "--no-link", &drvs[2]]));
    let gone = [&drvs[1], &drvs[0]].into_iter().flat_map(|drv| outputs_by_nix(&world, drv));
    world.nix_deletes(["--delete", "--ignore-liveness"].map(str::to_owned).into_iter().chain(gone));
    let report = world.build([&drvs[3]]);
    assert_eq!(report.code, 0, "{}", report.stderr);
    assert_eq!(
        world.started(&report.stderr),
        ["deep", "export", "middle"],
        "top is valid and stays"
    );
    let text = fs::read_to_string(report.json[0]["outputs"]["out"].as_str().unwrap()).unwrap();
    let got = graph(&text);
    // The closure of the derivation, and every output of each derivation in it: no closures of
    // these.
    let drv_closure =
        lines(&succeed(&mut world.nix("nix-store", ["--query", "--requisites", &drvs[2]])));
    let mut want: Vec<String> = drv_closure.clone();
    want.extend(
        drv_closure.iter().filter(|p| p.ends_with(".drv")).flat_map(|d| outputs_by_nix(&world, d)),
    );
    want.sort();
    assert_eq!(got.iter().map(|g| g.0.clone()).collect::<Vec<_>>(), want);
    for (path, references) in got {
        let mut known =
            lines(&succeed(&mut world.nix("nix-store", ["--query", "--references", &path])));
        known.sort();
        assert_eq!(references, known, "{path}");
    }
    world.is_tidy();
}

#[test]
fn bad_exports_are_told() {
    let world = World::new();
    let dep = shell("dep", "", "echo > $out");
    let cases = [
        ("exportReferencesGraph = [ \"one\" ];", "odd number of tokens in 'exportReferencesGraph'"),
        ("exportReferencesGraph = [ \"one\" \"/etc/passwd\" ];", "non-store path '/etc/passwd'"),
        ("exportReferencesGraph = [ \"a/b\" dep ];", "invalid file name 'a/b'"),
        (
            "exportBuildReferencesGraph = [ \"x\" ];",
            "odd number of tokens in 'exportBuildReferencesGraph'",
        ),
        ("exportBuildReferencesGraph = [ \"x\" \"/etc\" ];", "non-store path '/etc'"),
        ("exportBuildReferencesGraph = [ \"x\" dep ];", "which is not a derivation"),
        (
            "exportReferencesGraph = [ \"x\" (builtins.unsafeDiscardStringContext \"${dep}\") ];",
            "not in the input closure",
        ),
    ];
    for (attributes, word) in cases {
        let drv = world.instantiate_one(&format!(
            "let dep = {dep}; in {}",
            shell("x", attributes, "echo > $out")
        ));
        let report = world.build([&drv]);
        assert_eq!(report.code, 100, "{attributes}: {}", report.stderr);
        assert_eq!(report.json[0]["failure"]["kind"], "bad-derivation", "{attributes}");
        let message = report.json[0]["failure"]["message"].as_str().unwrap();
        assert!(message.contains(word), "{attributes}: {message}");
    }
    world.is_tidy();
}

#[test]
fn exported_references_are_those_of_nix() {
    let world = World::new();
    let base = shell("base", "", "mkdir $out; echo base > $out/x");
    let user =
        shell("user", "inherit base;", "mkdir $out; ln -s $base $out/base; echo $out > $out/own");
    let plain = shell(
        "plain",
        "exportReferencesGraph = [ \"one\" user \"two\" user.drvPath ]; ",
        "cat one two > $out",
    );
    let structured = shell(
        "structured",
        "__structuredAttrs = true; exportReferencesGraph = { g = [ user base ]; };",
        ". $NIX_ATTRS_SH_FILE; cat $NIX_ATTRS_JSON_FILE > ''${outputs[out]}",
    )
    .replace("\"/bin/sh\"", "\"/bin/bash\"");
    let expression = format!("let base = {base}; user = {user}; in [ ({plain}) ({structured}) ]");
    let read = |world: &World, drv: &str| {
        let out = outputs_by_nix(world, drv).remove(0);
        (out.clone(), fs::read(out).unwrap())
    };
    let drvs = world.instantiate(&expression);
    succeed(world.nix("nix-store", ["--realise"]).args(&drvs));
    let by_nix: Vec<_> = drvs.iter().map(|drv| read(&world, drv)).collect();
    world.wipe();
    assert_eq!(world.instantiate(&expression), drvs);
    succeed(world.drover(["build", "--no-link"]).args(&drvs));
    for (drv, nix) in drvs.iter().zip(&by_nix) {
        let drover = read(&world, drv);
        if drv.ends_with("-plain.drv") {
            let text = |bytes: &[u8]| graph(core::str::from_utf8(bytes).unwrap());
            assert_eq!(text(&drover.1), text(&nix.1));
            continue;
        }
        let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        let (drover, nix) = (json(&drover.1), json(&nix.1));
        let entries = |json: &Value| {
            let mut all = json["g"].as_array().unwrap().clone();
            all.sort_by_key(|e| e["path"].as_str().unwrap().to_owned());
            all
        };
        for (ours, theirs) in entries(&drover).iter().zip(entries(&nix)) {
            for key in ["path", "narSize", "closureSize", "references"] {
                assert_eq!(ours[key], theirs[key], "{key}");
            }
        }
        assert_eq!(entries(&drover).len(), entries(&nix).len());
    }
    world.nix_verifies();
}

#[test]
fn outputs_that_are_valid_stay_untouched() {
    let world = World::new();
    let script = "mkdir $out; echo $dev > $out/dev; echo $out > $out/own; echo $doc > $dev; \
                  date +%N > $doc";
    let drv =
        world.instantiate_one(&shell("multi", "outputs = [ \"out\" \"dev\" \"doc\" ];", script));
    let built = lines(&succeed(&mut world.drover(["build", "--no-link", &drv])));
    let [dev, doc, out] = [&built[0], &built[1], &built[2]];
    let refs = |path: &str| {
        let mut refs =
            lines(&succeed(&mut world.nix("nix-store", ["--query", "--references", path])));
        refs.sort();
        refs
    };
    let before: Vec<_> = [dev, doc, out].iter().map(|p| refs(p)).collect();
    let time = text(&succeed(&mut world.nix("nix-store", ["--query", "--hash", doc])));
    delete(&world, out);
    let inode = |path: &str| fs::symlink_metadata(path).unwrap().ino();
    let inodes = (inode(dev), inode(doc));
    let report = world.build([&format!("{drv}^dev,doc")]);
    assert_eq!(report.json[0]["status"], "already-valid", "nothing of what is wanted is missing");
    let report = world.build([&drv]);
    assert_eq!((report.code, &report.json[0]["status"]), (0, &json!("built")), "{}", report.stderr);
    assert_eq!(inodes, (inode(dev), inode(doc)), "valid ones are the same files");
    assert_eq!(text(&succeed(&mut world.nix("nix-store", ["--query", "--hash", doc]))), time);
    assert_eq!([dev, doc, out].iter().map(|p| refs(p)).collect::<Vec<_>>(), before);
    assert_eq!(fs::read_to_string(format!("{out}/own")).unwrap().trim(), out.as_str());
    assert_eq!(fs::read_to_string(format!("{out}/dev")).unwrap().trim(), dev.as_str());
    world.nix_verifies();
    world.is_tidy();
    let names = fs::read_dir(world.store()).unwrap().count();
    assert_eq!(names, 4 + 1, "three outputs, a derivation and .links: no scratch path stays");
}

#[test]
fn check_compares_with_what_is_there() {
    let world = World::new();
    let same = world.instantiate_one(&shell(
        "same",
        "outputs = [ \"out\" \"dev\" ];",
        "mkdir $out; echo $out $dev > $out/x; echo > $dev",
    ));
    let fixed = "outputHashMode = \"flat\"; outputHashAlgo = \"sha256\"; outputHash = \
                 \"5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03\";";
    let side = world.path("work/side");
    fs::write(&side, "hello\n").unwrap();
    let script = format!("cat {} > $out", side.display());
    let fetched = world.instantiate_one(&shell("fetched", fixed, &script));
    succeed(&mut world.drover(["build", "--no-link", &fetched]));
    let again = world.build(["--check", &fetched]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    fs::write(&side, "changed upstream\n").unwrap();
    let changed = world.build(["--check", &fetched]);
    assert_eq!(changed.code, 102, "{}", changed.stderr);
    world.is_tidy();
    let nix = world.nix("nix-store", ["--realise", "--check", &fetched]).output().unwrap();
    assert_eq!(nix.status.code(), Some(102));
    // Nix leaves its lock file where a build failed.
    for lock in world.leftovers() {
        fs::remove_file(world.store().join(lock)).unwrap();
    }
    let error = world.build(["--check", &same]);
    assert_eq!(error.code, 1, "not valid yet: {}", error.stderr);
    assert_eq!(error.json[0]["failure"]["kind"], "check-impossible");
    let message = error.json[0]["failure"]["message"].as_str().unwrap();
    assert!(message.contains("are not valid, so checking is not possible"), "{message}");
    succeed(&mut world.drover(["build", "--no-link", &same]));
    let again = world.build(["--check", &same]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert_eq!(again.json[0]["status"], "built");
    assert_eq!(world.started(&again.stderr), ["same"]);
    assert!(again.stderr.contains("\nthe same again: same\n"), "{}", again.stderr);

    let script =
        "mkdir -p $out/a $out/b; echo 1 > $out/a/same; date +%N%s > $out/b/time; echo > $dev";
    let random = world.instantiate_one(&shell("random", "outputs = [ \"out\" \"dev\" ];", script));
    let built = lines(&succeed(&mut world.drover(["build", "--no-link", &random])));
    let out = &built[1];
    let contents = fs::read_to_string(format!("{out}/b/time")).unwrap();
    let differs = world.build(["--check", &random]);
    assert_eq!(differs.code, 104, "{}", differs.stderr);
    assert!(!differs.stderr.contains("the same again"), "{}", differs.stderr);
    let failure = &differs.json[0]["failure"];
    assert_eq!((&failure["kind"], &failure["paths"]), (&json!("not-deterministic"), &json!([out])));
    let message = failure["message"].as_str().unwrap();
    assert!(message.contains(&format!("output '{out}' differs")), "{message}");
    assert!(message.contains("first difference: b/time"), "{message}");
    assert!(!Path::new(&format!("{out}.check")).exists());
    world.is_tidy();
    let kept = world.build(["--check", "-K", &random]);
    assert_eq!(kept.code, 104, "{}", kept.stderr);
    let message = kept.json[0]["failure"]["message"].as_str().unwrap();
    assert!(message.contains(&format!("differs from '{out}.check'")), "{message}");
    assert_ne!(fs::read_to_string(format!("{out}.check/b/time")).unwrap(), contents);
    assert_eq!(fs::read_to_string(format!("{out}/b/time")).unwrap(), contents, "the first stays");
    let nix = fail_with(104, &mut world.nix("nix-store", ["--realise", "--check", &random]));
    assert!(nix.contains("may not be deterministic"), "{nix}");
    world.nix_verifies();
}

#[test]
fn what_nobody_here_can_build_is_told_while_the_rest_goes_on() {
    let world = World::new();
    world.configure("system-features = kvm big-parallel\nextra-platforms = riscv64-linux");
    let good = shell("good", "", "echo > $out");
    let alien =
        shell("alien", "requiredSystemFeatures = [ \"kvm\" \"gccarch-z80\" ];", "echo > $out");
    let foreign =
        shell("foreign", "", "echo > $out").replace("builtins.currentSystem", "\"m68k-linux\"");
    let extra =
        shell("extra", "", "echo > $out").replace("builtins.currentSystem", "\"riscv64-linux\"");
    let able = shell("able", "requiredSystemFeatures = [ \"kvm\" ];", "echo > $out");
    let above = shell("above", "inherit foreign;", "echo > $out");
    let drvs = world.instantiate(&format!(
        "let foreign = {foreign}; in [ ({good}) ({alien}) foreign ({extra}) ({able}) ({above}) ]"
    ));
    let report = world.build(["-k"].into_iter().chain(drvs.iter().map(String::as_str)));
    assert_eq!(report.code, 100, "{}", report.stderr);
    assert_eq!(world.started(&report.stderr), ["able", "extra", "good"]);
    let message = |i: usize| report.json[i]["failure"]["message"].as_str().unwrap().to_owned();
    assert_eq!(report.json[1]["failure"]["kind"], "nobody-can-build");
    assert!(message(1).contains("with features gccarch-z80, kvm"), "{}", message(1));
    assert!(message(1).contains("riscv64-linux with features big-parallel, kvm"), "{}", message(1));
    assert!(message(2).contains("Required system: m68k-linux"), "{}", message(2));
    assert_eq!(report.json[2]["failure"]["blocked"], 1);
    assert_eq!(report.json[5]["status"], "dependency-failed");
    world.is_tidy();
}

#[test]
fn no_slots_build_nothing_but_what_is_valid() {
    let world = World::new();
    let drvs = world.instantiate(&format!(
        "[ ({}) ({}) ]",
        shell("valid", "", "echo > $out"),
        shell("other", "", "echo > $out")
    ));
    succeed(&mut world.drover(["build", "--no-link", &drvs[0]]));
    let report = world.build(["-j0", "-k", &drvs[0], &drvs[1]]);
    assert_eq!(report.code, 100, "{}", report.stderr);
    assert_eq!(report.json[0]["status"], "already-valid");
    assert_eq!(report.json[1]["failure"]["kind"], "nobody-can-build");
    let message = report.json[1]["failure"]["message"].as_str().unwrap();
    assert!(message.contains("max-jobs"), "{message}");
    let nix = world.nix("nix-store", ["--realise", "-j0", &drvs[1]]).output().unwrap();
    assert!(!nix.status.success());
}

#[test]
fn builtins_fetch_files() {
    let world = World::new();
    let file = world.path("work/a file");
    fs::write(&file, "hello\n").unwrap();
    let url = format!("file://{}", file.display()).replace(' ', "%20");
    let fetch = |name: &str, more: &str| {
        format!(
            "derivation {{ name = \"{name}\"; system = \"builtin\"; \
             builder = \"builtin:fetchurl\"; \
             url = \"{url}\"; outputHashAlgo = \"sha256\"; preferLocalBuild = true; {more} }}"
        )
    };
    let flat = "outputHashMode = \"flat\"; outputHash = \
                \"5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03\";";
    // As for Nix, the builder tells what is builtin, whatever system is named.
    for system in ["builtin", "m68k-linux"] {
        let fetch = fetch("flat", flat).replace("\"builtin\"", &format!("\"{system}\""));
        let drv = world.instantiate_one(&fetch);
        let out = text(&succeed(&mut world.drover(["build", "--no-link", &drv])));
        assert_eq!(fs::read_to_string(&out).unwrap(), "hello\n");
        succeed(&mut world.nix("nix-store", ["--delete", &out]));
        succeed(&mut world.nix("nix-store", ["--realise", &drv]));
        succeed(&mut world.nix("nix-store", ["--delete", &out]));
    }
    let zeros = format!(
        "outputHashMode = \"recursive\"; executable = true; outputHash = \"{}\";",
        "0".repeat(64)
    );
    let drv = world.instantiate_one(&fetch("program", &zeros));
    let report = world.build([&drv]);
    assert_eq!(report.code, 102, "{}", report.stderr);
    let message = report.json[0]["failure"]["message"].as_str().unwrap().to_owned();
    let got = message.rsplit_once("got:").unwrap().1.trim().to_owned();
    let right = zeros.replace(&"0".repeat(64), &got);
    let drv = world.instantiate_one(&fetch("program", &right));
    let report = world.build([&drv]);
    assert_eq!(report.json[0]["status"], "already-valid", "kept under the path of its hash");
    let out = report.json[0]["outputs"]["out"].as_str().unwrap();
    assert_eq!(fs::metadata(out).unwrap().mode() & 0o777, 0o555);
    let wrong = flat.replace("5891", "5892");
    let report = world.build([&world.instantiate_one(&fetch("wrong", &wrong))]);
    assert_eq!(report.code, 102, "{}", report.stderr);
    fs::remove_file(&file).unwrap();
    let absent = world.instantiate_one(&fetch("absent", flat));
    let report = world.build([&absent]);
    assert_eq!(report.code, 100);
    assert!(
        report.stderr.contains("> error: unable to download")
            || report.stderr.contains("unable to download"),
        "{}",
        report.stderr
    );
    world.nix_verifies();
    world.is_tidy();
}

#[test]
fn builtins_that_cannot_be_built_are_told() {
    let world = World::new();
    for (builder, kind) in [
        ("nonsense", "bad-derivation"),
        ("fetchurl", "bad-derivation"),
        ("buildenv", "not-supported"),
        ("unpack-channel", "not-supported"),
    ] {
        let drv = world.instantiate_one(&format!(
            "derivation {{ name = \"x\"; system = \"builtin\"; builder = \"builtin:{builder}\"; }}"
        ));
        let report = world.build([&drv]);
        assert_eq!(report.json[0]["failure"]["kind"], kind, "{}", report.stderr);
        let message = report.json[0]["failure"]["message"].as_str().unwrap();
        assert!(message.contains(&format!("builtin:{builder}")), "{message}");
        assert_eq!(report.code, 100);
    }
    world.is_tidy();
}

#[test]
fn what_is_not_supported_fails_like_any_derivation() {
    let world = World::new();
    let later = "derivation { name = \"later\"; system = \"builtin\"; \
                 builder = \"builtin:buildenv\"; }";
    let floating = shell(
        "floating",
        "__contentAddressed = true; outputHashMode = \"recursive\"; outputHashAlgo = \"sha256\";",
        "echo > $out",
    );
    world.configure("experimental-features = nix-command ca-derivations");
    let drvs = world.instantiate(&format!(
        "let later = {later}; in [ ({}) ({}) ({floating}) ]",
        shell("above", "inherit later;", "echo > $out"),
        shell("beside", "", "echo > $out"),
    ));
    let report = world.build(["-k", "-j1", &drvs[0], &drvs[1]]);
    assert_eq!(report.code, 100, "{}", report.stderr);
    let word = |n: usize, key: &str| report.json[n][key].as_str().unwrap();
    assert_eq!(word(0, "status"), "dependency-failed");
    assert_eq!(word(1, "status"), "built", "the rest goes on");
    assert!(word(2, "drvPath").ends_with("-later.drv"), "the root failure: {}", report.json);
    assert_eq!(report.json[2]["failure"]["kind"], "not-supported");
    assert_eq!(report.json[2]["failure"]["blocked"], 1);
    let report = world.build([&drvs[2], &drvs[1]]);
    assert_eq!((report.code, &report.json[0]["failure"]["kind"]), (100, &"not-supported".into()));
    let late = shell("late", "", "sleep 60; echo > $out");
    let late = world.instantiate_one(&late);
    let report = world.build(["-k", "--timeout", "1", &late, &drvs[2]]);
    assert_eq!(report.code, 101, "bits are or-ed: {}", report.stderr);
    world.is_tidy();
}

#[test]
fn kinds_of_tomorrow_are_refused_by_name() {
    let world = World::new();
    world.configure("experimental-features = nix-command ca-derivations impure-derivations");
    let floating = shell(
        "floating",
        "__contentAddressed = true; outputHashMode = \"recursive\"; outputHashAlgo = \"sha256\";",
        "echo > $out",
    );
    let impure = shell("impure", "__impure = true;", "echo > $out");
    let above = shell("above", "inherit floating;", "echo > $out");
    let drvs = world
        .instantiate(&format!("let floating = {floating}; in [ floating ({impure}) ({above}) ]"));
    for (drv, word) in drvs.iter().zip(["content-addressed", "impure", "content-addressed"]) {
        let report = world.build([drv]);
        assert_eq!(
            (report.code, &report.json[0]["status"] == "built"),
            (100, false),
            "{}",
            report.stderr
        );
        let message =
            report.json[0]["failure"]["message"].as_str().unwrap().to_owned() + &report.stderr;
        assert!(
            message.contains("not supported yet") && message.contains(word),
            "{drv}: {message}"
        );
    }
    let fixtures =
        format!("{}/tests/fixtures/derivation_json/2.34/dynamic.json", env!("CARGO_MANIFEST_DIR"));
    let recorded: Value = serde_json::from_str(&fs::read_to_string(fixtures).unwrap()).unwrap();
    let mut last = String::new();
    for name in ["made.drv", "dynamic"] {
        let all = recorded["derivations"].as_object().unwrap();
        let mut one = all.values().find(|d| d["name"] == name).unwrap().clone();
        if name == "dynamic" {
            // Its input has another path in this store.
            let base = Path::new(&last).file_name().unwrap().to_str().unwrap().to_owned();
            let inputs = one["inputs"]["drvs"].as_object_mut().unwrap();
            let node = inputs.values().next().unwrap().clone();
            inputs.clear();
            inputs.insert(base, node);
        }
        let file = world.path("work/drv.json");
        fs::write(&file, one.to_string()).unwrap();
        let mut add = world.drover(["derivation", "add"]);
        last = text(&succeed(add.stdin(fs::File::open(file).unwrap())));
    }
    let report = world.build([&last]);
    assert_eq!(report.code, 100, "{}", report.stderr);
    let message = report.json[0]["failure"]["message"].as_str().unwrap();
    assert!(message.contains("not supported yet") && message.contains("dynamic"), "{message}");
    world.is_tidy();
}

#[test]
fn plain_paths_and_missing_derivations() {
    let world = World::new();
    let drv = world.instantiate_one(&shell("x", "", "echo > $out"));
    let out = text(&succeed(&mut world.drover(["build", "--no-link", &drv])));
    let report = world.build([&out]);
    assert_eq!((report.code, &report.json[0]["status"]), (0, &json!("already-valid")));
    assert_eq!(keys(&report.json[0]), KEYS);
    assert_eq!(text(&succeed(&mut world.drover(["build", &out]))), out);
    assert_eq!(fs::read_link(world.path("work/result")).unwrap().to_str(), Some(out.as_str()));
    let store = world.store().display().to_string();
    let absent = format!("{store}/{}-absent", "a".repeat(32));
    let report = world.build([&absent]);
    assert_eq!(report.code, 1, "{}", report.stderr);
    assert_eq!(report.json[0]["failure"]["kind"], "no-substituter");
    let message = report.json[0]["failure"]["message"].as_str().unwrap();
    assert!(message.contains("does not exist and cannot be created"), "{message}");
    let nix = world.nix("nix-store", ["--realise", &absent]).output().unwrap();
    assert_eq!(nix.status.code(), Some(1));
    let report = world.build([&format!("{absent}.drv")]);
    assert_eq!(report.code, 1, "{}", report.stderr);
    assert_eq!(report.json[0]["failure"]["kind"], "missing-derivation");
    let message = report.json[0]["failure"]["message"].as_str().unwrap();
    assert!(message.contains("cannot build missing derivation"), "{message}");
    // A file that lies in the store, but that the database does not know.
    fs::copy(&drv, format!("{absent}.drv")).unwrap();
    assert_eq!(
        world.build([&format!("{absent}.drv")]).json[0]["failure"]["kind"],
        "missing-derivation"
    );
    let error = fail_with(1, &mut world.drover(["build", "/no/such.drv"]));
    assert!(error.contains("/no/such.drv"), "{error}");
}

#[test]
fn a_source_that_is_gone_is_named() {
    let world = World::new();
    fs::write(world.path("work/source"), "text").unwrap();
    let user = shell(
        "user",
        &format!("source = {};", world.path("work/source").display()),
        "cp $source $out",
    );
    let drv = world.instantiate_one(&user);
    let source =
        lines(&succeed(&mut world.nix("nix-store", ["--query", "--references", &drv]))).remove(0);
    fs::remove_file(&source).unwrap();
    let sql = format!("pragma foreign_keys = off; delete from ValidPaths where path = '{source}'");
    rusqlite::Connection::open(world.path("var/db/db.sqlite"))
        .unwrap()
        .execute_batch(&sql)
        .unwrap();
    let report = world.build([&drv]);
    assert_eq!(
        (report.code, &report.json[0]["status"]),
        (1, &json!("dependency-failed")),
        "{}",
        report.stderr
    );
    assert!(report.stderr.contains("failed: source"), "{}", report.stderr);
    assert!(report.stderr.contains("does not exist and cannot be created"), "{}", report.stderr);
}

#[test]
fn dry_runs_say_what_nix_says() {
    let world = World::new();
    let drvs = world.instantiate(&mixed());
    let sorted = |output: &std::process::Output| {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let mut all: Vec<_> = text.lines().map(str::to_owned).filter(|l| !l.is_empty()).collect();
        all.sort();
        all
    };
    for drvs in [&drvs[..], &drvs[1..2]] {
        let nix = succeed(world.nix("nix-store", ["--realise", "--dry-run"]).args(drvs));
        let drover = succeed(world.drover(["build", "--dry-run"]).args(drvs));
        assert_eq!(sorted(&drover), sorted(&nix));
        assert_eq!(text(&drover), "");
    }
    assert!(fs::symlink_metadata(world.path("work/result")).is_err());
    succeed(&mut world.drover(["build", "--no-link", &drvs[1]]));
    let nothing = succeed(&mut world.drover(["build", "--dry-run", &drvs[1]]));
    assert_eq!(sorted(&nothing), Vec::<String>::new());
    let absent = format!("{}/{}-absent", world.store().display(), "a".repeat(32));
    let nix = world.nix("nix-store", ["--realise", "--dry-run", &absent]).output().unwrap();
    let drover = world.drover(["build", "--dry-run", &absent]).output().unwrap();
    assert_eq!(sorted(&drover), sorted(&nix));
    assert_eq!(drover.status.code(), nix.status.code());
}

#[test]
fn a_dry_run_as_json_lists_targets_and_what_they_need() {
    let world = World::new();
    let leaf = shell("leaf", "", "echo > $out");
    let top = shell("top", &format!("leaf = {leaf}; outputs = [ \"out\" \"doc\" ];"), "exit 1");
    let other = shell("other", "", "echo > $out");
    let drvs = world.instantiate(&format!("[ ({top}) ({other}) ]"));
    let outputs = |drv: &str| {
        let asked = world.nix("nix-store", ["--query", "--outputs", drv]).output().unwrap();
        lines(&asked).into_iter().collect::<std::collections::BTreeSet<_>>()
    };
    succeed(&mut world.drover(["build", "--no-link", &drvs[1]]));
    let absent = format!("{}/{}-absent", world.store().display(), "a".repeat(32));
    let asked = [&drvs[1], &drvs[0], &absent];
    let run = world.drover(["build", "--dry-run", "--json"]).args(asked).output().unwrap();
    assert_eq!(run.status.code(), Some(0), "as real Nix: {run:?}");
    let list: Value = serde_json::from_slice(&run.stdout).unwrap();
    let list = list.as_array().unwrap();
    let told: Vec<_> = list
        .iter()
        .map(|r| (r["drvPath"].as_str().unwrap(), r["status"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told[..3],
        [
            (drvs[1].as_str(), "already-valid"),
            (drvs[0].as_str(), "would-build"),
            (absent.as_str(), "failed"),
        ]
    );
    assert!(told[3].0.ends_with("-leaf.drv") && told[3].1 == "would-build", "{told:?}");
    assert_eq!(told.len(), 4);
    assert_eq!(list[2]["failure"]["kind"], "no-substituter");
    for record in list.iter().filter(|record| record["status"] != "failed") {
        let made = record["outputs"].as_object().unwrap().values();
        let made = made.map(|path| path.as_str().unwrap().to_owned()).collect();
        assert_eq!(outputs(record["drvPath"].as_str().unwrap()), made);
        assert_eq!(record["failure"], Value::Null);
    }
}

#[test]
fn one_fixed_output_of_two_derivations_is_made_once() {
    let world = World::new();
    let ran = world.path("work/ran").display().to_string();
    let fixed = |mark: &str| {
        shell(
            "fixed",
            &format!(
                "mark = \"{mark}\"; outputHashMode = \"flat\"; outputHashAlgo = \"sha256\"; \
                 outputHash = \
                 \"5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03\";"
            ),
            &format!("echo $mark >> {ran}; echo hello > $out"),
        )
    };
    let drvs = world.instantiate(&format!("[ ({}) ({}) ]", fixed("a"), fixed("b")));
    assert_ne!(drvs[0], drvs[1]);
    let report = world.build(["-j2", &drvs[0], &drvs[1]]);
    assert_eq!(report.code, 0, "{}", report.stderr);
    assert_eq!(report.json[0]["outputs"], report.json[1]["outputs"]);
    assert_eq!(fs::read_to_string(&ran).unwrap().lines().count(), 1, "the second found it there");
    world.nix_verifies();
    world.is_tidy();
}

#[test]
fn a_fixed_output_is_a_copy_that_nobody_has_open() {
    let world = World::new();
    let inode = world.path("work/inode").display().to_string();
    let script = format!("echo hello > $out; stat -c %i $out > {inode}");
    let fixed = "outputHashMode = \"flat\"; outputHashAlgo = \"sha256\"; outputHash = \
                 \"5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03\";";
    let kept = |name: &str, attributes: &str| {
        let drv = world.instantiate_one(&shell(name, attributes, &script));
        let out = text(&succeed(&mut world.drover(["build", "--no-link", &drv])));
        let written: u64 = fs::read_to_string(&inode).unwrap().trim().parse().unwrap();
        fs::metadata(out).unwrap().ino() == written
    };
    assert!(!kept("fixed", fixed));
    assert!(kept("plain", ""), "nothing else is written twice");
    world.is_tidy();
}

#[test]
fn the_examples_build() {
    let world = World::new();
    for name in ["hello.toml", "pipeline.toml", "words.txt"] {
        let from = format!("{}/tests/examples/{name}", env!("CARGO_MANIFEST_DIR"));
        fs::copy(from, world.path("work").join(name)).unwrap();
    }
    let build = |target: &str| world.drover(["build", "--no-link", target]);
    let hello = text(&succeed(&mut build("hello.toml")));
    assert_eq!(fs::read_to_string(&hello).unwrap(), format!("Hello, world! This is {hello}.\n"));
    let report = succeed(&mut build("pipeline.toml#words"));
    assert_eq!(lines(&report).len(), 2, "both outputs of one table");
    let report = lines(&succeed(&mut build("pipeline.toml")));
    assert_eq!(report.len(), 1, "what nothing else needs");
    let contents = fs::read_to_string(&report[0]).unwrap();
    assert_eq!(
        contents,
        "What is described is realised.\n1 ash\n2 birch\n3 cedar\ncounted 3 words\n"
    );
    assert_eq!(lines(&succeed(&mut build("pipeline.toml#report"))), report);
    fs::write(world.path("work/words.txt"), "elm\n").unwrap();
    let changed = lines(&succeed(&mut build("pipeline.toml")));
    assert_ne!(changed, report, "another source is another path");
    assert!(fs::read_to_string(&changed[0]).unwrap().contains("1 elm\ncounted 1 words"));
    let error = fail_with(1, &mut build("pipeline.toml#nonsense"));
    assert!(error.contains("nonsense") && error.contains("pipeline.toml"), "{error}");
    world.nix_verifies();
    world.is_tidy();
}

#[test]
fn what_is_not_isolated_is_said_once_and_recorded() {
    let world = World::new();
    let words = "isolation level `none`";
    let expression = |n: u32| shell(&format!("n{n}"), "", "echo built; echo > $out");
    let drvs = world.instantiate(&format!("[ ({}) ({}) ]", expression(1), expression(2)));
    let log = |drv: &String| text(&succeed(&mut world.drover(["log", drv])));
    for (sandbox, said) in [("true", 1), ("relaxed", 1), ("false", 0)] {
        let flags = ["build", "--no-link", "--option", "sandbox", sandbox];
        let output = succeed(world.drover(flags).args(&drvs));
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(stderr.matches(words).count(), said, "{sandbox}: {stderr}");
        for drv in &drvs {
            let wanted = ["built", "built\ndrover: isolation level: none"];
            assert_eq!(log(drv), wanted[said], "{sandbox}");
        }
        for drv in &drvs {
            delete(&world, &outputs_by_nix(&world, drv)[0]);
        }
    }
    // No setting at all is Nix's default, which is a sandbox.
    fs::write(world.path("etc/nix.conf"), "build-users-group =\n").unwrap();
    let output = succeed(world.drover(["build", "--no-link"]).args(&drvs));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(stderr.matches(words).count(), 1, "{stderr}");
}

#[test]
fn a_recipe_takes_derivations_and_folders() {
    let world = World::new();
    let drv = world.instantiate_one(&multi());
    fs::create_dir_all(world.path("work/in/sub")).unwrap();
    fs::write(world.path("work/in/sub/file"), "from a folder\n").unwrap();
    let recipe = format!(
        "[all]\nbuilder = \"/bin/sh\"\nsources = [\"in\"]\ninputs = [\"{drv}^dev\", \"{drv}\"]\n\
         env = {{ PATH = \"/bin:/usr/bin\" }}\n\
         args = [\"-c\", \"cat $in/sub/file $multi_dev $multi > $out\"]\n"
    );
    fs::write(world.path("work/jobs.toml"), recipe).unwrap();
    let out = text(&succeed(&mut world.drover(["build", "--no-link", "jobs.toml"])));
    let by_nix = outputs_by_nix(&world, &drv);
    let [plain, dev] =
        ["-multi", "-multi-dev"].map(|n| by_nix.iter().find(|p| p.ends_with(n)).unwrap());
    let contents = fs::read_to_string(&out).unwrap();
    assert_eq!(contents, format!("from a folder\n{dev}\n{plain}\n{dev}\n"));
    let mut refers = lines(&succeed(&mut world.nix("nix-store", ["-q", "--references", &out])));
    refers.sort();
    let mut want = [plain.as_str(), dev];
    want.sort_unstable();
    assert_eq!(refers, want, "what it got is found in what it made");
    world.nix_verifies();
    world.is_tidy();
}

#[test]
fn json_tells_of_targets_that_cannot_be_used() {
    let world = World::new();
    let drv = world.instantiate_one(&shell("good", "", "echo > $out"));
    fs::write(world.path("work/bad.toml"), "[a]\nbuilder = \"/bin/sh\"\nimputs = []\n").unwrap();
    let missing = format!("{}/7h7qgvs4kgzsn8a6rb273saxyqh4jxlz-hello.drv", world.store().display());
    let targets = ["/etc/passwd", &drv, "bad.toml", "none.toml", &format!("{drv}^"), &missing];
    let report = world.build(targets);
    assert_eq!(report.code, 1, "{}", report.stderr);
    assert_eq!(report.json.as_array().unwrap().len(), targets.len(), "{}", report.json);
    for (record, target) in report.json.as_array().unwrap().iter().zip(targets) {
        assert_eq!((&record["target"], &record["drvPath"]), (&target.into(), &json!(null)));
        let as_ever = keys(record).into_iter().filter(|key| *key != "target");
        assert_eq!(as_ever.collect::<Vec<_>>(), KEYS);
        assert_eq!(keys(&record["failure"]), FAILURE_KEYS);
        let word = match target {
            "/etc/passwd" => "cannot use `/etc/passwd`: it is not in the store",
            "bad.toml" => "bad.toml:3: ",
            "none.toml" => "cannot read recipe `none.toml`",
            target if target.ends_with('^') => "names no output",
            _ => {
                assert_eq!(record["status"], "cancelled", "{record}");
                assert_eq!(record["failure"]["kind"], "cancelled", "{record}");
                continue;
            }
        };
        assert_eq!(record["status"], "failed", "{record}");
        assert_eq!(record["failure"]["kind"], "bad-target", "{record}");
        let message = record["failure"]["message"].as_str().unwrap();
        assert!(message.contains(word), "{message}");
        assert!(report.stderr.contains(word), "every one is said: {}", report.stderr);
    }
    let report = world.build([&missing]);
    assert_eq!((report.code, &report.json[0]["drvPath"]), (1, &missing.as_str().into()));
    assert_eq!(report.json[0]["failure"]["kind"], "missing-derivation");
    let (db, schema) = (world.path("var/db"), world.path("var/db/schema"));
    fs::write(&schema, "11").unwrap();
    let report = world.build([&drv]);
    assert_eq!((report.code, &report.json[0]["failure"]["kind"]), (1, &"engine".into()));
    let message = report.json[0]["failure"]["message"].as_str().unwrap();
    assert!(message.contains(db.to_str().unwrap()), "{message}");
}

#[test]
fn tables_that_are_not_named_are_usage() {
    let world = World::new();
    let table = |n: usize| format!("[job{n}]\nbuilder = \"/bin/sh\"\n");
    fs::write(world.path("work/jobs.toml"), (0..30).map(table).collect::<String>()).unwrap();
    for command in [&["build"][..], &["derivation", "instantiate"]] {
        let error = fail_with(2, world.drover(command).arg("jobs.toml#"));
        let want = "error: cannot use `jobs.toml#`: no name of a table follows the `#`: give \
                    `jobs.toml#TABLE`, or `jobs.toml` for all that no other table needs\n";
        assert_eq!(error, want);
        let error = fail_with(1, world.drover(command).arg("jobs.toml#nothing-like-it"));
        let want = "there is no table `nothing-like-it` (the recipe has `job0`, `job1`,";
        assert!(error.contains(want) && error.contains("`job7` and 22 more)\n"), "{error}");
    }
    let report = report(&mut world.drover(["build", "--json", "jobs.toml#"]));
    assert_eq!((report.code, &report.json[0]["failure"]["kind"]), (2, &"bad-target".into()));
    fs::write(world.path("work/jobs.toml"), "").unwrap();
    let error = fail_with(1, &mut world.drover(["build", "jobs.toml#x"]));
    assert!(error.contains("there is no table `x` (the recipe has none)"), "{error}");
}

#[test]
fn fixed_outputs_of_every_hash_function() {
    let world = World::new();
    let tree = world.path("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("file"), "contents\n").unwrap();
    symlink("file", tree.join("link")).unwrap();
    let file = tree.join("file");
    let mut expressions = String::new();
    let mut wrong = Vec::new();
    for function in ["md5", "sha1", "sha256", "sha512"] {
        for (kind, mode, source) in
            [("flat", "flat", &file), ("file", "recursive", &file), ("tree", "recursive", &tree)]
        {
            let source = source.to_str().unwrap();
            let flat = (mode == "flat").then_some("--flat");
            let call = ["--type", function].into_iter().chain(flat).chain([source]);
            let hash = text(&succeed(&mut world.nix("nix-hash", call)));
            let first = if hash.starts_with('0') { "1" } else { "0" };
            let other = format!("{first}{}", &hash[1..]);
            for (what, hash) in [("right", hash), ("wrong", other)] {
                let fixed = format!(
                    "outputHashMode = \"{mode}\"; outputHashAlgo = \"{function}\"; \
                     outputHash = \"{hash}\";"
                );
                let name = format!("{kind}-{function}-{what}");
                let one = shell(&name, &fixed, &format!("cp -r {source} $out"));
                expressions.push_str(&format!("({one})\n"));
                wrong.push(what == "wrong");
            }
        }
    }
    let drvs = world.instantiate(&format!("[ {expressions} ]"));
    let report = world.build([&["-k".to_owned()], &drvs[..]].concat());
    assert_eq!(report.code, 102, "{}", report.stderr);
    for (i, wrong) in wrong.into_iter().enumerate() {
        let (status, kind) =
            if wrong { ("failed", json!("hash-mismatch")) } else { ("built", Value::Null) };
        let told = &report.json[i];
        assert_eq!((&told["status"], &told["failure"]["kind"]), (&status.into(), &kind), "{told}");
    }
    world.nix_verifies();
    world.is_tidy();
}
