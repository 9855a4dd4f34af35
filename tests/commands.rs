//! Each command beside the command of real Nix that it stands for, on one store; and what is
//! hostile: broken text, broken archives, paths that are not there, stores that cannot be written.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::{World, fail_with, lines, shell, succeed, text, texts};

/// Runs `command` with `input` on standard input.
fn feed(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses early does not read all.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn fed(command: &mut Command, input: &[u8]) -> Output {
    let output = feed(command, input);
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, texts(&output));
    output
}

fn refused(command: &mut Command, input: &[u8]) -> String {
    let output = feed(command, input);
    assert_eq!(output.status.code(), Some(1), "{command:?}: {}", texts(&output));
    assert!(output.stdout.is_empty(), "{command:?}: {}", texts(&output));
    String::from_utf8(output.stderr).unwrap()
}

/// A small graph, built by real Nix: derivation and outputs `out`, `dev`.
fn graph(world: &World) -> (String, Vec<String>) {
    let base = shell("base", "", "echo made base; mkdir $out; echo base > $out/text");
    let two = shell(
        "two",
        "inherit base; outputs = [ \"out\" \"dev\" ];",
        "mkdir $out; echo $base $dev > $out/x; echo $base > $dev",
    );
    let top = shell(
        "top",
        "inherit base two; inherit (two) dev;",
        "mkdir $out; echo $base $two $dev $out > $out/all; ln -s $two $out/two",
    );
    let expression = format!("let base = {base}; two = {two}; in {top}");
    let drv = world.instantiate_one(&expression);
    succeed(&mut world.nix("nix-store", ["--realise", "--no-gc-warning", &drv]));
    let closure = succeed(&mut world.nix("nix-store", ["-qR", "--include-outputs", &drv]));
    (drv, lines(&closure))
}

#[test]
fn queries_are_those_of_nix_byte_for_byte() {
    let world = World::new();
    let (_, all) = graph(&world);
    let questions = [
        "--references",
        "--referrers",
        "--requisites",
        "--referrers-closure",
        "--outputs",
        "--deriver",
        "--hash",
        "--size",
        "--tree",
        "--graph",
    ];
    let mut sets: Vec<Vec<String>> = all.iter().map(|path| vec![path.clone()]).collect();
    sets.push(all.clone());
    sets.push(all.iter().rev().cloned().collect());
    for question in questions {
        for paths in &sets {
            let arguments = |first: &[&str]| {
                let first = first.iter().map(|s| (*s).to_owned());
                first.chain(paths.iter().cloned()).collect::<Vec<_>>()
            };
            let nix = succeed(&mut world.nix("nix-store", arguments(&["--query", question])));
            let drover = succeed(&mut world.drover(arguments(&["query", question])));
            assert_eq!(texts(&drover), texts(&nix), "{question} of {paths:?}");
        }
    }
}

#[test]
fn derivers_are_found() {
    let world = World::new();
    let (drv, _) = graph(&world);
    let out = text(&succeed(&mut world.nix("nix-store", ["--query", "--outputs", &drv])));
    for question in ["--valid-derivers", "--derivers"] {
        assert_eq!(text(&succeed(&mut world.drover(["query", question, &out]))), drv);
        assert_eq!(text(&succeed(&mut world.drover(["query", question, &drv]))), "");
    }
    // What made a path stays known when it is gone; that it is valid does not.
    succeed(&mut world.nix("nix-store", ["--delete", "--ignore-liveness", &drv]));
    for (question, want) in [("--deriver", &*drv), ("--derivers", &drv), ("--valid-derivers", "")] {
        assert_eq!(text(&succeed(&mut world.drover(["query", question, &out]))), want);
    }
    let missing = format!("{}/7h7qgvs4kgzsn8a6rb273saxyqh4jxlz-hello", world.store().display());
    for question in ["--references", "--requisites", "--hash", "--tree", "--deriver"] {
        let error = fail_with(1, &mut world.drover(["query", question, &missing]));
        assert!(error.contains(&format!("path `{missing}` is not valid")), "{error}");
    }
    for question in ["--referrers", "--referrers-closure", "--outputs", "--valid-derivers"] {
        let nix = match question {
            "--valid-derivers" => String::new(),
            _ => text(&succeed(&mut world.nix("nix-store", ["--query", question, &missing]))),
        };
        assert_eq!(text(&succeed(&mut world.drover(["query", question, &missing]))), nix);
    }
}

#[test]
fn links_and_files_inside_name_their_store_path() {
    let world = World::new();
    let (drv, _) = graph(&world);
    let out = text(&succeed(&mut world.nix("nix-store", ["--query", "--outputs", &drv])));
    symlink(&out, world.path("work/result")).unwrap();
    symlink("result", world.path("work/again")).unwrap();
    let inside = format!("{out}/all");
    for argument in ["result", "./again", "again/all", inside.as_str()] {
        let got = succeed(&mut world.drover(["query", "--size", argument]));
        let want = succeed(&mut world.nix("nix-store", ["--query", "--size", &out]));
        assert_eq!(text(&got), text(&want), "{argument}");
    }
    let error = fail_with(1, &mut world.drover(["query", "--size", "/etc/passwd"]));
    assert!(error.contains("cannot use `/etc/passwd`: it is not in the store"), "{error}");
}

#[test]
fn path_info_tells_what_the_database_knows() {
    let world = World::new();
    let (drv, _) = graph(&world);
    let out = text(&succeed(&mut world.nix("nix-store", ["--query", "--outputs", &drv])));
    for flags in [&["path-info"][..], &["path-info", "-r"], &["path-info", "-S", "-r"]] {
        let with = |path: &str| [flags, &[path]].concat().join("\n");
        let arguments: Vec<String> = with(&out).lines().map(str::to_owned).collect();
        let nix = text(&succeed(&mut world.nix("nix", &arguments)));
        // Nix 2.8 pads with a tab alone.
        let got = text(&succeed(&mut world.drover(&arguments)));
        let words = |t: &str| t.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&got), words(&nix), "{flags:?}");
    }
    let all = ["path-info", "--json", "-r", "-S", &out];
    let json = succeed(&mut world.drover(all)).stdout;
    let got: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let nix: serde_json::Value =
        serde_json::from_slice(&succeed(&mut world.nix("nix", all)).stdout).unwrap();
    let nix = nix.as_array().unwrap();
    assert_eq!(got.as_object().unwrap().len(), nix.len());
    for theirs in nix {
        let ours = &got[theirs["path"].as_str().unwrap()];
        for key in ["narHash", "narSize", "references", "closureSize", "registrationTime"] {
            assert_eq!(ours[key], theirs[key], "{key} of {theirs}");
        }
        assert_eq!(ours["ultimate"], theirs["ultimate"], "{theirs}");
        assert_eq!(ours["deriver"], theirs["deriver"], "{theirs}");
        assert_eq!((&ours["version"], &ours["ca"]), (&1.into(), &serde_json::Value::Null));
    }
    let keys = |json: &serde_json::Value| -> Vec<String> {
        let mut keys: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    // As Nix 2.34.8 prints them with `--json-format 1`.
    let mut fields = vec!["ca", "closureSize", "deriver", "narHash", "narSize", "references"];
    fields.extend(["registrationTime", "signatures", "storeDir", "ultimate", "version"]);
    assert_eq!(keys(&got[&out]), fields);
    fields.remove(1);
    std::fs::write(world.path("work/fixed"), "hello\n").unwrap();
    let fixed = ["--add-fixed", "sha256", "fixed"];
    let fixed = text(&succeed(&mut world.nix("nix-store", fixed)));
    let info = succeed(&mut world.drover(["path-info", "--json", &fixed])).stdout;
    let info: serde_json::Value = serde_json::from_slice(&info).unwrap();
    let info = &info[&fixed];
    assert_eq!(keys(info), fields, "a size of the closure only when it is asked for");
    let nix = succeed(&mut world.nix("nix", ["path-info", "--json", &fixed])).stdout;
    let nix: serde_json::Value = serde_json::from_slice(&nix).unwrap();
    assert!(info["ca"].as_str().unwrap().starts_with("fixed:sha256:"), "{info}");
    assert_eq!(info["ca"], nix[0]["ca"]);
    assert_eq!((&info["deriver"], &info["ultimate"]), (&serde_json::Value::Null, &false.into()));
    assert_eq!(info["storeDir"], world.store().to_str().unwrap());
    assert_eq!(info["signatures"], serde_json::json!([]));
    let missing = format!("{}/7h7qgvs4kgzsn8a6rb273saxyqh4jxlz-hello", world.store().display());
    let json = text(&succeed(&mut world.drover(["path-info", "--json", &missing])));
    assert_eq!(json, format!("{{\"{missing}\":null}}"));
    fail_with(1, &mut world.drover(["path-info", &missing]));
}

#[test]
fn added_sources_have_the_paths_of_nix() {
    let world = World::new();
    let tree = world.path("work/tree");
    std::fs::create_dir_all(tree.join("empty")).unwrap();
    std::fs::write(tree.join("\u{fc}nic\u{f6}de"), "a").unwrap();
    std::fs::write(tree.join("tool"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(tree.join("tool"), PermissionsExt::from_mode(0o700)).unwrap();
    symlink("/nowhere", tree.join("dangling")).unwrap();
    std::fs::write(world.path("work/file"), "contents").unwrap();
    symlink("file", world.path("work/link")).unwrap();
    let names = ["tree", "file", "link", "./tree/tool"];
    let mine = lines(&succeed(&mut world.drover(["add"].into_iter().chain(names))));
    world.nix_verifies();
    let rows = text(&succeed(&mut world.nix("nix-store", ["--dump-db"])));
    let again = lines(&succeed(&mut world.drover(["add"].into_iter().chain(names))));
    assert_eq!(again, mine);
    assert_eq!(text(&succeed(&mut world.nix("nix-store", ["--dump-db"]))), rows);
    assert_eq!(std::fs::metadata(tree.join("tool")).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(world.leftovers(), Vec::<String>::new());
    world.wipe();
    let theirs = lines(&succeed(&mut world.nix("nix-store", ["--add"].into_iter().chain(names))));
    assert_eq!(mine, theirs);
    assert_eq!(text(&succeed(&mut world.nix("nix-store", ["--dump-db"]))), rows);
    let named = text(&succeed(&mut world.drover(["add", "--name", "other", "file"])));
    assert!(named.ends_with("-other"), "{named}");
    for (bad, want) in [
        (&["add", "none"][..], "none`: "),
        (&["add", "tree/\u{fc}nic\u{f6}de"], "give another name with `--name`"),
        (&["add", "/"], "has no name"),
        (&["add", "--name", "x", "file", "link"], "names one path only"),
        (&["add", "--name", "a/b", "file"], "not a store path name"),
    ] {
        let error = fail_with(1, &mut world.drover(bad));
        assert!(error.contains(want), "{bad:?}: {error}");
    }
}

#[test]
fn a_source_that_cannot_be_archived_leaves_nothing() {
    let world = World::new();
    std::fs::create_dir(world.path("work/d")).unwrap();
    succeed(&mut world.nix("mkfifo", ["d/pipe"]));
    let error = fail_with(1, &mut world.drover(["add", "d"]));
    assert!(error.contains("d/pipe` has an unsupported type"), "{error}");
    assert_eq!(std::fs::read_dir(world.store()).unwrap().count(), 0);
}

#[test]
fn derivations_go_through_json_and_back() {
    let world = World::new();
    let (drv, _) = graph(&world);
    let name = drv.rsplit('/').next().unwrap();
    let shown = succeed(&mut world.drover(["derivation", "show", &drv])).stdout;
    let shown: serde_json::Value = serde_json::from_slice(&shown).unwrap();
    let mut one = shown["derivations"][name].clone();
    let add = || world.drover(["derivation", "add"]);
    let back = fed(&mut add(), one.to_string().as_bytes());
    assert_eq!(text(&back), drv);
    let out = text(&succeed(&mut world.nix("nix-store", ["--query", "--outputs", &drv])));
    assert_eq!(succeed(&mut world.drover(["derivation", "show", &out])).stdout.len(), {
        succeed(&mut world.drover(["derivation", "show", &drv])).stdout.len()
    });
    let all = succeed(&mut world.drover(["derivation", "show", "-r", &drv])).stdout;
    let all: serde_json::Value = serde_json::from_slice(&all).unwrap();
    assert_eq!(all["derivations"].as_object().unwrap().len(), 3);

    one["name"] = "renamed".into();
    let error = refused(&mut add(), one.to_string().as_bytes());
    assert!(error.contains("incorrect output"), "{error}");
    one["outputs"] = serde_json::json!({ "out": {} });
    one["env"] = serde_json::json!({});
    let new = text(&fed(&mut add(), one.to_string().as_bytes()));
    assert!(new.ends_with("-renamed.drv"), "{new}");
    succeed(&mut world.nix("nix-store", ["--query", "--outputs", &new]));
    world.nix_verifies();
    one["inputs"]["srcs"] = serde_json::json!(["7h7qgvs4kgzsn8a6rb273saxyqh4jxlz-hello"]);
    let error = refused(&mut add(), one.to_string().as_bytes());
    assert!(error.contains("is not valid"), "{error}");
    for bad in ["", "{", "[]", "{\"name\": 3}"] {
        let error = refused(&mut add(), bad.as_bytes());
        assert!(error.contains("derivation JSON on standard input: "), "{error}");
    }
}

/// What `nix derivation show` printed of all derivations of a store; with its paths, inputs before
/// what needs them, and all that is no derivation.
fn recorded(file: &str) -> (String, Vec<(String, Value)>, BTreeSet<String>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/derivation_json/2.34");
    let text = std::fs::read_to_string(folder.join(file)).unwrap();
    let shown: Value = serde_json::from_str(&text).unwrap();
    let mut left = shown["derivations"].as_object().unwrap().clone();
    let mut sources = BTreeSet::new();
    let mut ordered = Vec::new();
    let sources_of = |drv: &Value| {
        let srcs = drv["inputs"]["srcs"].as_array().unwrap().clone();
        srcs.into_iter().map(|source| source.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    while !left.is_empty() {
        let ready = |drv: &Value| {
            let mut inputs = drv["inputs"]["drvs"].as_object().unwrap().keys();
            !inputs.any(|input| left.contains_key(input))
                && !sources_of(drv).iter().any(|source| left.contains_key(source))
        };
        let name = left.iter().find(|(_, drv)| ready(drv)).unwrap().0.clone();
        let drv = left.remove(&name).unwrap();
        sources.extend(sources_of(&drv).into_iter().filter(|source| !source.ends_with(".drv")));
        ordered.push((name, drv));
    }
    (text, ordered, sources)
}

#[test]
fn recorded_json_is_stored_and_shown_byte_for_byte() {
    let written = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/derivations/2.34");
    let mut count = 0;
    for file in ["plain.json", "structured.json", "experimental.json", "dynamic.json"] {
        let world = World::new();
        let (recorded, drvs, sources) = recorded(file);
        let root = world.path("root");
        let drover = |args: &[&str]| {
            let mut command = world.drover(["--store", root.to_str().unwrap()]);
            // The paths are those of the usual store.
            command.env_remove("NIX_STORE_DIR").args(args);
            command
        };
        let store = root.join("nix/store");
        std::fs::create_dir_all(&store).unwrap();
        let mut registration = String::new();
        for source in sources {
            std::fs::write(store.join(&source), "").unwrap();
            registration.push_str(&format!("/nix/store/{source}\n\n0\n"));
        }
        fed(&mut drover(&["register"]), registration.as_bytes());
        let mut paths = Vec::new();
        for (name, drv) in &drvs {
            let path = format!("/nix/store/{name}");
            let added = fed(&mut drover(&["derivation", "add"]), drv.to_string().as_bytes());
            assert_eq!(text(&added), path);
            let bytes = std::fs::read(store.join(name)).unwrap();
            assert!(bytes == std::fs::read(written.join(name)).unwrap(), "{path}");
            paths.push(path);
        }
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let show = [&["derivation", "show"], &paths[..]].concat();
        let shown = succeed(&mut drover(&show)).stdout;
        assert!(shown == recorded.as_bytes(), "{file}: {}", String::from_utf8_lossy(&shown));
        // Of those that nothing needs, and with what they need: all.
        let needed = |path: &&&str| {
            let name = path.rsplit('/').next().unwrap();
            let built = |drv: &Value| drv["inputs"]["drvs"].get(name).is_some();
            let source = |drv: &Value| drv["inputs"]["srcs"].to_string().contains(name);
            drvs.iter().any(|(_, drv)| built(drv) || source(drv))
        };
        let ends: Vec<&str> = paths.iter().filter(|path| !needed(path)).copied().collect();
        assert!(ends.len() < paths.len() || file == "structured.json", "{file}");
        let show = [&["derivation", "show", "-r"], &ends[..]].concat();
        let shown = succeed(&mut drover(&show)).stdout;
        assert!(shown == recorded.as_bytes(), "-r: {file}: {}", String::from_utf8_lossy(&shown));
        count += paths.len();
    }
    assert!(count > 70, "only {count} derivations");
}

#[test]
fn hashes_are_those_of_nix_in_every_form() {
    let world = World::new();
    let tree = world.path("work/tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("file"), "contents\n").unwrap();
    symlink("file", tree.join("link")).unwrap();
    std::fs::write(world.path("work/empty"), "").unwrap();
    for function in ["md5", "sha1", "sha256", "sha512"] {
        for (form, theirs) in [
            ("base16", "--base16"),
            ("base32", "--base32"),
            ("nix32", "--base32"),
            ("base64", "--base64"),
            ("sri", "--sri"),
        ] {
            for (what, paths) in
                [("file", &["empty", "tree/file"][..]), ("path", &["tree", "empty", "tree/file"])]
            {
                let ours = [&["hash", what, "--algo", function, "--format", form], paths].concat();
                let nix = [&["hash", what, "--type", function, theirs], paths].concat();
                let ours = succeed(&mut world.drover(ours)).stdout;
                let nix = succeed(&mut world.nix("nix", nix)).stdout;
                let shown = String::from_utf8_lossy(&ours);
                assert!(ours == nix, "{what} {function} {form}: {shown}");
                assert_eq!(shown.lines().count(), paths.len());
            }
        }
    }
}

#[test]
fn a_broken_or_missing_derivation_is_named() {
    let world = World::new();
    let (drv, _) = graph(&world);
    std::fs::set_permissions(&drv, PermissionsExt::from_mode(0o644)).unwrap();
    std::fs::write(&drv, "Derive([").unwrap();
    let error = fail_with(1, &mut world.drover(["derivation", "show", &drv]));
    assert!(error.contains(&format!("cannot read derivation `{drv}`: ")), "{error}");
    std::fs::remove_file(&drv).unwrap();
    let error = fail_with(1, &mut world.drover(["query", "--outputs", &drv]));
    assert!(error.contains(&drv), "{error}");
    let missing = format!("{}/7h7qgvs4kgzsn8a6rb273saxyqh4jxlz-x.drv", world.store().display());
    let error = fail_with(1, &mut world.drover(["derivation", "show", &missing]));
    assert!(error.contains("is not valid"), "{error}");
}

#[test]
fn recipes_become_derivations_that_nix_builds() {
    let world = World::new();
    std::fs::create_dir(world.path("work/sub")).unwrap();
    std::fs::write(world.path("work/sub/numbers.txt"), "2\n1\n").unwrap();
    let recipe = "[draft]\nbuilder = \"/bin/sh\"\n\
                  args = [\"-c\", \"/bin/sort $numbers_txt > $out\"]\n\
                  sources = [\"numbers.txt\"]\n\n[report]\nbuilder = \"/bin/sh\"\n\
                  args = [\"-c\", \"/bin/cat $draft > $out\"]\ninputs = [\"draft\"]\n";
    std::fs::write(world.path("work/sub/jobs.toml"), recipe).unwrap();
    let args = ["derivation", "instantiate", "sub/jobs.toml"];
    let drv = text(&succeed(&mut world.drover(args)));
    assert!(drv.ends_with("-report.drv"), "{drv}");
    assert_eq!(text(&succeed(&mut world.drover(args))), drv, "a second time changes nothing");
    world.nix_verifies();
    let one = ["derivation", "instantiate", "sub/jobs.toml#draft"];
    assert!(text(&succeed(&mut world.drover(one))).ends_with("-draft.drv"));
    let realise = ["--realise", "--no-gc-warning", &drv];
    let built = text(&succeed(&mut world.nix("nix-store", realise)));
    assert_eq!(std::fs::read_to_string(built).unwrap(), "1\n2\n");

    std::fs::remove_file(world.path("work/sub/numbers.txt")).unwrap();
    let error = fail_with(1, &mut world.drover(args));
    assert!(error.contains("sub/jobs.toml:4: cannot use source `numbers.txt`"), "{error}");
    let error = fail_with(1, &mut world.drover(["derivation", "instantiate", "none.toml"]));
    assert!(error.contains("cannot read recipe `none.toml`"), "{error}");
    let other = ["derivation", "instantiate", "sub/jobs.toml#drafd"];
    let error = fail_with(1, &mut world.drover(other));
    assert!(error.contains("there is no table `drafd`"), "{error}");
}

#[test]
fn logs_are_printed_or_missed() {
    let world = World::new();
    let (drv, all) = graph(&world);
    let base = all.iter().find(|path| path.ends_with("-base.drv")).unwrap();
    let nix = succeed(&mut world.nix("nix-store", ["--read-log", base]));
    assert_eq!(succeed(&mut world.drover(["log", base])).stdout, nix.stdout);
    assert_eq!(nix.stdout, b"made base\n");
    std::fs::remove_dir_all(world.path("log/drvs")).unwrap();
    let error = fail_with(1, &mut world.drover(["log", &drv]));
    assert!(error.contains(&format!("build log of `{drv}` is not available")), "{error}");
}

#[test]
fn registration_is_that_of_nix() {
    let world = World::new();
    let (drv, all) = graph(&world);
    let dump = succeed(&mut world.nix("nix-store", ["--dump-db"])).stdout;
    assert_eq!(succeed(&mut world.drover(["dump-db"])).stdout, dump);
    let some: Vec<_> = all.iter().rev().cloned().collect();
    let with = |first: &str| [first.to_owned()].into_iter().chain(some.clone());
    let nix = succeed(&mut world.nix("nix-store", with("--dump-db"))).stdout;
    assert_eq!(succeed(&mut world.drover(with("dump-db"))).stdout, nix);

    let var = world.path("var");
    for flags in [&["register"][..], &["register", "--hash-given"]] {
        std::fs::remove_dir_all(&var).unwrap();
        fed(&mut world.drover(flags), &dump);
        assert_eq!(succeed(&mut world.nix("nix-store", ["--dump-db"])).stdout, dump);
        world.nix_verifies();
        let out = text(&succeed(&mut world.drover(["query", "--outputs", &drv])));
        let found = text(&succeed(&mut world.drover(["query", "--valid-derivers", &out])));
        assert_eq!(found, drv, "outputs of derivations are known");
    }
}

#[test]
fn registration_without_hashes_walks_the_trees() {
    let world = World::new();
    let path = world.store().join("7h7qgvs4kgzsn8a6rb273saxyqh4jxlz-hello");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("file"), "x").unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
    let record = format!("{}\n\n0\n", path.display());
    fed(&mut world.drover(["register"]), record.as_bytes());
    let dump = succeed(&mut world.drover(["dump-db"])).stdout;
    world.nix_verifies();
    assert_eq!(std::fs::metadata(path.join("file")).unwrap().permissions().mode() & 0o777, 0o444);
    std::fs::remove_dir_all(world.path("var")).unwrap();
    fed(&mut world.nix("nix-store", ["--register-validity"]), record.as_bytes());
    assert_eq!(succeed(&mut world.drover(["dump-db"])).stdout, dump, "as Nix registers it");
}

#[test]
fn broken_registration_changes_nothing() {
    let world = World::new();
    let (_, _) = graph(&world);
    let dump = succeed(&mut world.drover(["dump-db"])).stdout;
    std::fs::remove_dir_all(world.path("var")).unwrap();
    for cut in (1..dump.len() - 1).step_by(97) {
        if dump[cut - 1] == b'\n' {
            continue;
        }
        let error = refused(&mut world.drover(["register", "--hash-given"]), &dump[..cut]);
        assert!(error.contains("standard input: registration is malformed in line "), "{error}");
    }
    let gone = format!("{}/7h7qgvs4kgzsn8a6rb273saxyqh4jxlz-x\n\n0\n", world.store().display());
    let error = refused(&mut world.drover(["register"]), gone.as_bytes());
    assert!(error.contains("cannot register `"), "{error}");
    assert!(error.contains("-x`: No such file"), "{error}");
    let many = format!("{}/7h7qgvs4kgzsn8a6rb273saxyqh4jxlz-x\n\n99999999999999\n", "/nix/store");
    refused(&mut world.drover(["register"]), many.as_bytes());
    assert_eq!(text(&succeed(&mut world.drover(["dump-db"]))), "");
}

#[test]
fn archives_go_both_ways() {
    let world = World::new();
    let tree = world.path("work/tree");
    std::fs::create_dir_all(tree.join("sub/deep")).unwrap();
    std::fs::write(tree.join("sub/file"), "hello\n").unwrap();
    std::fs::write(tree.join("empty"), "").unwrap();
    symlink("sub", tree.join("link")).unwrap();
    let nix = succeed(&mut world.nix("nix-store", ["--dump", "tree"])).stdout;
    let nar = succeed(&mut world.drover(["nar", "dump", "tree"])).stdout;
    assert_eq!(nar, nix);
    fed(&mut world.drover(["nar", "restore", "copy"]), &nar);
    assert_eq!(succeed(&mut world.nix("nix-store", ["--dump", "copy"])).stdout, nar);
    let hash = text(&succeed(&mut world.drover(["hash", "path", "tree"])));
    assert_eq!(hash, text(&succeed(&mut world.nix("nix", ["hash", "path", "tree"]))));
    let error = refused(&mut world.drover(["nar", "restore", "copy"]), &nar);
    assert!(error.contains("it is there already"), "{error}");

    std::fs::write(world.path("work/a.nar"), &nar).unwrap();
    let flags: [&[&str]; 6] =
        [&[], &["-R"], &["-l"], &["-R", "-l"], &["--json"], &["--json", "-R"]];
    for flags in flags {
        for path in ["/", "/sub", "/sub/file", "/link", "/empty"] {
            let args = [&["nar", "ls"], flags, &["a.nar", path]].concat();
            let theirs = succeed(&mut world.nix("nix", &args)).stdout;
            let ours = succeed(&mut world.drover(&args)).stdout;
            let (ours, theirs) =
                (String::from_utf8(ours).unwrap(), String::from_utf8(theirs).unwrap());
            if flags.contains(&"--json") {
                let parse = |t: &str| serde_json::from_str::<serde_json::Value>(t).unwrap();
                assert_eq!(parse(&ours), parse(&theirs), "{args:?}");
            } else {
                assert_eq!(ours, theirs, "{args:?}");
            }
        }
    }
    let error = fail_with(1, &mut world.drover(["nar", "ls", "a.nar", "/none"]));
    assert!(error.contains("path `/none` does not exist"), "{error}");
}

#[test]
fn broken_archives_are_refused() {
    let world = World::new();
    std::fs::write(world.path("work/file"), "hello").unwrap();
    let nar = succeed(&mut world.drover(["nar", "dump", "file"])).stdout;
    for cut in [0, 1, 8, 20, 60, nar.len() - 1] {
        let place = format!("out{cut}");
        let error = refused(&mut world.drover(["nar", "restore", &place]), &nar[..cut]);
        assert!(error.contains("cannot restore the archive on standard input"), "{error}");
        std::fs::write(world.path("work/cut.nar"), &nar[..cut]).unwrap();
        fail_with(1, &mut world.drover(["nar", "ls", "cut.nar"]));
    }
    let mut long = nar.clone();
    long.push(0);
    refused(&mut world.drover(["nar", "restore", "long"]), &long);
    std::fs::write(world.path("work/long.nar"), &long).unwrap();
    let error = fail_with(1, &mut world.drover(["nar", "ls", "long.nar"]));
    assert!(error.contains("bytes follow its end"), "{error}");
    let error = refused(&mut world.drover(["nar", "restore", "garbage"]), &[0xff; 4096]);
    assert!(error.contains("not a NAR archive"), "{error}");
    fail_with(1, &mut world.drover(["nar", "dump", "none"]));
    let error = refused(&mut world.drover(["nar", "restore", "no/folder/x"]), &nar);
    assert!(error.contains("no/folder"), "{error}");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let world = World::new();
    std::fs::write(world.path("work/big"), vec![7; 1 << 20]).unwrap();
    let (drv, _) = graph(&world);
    let commands: [&[&str]; 5] = [
        &["nar", "dump", "big"],
        &["query", "--tree", &drv],
        &["dump-db"],
        &["path-info", "-r", &drv],
        &["derivation", "show", "-r", &drv],
    ];
    for arguments in commands {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = world.drover(arguments).stdout(writer).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", texts(&output));
        assert_eq!(texts(&output), "stdout:\n\nstderr:\n", "{arguments:?}");
    }
}

/// drover as somebody who may write nothing of `world`: another user where we are root.
fn powerless(world: &World, arguments: &[&str]) -> Command {
    let program = world.own_program();
    let root = nix::unistd::Uid::effective().is_root();
    let mut command = if root { world.command("setpriv") } else { world.command(&program) };
    if root {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
    }
    command.args(arguments);
    command
}

#[test]
fn a_store_that_cannot_be_written_can_be_asked() {
    let world = World::new();
    let (drv, _) = graph(&world);
    std::fs::write(world.path("work/file"), "contents").unwrap();
    succeed(world.command("chmod").args(["-R", "a+rX,a-w"]).arg(world.path("")));
    let want = succeed(&mut world.nix("nix-store", ["--query", "--requisites", &drv])).stdout;
    let local = ["--store", "local"];
    let ask = [&local[..], &["query", "--requisites", &drv]].concat();
    let got = succeed(&mut powerless(&world, &ask));
    assert_eq!(got.stdout, want);
    assert!(String::from_utf8_lossy(&got.stderr).contains("warning: no permission to write"));
    for write in [&["add", "file"][..], &["register"], &["derivation", "instantiate", "x.toml"]] {
        let arguments = [&local[..], write].concat();
        let error = fail_with(1, &mut powerless(&world, &arguments));
        assert!(error.contains("no permission to write `"), "{write:?}: {error}");
        assert!(error.contains("choose another store with `--store`"), "{write:?}: {error}");
    }
    succeed(world.command("chmod").args(["-R", "u+w"]).arg(world.path("")));
}

#[test]
fn a_full_standard_output_is_named() {
    let world = World::new();
    let (drv, _) = graph(&world);
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    for arguments in [
        &["query", "--requisites", &drv][..],
        &["path-info", "--json", &drv],
        &["nar", "dump", &drv],
        &["build", "--no-link", &drv],
        &["build", "--no-link", "--json", &drv],
        &["dump-db"],
        &["config", "show"],
    ] {
        let error = fail_with(1, world.drover(arguments).stdout(full()));
        let want = "cannot write to standard output: No space left on device";
        assert!(error.contains(want), "{arguments:?}: {error}");
    }
}
