//! drover and real Nix on one store: what Nix instantiates both build alike, and each reads what
//! the other wrote.

use std::collections::BTreeMap;

use crate::support::{World, fail_with, lines, shell, succeed, text};

/// Derivations of many kinds; the builders run the host's shell.
fn varied() -> String {
    let quiet_env = "env | grep -v -e ^TMP= -e ^TEMP= -e ^TMPDIR= -e ^TEMPDIR= -e ^NIX_BUILD_TOP= \
                     -e ^PWD= -e Path= -e ^NIX_ATTRS_ | LC_ALL=C sort > $out";
    let base = shell("base", "", "mkdir $out; echo base > $out/text; ln -s text $out/link");
    let two = shell(
        "two",
        "inherit base; outputs = [ \"out\" \"dev\" ];",
        "mkdir -p $out/bin $dev; echo $base $dev > $out/bin/tool; chmod 755 $out/bin/tool; \
         echo $base > $dev/notes; echo no $$ > /dev/null",
    );
    let own = shell("own", "", "mkdir $out; echo $out/share > $out/self; mkdir $out/empty");
    let modes = shell(
        "modes",
        "",
        "mkdir $out; cd $out; echo a > plain; echo b > 'with space'; echo c > \u{fc}nic\u{f6}de; \
         chmod 777 plain; chmod 400 'with space'; mkdir -m 700 private; ln plain hard; \
         chmod 755 \u{fc}nic\u{f6}de; ln -s /nowhere dangling; mkfifo x; rm x; touch -d @77 plain",
    );
    let flat = shell(
        "flat",
        "outputHashMode = \"flat\"; outputHashAlgo = \"sha256\"; outputHash = \
         \"5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03\";",
        "echo hello > $out",
    );
    let recursive = shell(
        "recursive",
        "outputHashMode = \"recursive\"; outputHashAlgo = \"sha1\"; outputHash = \
         \"@RECURSIVE@\";",
        "mkdir $out; echo hello > $out/file",
    );
    let pass = shell(
        "pass",
        "passAsFile = [ \"big\" ]; big = \"line one\\nline two\\n\"; inherit base;",
        "cp $bigPath $out; cat $bigPath >&2",
    );
    let environment =
        shell("environment", "A = \"x y\"; B = \"\"; C = \"\\t\\\"\\\\\";", quiet_env);
    let graph = shell(
        "graph",
        "exportReferencesGraph = [ \"refs\" two \"more\" base ];",
        "cat refs more > $out",
    );
    let attrs = shell(
        "attrs",
        "__structuredAttrs = true; list = [ 1 2 \"three\" ]; deep.er = { a = null; b = 1.5; }; \
         flag = true; off = false; text = \"it's\"; inherit base;",
        ". $NIX_ATTRS_SH_FILE; cat $NIX_ATTRS_JSON_FILE $NIX_ATTRS_SH_FILE >\"''${outputs[out]}\"",
    );
    let attrs = attrs.replace("\"/bin/sh\"", "\"/bin/bash\"");
    let recursive = recursive.replace("@RECURSIVE@", "0000000000000000000000000000000000000000");
    format!(
        "let base = {base}; two = {two}; in rec {{ inherit base two; dev = two.dev; own = {own}; \
         modes = {modes}; flat = {flat}; pass = {pass}; environment = {environment}; \
         graph = {graph}; attrs = {attrs}; bad = {recursive}; \
         all = {}; }}",
        shell(
            "all",
            "inherit base two own modes flat pass environment graph attrs; inherit dev;",
            "echo $base $two $dev $own $modes $flat $pass $environment $graph $attrs > $out"
        )
    )
}

/// `nix-store --dump-db` as records by path.
fn records(dump: &str, store: &str) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    let mut lines = dump.lines();
    while let Some(path) = lines.next() {
        assert!(path.starts_with(store), "not a path: {path}");
        let mut record: Vec<String> = lines.by_ref().take(4).map(str::to_owned).collect();
        let count: usize = record[3].parse().unwrap();
        let mut references: Vec<_> = lines.by_ref().take(count).map(str::to_owned).collect();
        references.sort();
        record.extend(references);
        all.insert(path.to_owned(), record);
    }
    all
}

#[test]
fn both_engines_make_the_same_store() {
    let world = World::new();
    world.configure("cores = 3");
    let expression = format!("({}).all", varied());
    let store = world.store().display().to_string();

    let drv = world.instantiate_one(&expression);
    succeed(&mut world.nix("nix-store", ["--realise", "--no-gc-warning", &drv]));
    let by_nix = text(&succeed(&mut world.nix("nix-store", ["--dump-db"])));
    world.wipe();

    assert_eq!(world.instantiate_one(&expression), drv);
    let output = succeed(&mut world.drover(["build", "--no-link", &drv]));
    let out = text(&output);
    let by_drover = text(&succeed(&mut world.nix("nix-store", ["--dump-db"])));
    let (nix, drover) = (records(&by_nix, &store), records(&by_drover, &store));
    assert_eq!(nix.keys().collect::<Vec<_>>(), drover.keys().collect::<Vec<_>>());
    for (path, record) in &nix {
        assert_eq!(record, &drover[path], "{path}: hash, size, deriver, references");
    }
    assert!(drover.contains_key(&out));
    let own_dump = text(&succeed(&mut world.drover(["dump-db"])));
    assert_eq!(records(&own_dump, &store), drover, "drover dump-db says what Nix says");

    world.nix_verifies();
    assert_eq!(world.leftovers(), Vec::<String>::new());
    let valid = succeed(&mut world.nix("nix-store", ["--query", "--references", &out]));
    assert_eq!(lines(&valid).len(), 10);
    let second = succeed(&mut world.nix("nix-store", ["--realise", "--no-gc-warning", &drv]));
    assert_eq!(text(&second), out, "Nix has nothing to do");
}

#[test]
fn logs_go_both_ways() {
    let world = World::new();
    let script = "echo to stdout; echo to stderr >&2; printf 'no line end'; echo > $out";
    let drv = world.instantiate_one(&shell("logged", "", script));
    succeed(&mut world.drover(["build", "--no-link", &drv]));
    let expected = "to stdout\nto stderr\nno line end";
    let by_nix = succeed(&mut world.nix("nix-store", ["--read-log", &drv]));
    assert_eq!(String::from_utf8_lossy(&by_nix.stdout), expected);
    assert_eq!(text(&succeed(&mut world.nix("nix", ["log", &drv]))), expected);

    let drv = world.instantiate_one(&shell("other", "", "echo from nix; echo > $out"));
    succeed(&mut world.nix("nix-store", ["--realise", "--no-gc-warning", &drv]));
    assert_eq!(text(&succeed(&mut world.drover(["log", &drv]))), "from nix");
    let out = text(&succeed(&mut world.nix("nix-store", ["--query", "--outputs", &drv])));
    assert_eq!(text(&succeed(&mut world.drover(["log", &out]))), "from nix");
}

#[test]
fn queries_answer_as_nix_does() {
    let world = World::new();
    let drv = world.instantiate_one(&format!("({}).all", varied()));
    let out = text(&succeed(&mut world.drover(["build", "--no-link", &drv])));
    let sorted = |mut all: Vec<String>| {
        all.sort();
        all
    };
    for question in
        ["references", "requisites", "referrers", "referrers-closure", "deriver", "hash", "size"]
    {
        for path in [&out, &drv] {
            if question == "deriver" && path == &drv {
                continue;
            }
            let flag = format!("--{question}");
            let nix = succeed(&mut world.nix("nix-store", ["--query", &flag, path]));
            let drover = succeed(&mut world.drover(["query", &flag, path]));
            assert_eq!(sorted(lines(&drover)), sorted(lines(&nix)), "{question} of {path}");
        }
    }
    for question in ["--outputs", "--tree", "--graph"] {
        let nix = succeed(&mut world.nix("nix-store", ["--query", question, &drv]));
        let drover = succeed(&mut world.drover(["query", question, &drv]));
        assert_eq!(sorted(lines(&drover)), sorted(lines(&nix)), "{question} of {drv}");
    }
}

#[test]
fn registration_text_goes_both_ways() {
    let world = World::new();
    let drv = world.instantiate_one(&shell("reg", "", "mkdir $out; echo $out > $out/x"));
    succeed(&mut world.drover(["build", "--no-link", &drv]));
    let dump = succeed(&mut world.drover(["dump-db"])).stdout;
    let file = world.path("work/dump");
    std::fs::write(&file, &dump).unwrap();
    std::fs::remove_dir_all(world.path("var")).unwrap();
    succeed(world.nix("nix-store", ["--load-db"]).stdin(std::fs::File::open(&file).unwrap()));
    world.nix_verifies();
    assert_eq!(succeed(&mut world.nix("nix-store", ["--dump-db"])).stdout.len(), dump.len());
    std::fs::remove_dir_all(world.path("var")).unwrap();
    succeed(world.drover(["register"]).stdin(std::fs::File::open(&file).unwrap()));
    world.nix_verifies();
    assert_eq!(succeed(&mut world.drover(["dump-db"])).stdout, dump);
}

#[test]
fn hash_mismatch_is_told_as_nix_tells_it() {
    let world = World::new();
    let drv = world.instantiate_one(&format!("({}).bad", varied()));
    let nix = fail_with(102, &mut world.nix("nix-store", ["--realise", "--no-gc-warning", &drv]));
    let drover = fail_with(102, &mut world.drover(["build", "--no-link", &drv]));
    let got = nix.lines().find_map(|line| line.trim().strip_prefix("got:")).unwrap().trim();
    assert!(drover.contains(got), "drover names the hash that Nix found, {got}:\n{drover}");
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[test]
fn the_result_link_is_a_root_for_nix() {
    let world = World::new();
    let drv = world.instantiate_one(&shell("kept", "", "echo kept > $out"));
    let out = text(&succeed(&mut world.drover(["build", &drv])));
    let link = world.path("work/result");
    assert_eq!(std::fs::read_link(&link).unwrap().to_str(), Some(out.as_str()));
    world.nix_deletes(["--gc"]);
    assert!(std::path::Path::new(&out).exists(), "the collector of Nix left it alone");
    std::fs::remove_file(link).unwrap();
    world.nix_deletes(["--gc"]);
    assert!(!std::path::Path::new(&out).exists(), "without the link it is garbage");
}
