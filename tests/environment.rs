//! What a builder finds around it: variables, arguments, files, descriptors, its place among
//! processes. Beside real Nix where both must agree.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::support::{World, shell, succeed, text};

type Variables = BTreeMap<String, String>;

fn variables(bytes: &str) -> Variables {
    let pairs = bytes.lines().map(|line| line.split_once('=').unwrap());
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The environment that `attributes` lead to, as the builder sees it.
fn seen(world: &World, name: &str, attributes: &str) -> Variables {
    let drv = world.instantiate_one(&shell(name, attributes, "env > $out"));
    let out = text(&succeed(&mut world.drover(["build", "--no-link", &drv])));
    variables(&fs::read_to_string(out).unwrap())
}

/// Attributes of a fixed output that may have any contents in these tests: it is read before its
/// hash is found wrong.
fn fixed(side: &Path) -> (String, String) {
    let attributes = "outputHashMode = \"flat\"; outputHashAlgo = \"sha256\"; outputHash = \
                      \"5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03\";";
    (attributes.to_owned(), format!("env > {}; echo hello > $out", side.display()))
}

#[test]
fn variables_are_those_of_nix() {
    let world = World::new();
    world.configure("cores = 3");
    let attributes = "HOME = \"/mine\"; NIX_STORE = \"/other\"; NIX_BUILD_CORES = \"77\"; \
                      TMPDIR = \"/x\"; PWD = \"/y\"; NIX_LOG_FD = \"9\"; TERM = \"dumb\"; \
                      EMPTY = \"\"; list = [ 1 \"b\" ]; \
                      yes = true; no = false; \"odd.name-1\" = \"z\";";
    let drv = world.instantiate_one(&shell("x", attributes, "env > $out"));
    let environment =
        |output: &std::process::Output| variables(&fs::read_to_string(text(output)).unwrap());
    let by_nix = environment(&succeed(&mut world.nix("nix-store", ["--realise", &drv])));
    world.wipe();
    assert_eq!(world.instantiate_one(&shell("x", attributes, "env > $out")), drv);
    let mut drover = world.drover(["build", "--no-link", &drv]);
    drover.env("LEAK", "1").env("NIX_CONFIG", "").env("LD_LIBRARY_PATH", "/nowhere");
    let by_drover = environment(&succeed(&mut drover));
    let places = ["NIX_BUILD_TOP", "TMPDIR", "TEMPDIR", "TMP", "TEMP", "PWD"];
    let rest = |all: &Variables| -> Variables {
        all.iter()
            .filter(|(name, _)| !places.contains(&name.as_str()))
            .map(|(n, v)| (n.clone(), v.clone()))
            .collect()
    };
    assert_eq!(rest(&by_drover), rest(&by_nix));
    for place in places {
        assert_eq!(by_drover[place], by_drover["NIX_BUILD_TOP"], "{place}");
        assert!(by_drover[place].starts_with(world.path("var/builds").to_str().unwrap()));
    }
    assert_eq!(by_drover["NIX_BUILD_CORES"], "77", "a derivation may say so");
    assert_eq!(
        (by_drover["TERM"].as_str(), by_drover["NIX_LOG_FD"].as_str()),
        ("xterm-256color", "2")
    );
}

#[test]
fn cores_are_told() {
    let world = World::new();
    world.configure("cores = 5");
    assert_eq!(seen(&world, "a", "")["NIX_BUILD_CORES"], "5");
    let drv = world.instantiate_one(&shell("b", "", "echo $NIX_BUILD_CORES > $out"));
    let out = text(&succeed(&mut world.drover(["build", "--no-link", "--cores", "0", &drv])));
    let all = std::thread::available_parallelism().unwrap();
    assert_eq!(fs::read_to_string(out).unwrap().trim(), all.to_string(), "0 is all there are");
}

#[test]
fn impure_variables_reach_fixed_outputs_only() {
    let world = World::new();
    let side = world.path("work/side");
    let (attributes, script) = fixed(&side);
    let wants = "impureEnvVars = [ \"SET\" \"UNSET\" \"CONFIGURED\" ];";
    world.configure(
        "experimental-features = nix-command configurable-impure-env\n\
         impure-env = CONFIGURED=setting",
    );
    let drv = world.instantiate_one(&shell("fixed", &format!("{attributes} {wants}"), &script));
    let mut drover = world.drover(["build", "--no-link", &drv]);
    succeed(drover.env("SET", "a b").env("CONFIGURED", "caller").env("OTHER", "x"));
    let all = variables(&fs::read_to_string(&side).unwrap());
    assert_eq!((all["SET"].as_str(), all["UNSET"].as_str()), ("a b", ""));
    assert_eq!(all["CONFIGURED"], "setting", "the setting comes first");
    assert_eq!(all["NIX_OUTPUT_CHECKED"], "1");
    assert!(!all.contains_key("OTHER"));
    let drv = world.instantiate_one(&shell("pure", wants, "env > $out"));
    let mut drover = world.drover(["build", "--no-link", &drv]);
    let out = text(&succeed(drover.env("SET", "a b")));
    let all = variables(&fs::read_to_string(out).unwrap());
    assert!(!all.contains_key("SET") && !all.contains_key("NIX_OUTPUT_CHECKED"), "{all:?}");
}

#[test]
fn placeholders_and_arguments_arrive() {
    let world = World::new();
    let expression = "derivation { name = \"args\"; system = builtins.currentSystem; \
        builder = \"/bin/sh\"; \
        PATH = \"/bin:/usr/bin\"; outputs = [ \"out\" \"dev\" ]; \
        where = \"${builtins.placeholder \"dev\"}/x\"; \
        args = [ \"-c\" ''printf '%s\\n' \"$0\" \"$@\" \"$where\" > $out; \
        cat /proc/$$/cmdline | tr '\\0' '\\n' | head -n1 > $dev'' \
        (builtins.placeholder \"out\") \"\" \"two words\" \"line\\nend\" \"\u{fc}\" ]; }";
    let make = |world: &World| world.instantiate_one(expression);
    let drv = make(&world);
    let read = |world: &World, output: &str| {
        let names = succeed(&mut world.nix("nix-store", ["--query", "--binding", output, &drv]));
        fs::read_to_string(text(&names)).unwrap()
    };
    succeed(&mut world.nix("nix-store", ["--realise", &drv]));
    let by_nix = (read(&world, "out"), read(&world, "dev"));
    world.wipe();
    make(&world);
    succeed(&mut world.drover(["build", "--no-link", &drv]));
    assert_eq!((read(&world, "out"), read(&world, "dev")), by_nix);
    assert_eq!(by_nix.1, "sh\n", "argv[0] is the base name");
    assert!(!by_nix.0.contains("/1rz4g4znpzjwh1xymhjpm42vipw92pr73vdgl6xs1hycac8kf2n9"));
}

#[test]
fn files_instead_of_variables() {
    let world = World::new();
    let attributes = "big = \"one\\ntwo ${builtins.placeholder \"out\"}\\n\"; empty = \"\"; passAsFile = [ \"big\" \"empty\" \"absent\" ];";
    let script = "echo ''${big-unset} ''${absentPath-unset} $(basename $bigPath) > $out; \
                  cat $bigPath $emptyPath >> $out; stat -c %a $bigPath >> $out; \
                  [ $(dirname $bigPath) = $NIX_BUILD_TOP ] && echo here >> $out";
    let drv = world.instantiate_one(&shell("pass", attributes, script));
    let read = |output: &std::process::Output| fs::read_to_string(text(output)).unwrap();
    let by_nix = read(&succeed(&mut world.nix("nix-store", ["--realise", &drv])));
    world.wipe();
    world.instantiate_one(&shell("pass", attributes, script));
    let by_drover = read(&succeed(&mut world.drover(["build", "--no-link", &drv])));
    assert_eq!(by_drover, by_nix);
    assert!(by_drover.starts_with("unset unset .attr-"), "{by_drover}");
}

#[test]
fn structured_attributes_are_the_only_variables() {
    let world = World::new();
    let attributes = "__structuredAttrs = true; plain = \"p\"; outputs = [ \"out\" \"dev\" ]; \
                      passAsFile = [ \"plain\" ]; \
                      own = builtins.placeholder \"dev\";";
    let script = "/usr/bin/env > vars; . \"$NIX_ATTRS_SH_FILE\"; \
                  echo \"$own\" > ''${outputs[dev]}; \
                  cat vars .attrs.json > ''${outputs[out]}; ls -A >> ''${outputs[out]}";
    let drv = world.instantiate_one(
        &shell("attrs", attributes, script).replace("\"/bin/sh\"", "\"/bin/bash\""),
    );
    let report = world.build([&drv]);
    assert_eq!(report.code, 0, "{}", report.stderr);
    let path = |name: &str| report.json[0]["outputs"][name].as_str().unwrap().to_owned();
    let seen = fs::read_to_string(path("out")).unwrap();
    assert!(!seen.contains("\nplain=") && !seen.contains("\nplainPath="), "{seen}");
    assert!(
        seen.contains("\nNIX_ATTRS_JSON_FILE=") && seen.contains("\nNIX_ATTRS_SH_FILE="),
        "{seen}"
    );
    assert!(!seen.contains("\nout=") && !seen.contains("\n__json="), "{seen}");
    assert!(seen.ends_with(".attrs.json\n.attrs.sh\nvars\n"), "no other files: {seen}");
    assert_eq!(fs::read_to_string(path("dev")).unwrap().trim(), path("dev"));
}

#[test]
fn a_builder_starts_in_a_world_of_its_own() {
    let world = World::new();
    let script = "[ $(readlink /proc/$$/fd/1) = $(readlink /proc/$$/fd/2) ] && same=same; \
                  { umask; pwd; ls /proc/self/fd | wc -l; readlink /proc/self/fd/0; \
                  echo $same; \
                  if (: < /dev/tty) 2> /dev/null; then echo tty; else echo no tty; fi; \
                  cut -d' ' -f6 /proc/$$/stat; echo $$; \
                  while read -r name mask; do case $name in SigBlk:|SigIgn:) echo $name $mask;; \
                  esac; done < /proc/$$/status; ulimit -c; cat; } > report; cp report $out; ls -ld . | cut -c1-10 >> $out";
    let drv = world.instantiate_one(&shell("world", "", script));
    // `script` gives the run a terminal to be kept away from; the rest is what a caller may leave.
    let drover = env!("CARGO_BIN_EXE_drover");
    let call = format!(
        "umask 077; trap '' PIPE USR1; exec 7< /etc/passwd; \
         {drover} build --no-link {drv} > {}/out",
        world.path("work").display()
    );
    succeed(world.command("script").args(["-qec", &call, "/dev/null"]));
    let out = fs::read_to_string(world.path("work/out")).unwrap();
    let seen = fs::read_to_string(out.trim()).unwrap();
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines[0], "0022");
    assert!(lines[1].starts_with(world.path("var/builds").to_str().unwrap()), "{seen}");
    assert_eq!(lines[2], "4", "three and the one that lists them: {seen}");
    assert_eq!((lines[3], lines[4]), ("/dev/null", "same"));
    assert_eq!(lines[5], "no tty");
    assert_eq!(lines[6], lines[7], "a session of its own: {seen}");
    // Read by the shell itself: it blocks signals for a moment when it starts a program.
    assert_eq!(lines[8], "SigBlk: 0000000000000000");
    assert_eq!(lines[9], "SigIgn: 0000000000000000");
    assert_eq!(lines[10], "0", "no core files");
    assert_eq!(lines[11], "drwx------", "{seen}");
    world.is_tidy();
}

#[test]
fn a_build_is_over_when_its_builder_is() {
    let world = World::new();
    let pid = world.path("work/pid").display().to_string();
    // The child keeps the output open for longer than any watchdog.
    let script = format!(
        "(sleep 1000 & echo $! > {pid}); setsid sleep 1000 & echo made > $out; echo $! >> {pid}"
    );
    let drv = world.instantiate_one(&shell("background", "", &script));
    let report = world.build([&drv]);
    assert_eq!(report.code, 0, "{}", report.stderr);
    let took = report.json[0]["stopTime"].as_u64().unwrap()
        - report.json[0]["startTime"].as_u64().unwrap();
    assert!(took < 30, "{took} s");
    for pid in fs::read_to_string(pid).unwrap().lines() {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let gone = stat.is_empty() || stat.contains(") Z ") || !stat.contains("(sleep)");
        assert!(gone, "left behind: {stat}");
    }
    world.is_tidy();
}

#[test]
fn a_builder_may_close_its_output_and_go_on() {
    let world = World::new();
    let pipe = world.path("work/pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let script = format!("exec > /dev/null 2>&1; read x < {}; echo $x > $out", pipe.display());
    let drv = world.instantiate_one(&shell("closed", "", &script));
    let writer = std::thread::spawn(move || fs::write(pipe, "went on\n").unwrap());
    let out = text(&succeed(&mut world.drover(["build", "--no-link", &drv])));
    writer.join().unwrap();
    assert_eq!(fs::read_to_string(out).unwrap(), "went on\n");
}
