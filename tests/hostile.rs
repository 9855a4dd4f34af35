//! Bad input and hostile builders: an error that names the file and the place, a store that real
//! Nix finds in order afterwards, and everything else goes on.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{World, fail_with, fifo, lines, shell, succeed, text, texts};

/// Derivations of `(name, script)`, in that order.
fn instantiate(world: &World, scripts: &[(&str, &str)]) -> Vec<String> {
    let each = scripts.iter().map(|(name, script)| format!("({})", shell(name, "", script)));
    world.instantiate(&format!("[ {} ]", each.collect::<Vec<_>>().join(" ")))
}

fn writable(path: &str) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
}

fn drover_with_input(world: &World, arguments: &[&str], input: &[u8]) -> String {
    let mut command = world.drover(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may end before it has read all.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", texts(&output));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn truncated_derivations() {
    let world = World::new();
    let names: Vec<String> = (0..24).map(|n| format!("cut{n}")).collect();
    let mut scripts: Vec<_> = names.iter().map(|name| (name.as_str(), "echo > $out")).collect();
    scripts.push(("good", "echo > $out"));
    let drvs = instantiate(&world, &scripts);
    let (good, cut) = drvs.split_last().unwrap();
    for (number, drv) in cut.iter().enumerate() {
        writable(drv);
        let whole = std::fs::read(drv).unwrap();
        std::fs::write(drv, &whole[..whole.len() * number / cut.len()]).unwrap();
    }
    let output = world.drover(["build", "--no-link", "-k"]).args(&drvs).output().unwrap();
    assert_eq!(output.status.code(), Some(100), "{}", texts(&output));
    let built = text(&succeed(&mut world.nix("nix-store", ["--query", "--outputs", good])));
    assert_eq!(lines(&output), [built], "the good one is built");
    for (drv, name) in cut.iter().zip(&names) {
        let error = fail_with(100, &mut world.drover(["build", "--no-link", drv]));
        let place =
            format!("cannot read derivation `{drv}`: derivation `{name}` is malformed at byte");
        assert!(error.contains(&place), "{error}");
        let error = fail_with(1, &mut world.drover(["derivation", "show", drv]));
        assert!(error.contains(drv) && error.contains("at byte"), "{error}");
        assert!(Path::new(drv).exists(), "nothing is lost");
    }
}

#[test]
fn derivations_that_are_no_files() {
    let world = World::new();
    let drv = instantiate(&world, &[("odd", "echo > $out")]).remove(0);
    std::fs::remove_file(&drv).unwrap();
    let expect = |code: i32, kind: &str, why: &str| {
        let report = world.build([&drv]);
        let failure = &report.json[0]["failure"];
        assert_eq!((report.code, &failure["kind"]), (code, &kind.into()), "{}", report.stderr);
        let message = failure["message"].as_str().unwrap();
        assert!(message.contains(&drv) && message.contains(why), "{message}");
        assert!(report.stderr.contains(why), "{}", report.stderr);
        let error = fail_with(1, &mut world.drover(["derivation", "show", &drv]));
        assert!(error.contains(&drv) && error.contains(why), "{error}");
    };
    // The store has lost it: no fault of the derivation.
    expect(1, "engine", "No such file");
    let bad = |why: &str| expect(100, "bad-derivation", why);
    symlink("/dev/zero", &drv).unwrap();
    bad("it is a symlink, not a regular file");
    std::fs::remove_file(&drv).unwrap();
    succeed(world.command("mkfifo").arg(&drv));
    bad("it is a named pipe, not a regular file");
    std::fs::remove_file(&drv).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(&drv).unwrap();
    bad("it is a socket, not a regular file");
    drop(socket);
    std::fs::remove_file(&drv).unwrap();
    std::fs::File::create(&drv).unwrap().set_len(1 << 40).unwrap();
    bad("it has more than ");
    std::fs::remove_file(&drv).unwrap();
    std::fs::create_dir(&drv).unwrap();
    bad("it is a folder, not a regular file");
}

#[test]
fn garbage_through_the_commands() {
    let world = World::new();
    let garbage: Vec<u8> = (0..5000u32).map(|n| (n * n % 251) as u8).collect();
    let error = drover_with_input(&world, &["register"], &garbage);
    assert!(error.contains("line 1"), "{error}");
    let restored = world.path("work/restored");
    let error =
        drover_with_input(&world, &["nar", "restore", restored.to_str().unwrap()], &garbage);
    assert!(error.contains("archive"), "{error}");
    assert!(restored.symlink_metadata().is_err(), "nothing is left of it");
    let file = world.path("work/jobs.toml");
    std::fs::write(&file, &garbage).unwrap();
    let error = fail_with(1, &mut world.drover(["build", file.to_str().unwrap()]));
    assert!(error.contains("jobs.toml"), "{error}");
    std::fs::write(world.path("work/file.nar"), &garbage).unwrap();
    let error = fail_with(1, &mut world.drover(["nar", "ls", "file.nar"]));
    assert!(error.contains("archive"), "{error}");
}

/// Name, script and, where it is refused, words of the reason.
const BUILDERS: &[(&str, &str, Option<&str>)] = &[
    ("etc", "rm -rf $out; ln -s /etc $out", None),
    ("shut", "mkdir -p $out/a/b; echo a > $out/a/b/c; chmod 0 $out/a/b/c $out/a/b $out", None),
    ("lock-written", "echo x > $out.lock; echo > $out", None),
    ("lock-removed", "rm -f $out.lock; echo > $out", None),
    ("homeless", "echo > $out; cd /; rm -rf $NIX_BUILD_TOP", None),
    ("home-is-etc", "cd /; rm -rf $NIX_BUILD_TOP; ln -s /etc $NIX_BUILD_TOP; echo > $out", None),
    ("home-filled", "seq 20000 | xargs touch; echo > $out", None),
    ("mute", "exec 0<&- 1>&- 2>&-; echo > $out", None),
    ("asleep", "(sleep 0.2; kill -CONT $$) & kill -STOP $$; echo > $out", None),
    ("loops", "mkdir $out; cd $out; ln -s loop loop; ln -s . dot; ln -s ../../.. up", None),
    ("long", "mkdir $out; mkdir $out/$(printf %0255d 0); echo > $out/$(printf %0254d 0)", None),
    (
        "bytes",
        "mkdir $out; cd $out; echo > $(printf '\\377\\376'); ln -s $(printf '\\377') l; \
               printf '\\377\\033[31m\\n'; true",
        None,
    ),
    ("lines", "mkdir $out; echo > \"$out/a\nb\"", None),
    ("deep", "mkdir $out; cd $out; mkdir -p $(yes d | head -60 | tr '\\n' /)", None),
    ("wide", "mkdir $out; cd $out; seq 20000 | xargs touch", None),
    ("set-uid", "mkdir $out; cp /bin/true $out/t; chmod 6755 $out/t; chmod 1755 $out", None),
    ("hard", "mkdir $out; echo > $out/a; ln $out/a $out/b; ln $out/a ./c", None),
    (
        "too-deep",
        "mkdir $out; cd $out; mkdir -p $(yes d | head -70 | tr '\\n' /)",
        Some("nested deeper than 64 levels"),
    ),
    ("pipe", "mkfifo $out", Some("unsupported type: it is a named pipe")),
    ("pipe-inside", "mkdir $out; mkfifo $out/p", Some("unsupported type: it is a named pipe")),
    ("open", "mkdir $out; chmod 777 $out", Some("mode 0777; rejecting output 'out'")),
    ("nothing", "exit 0", Some("failed to produce output")),
    ("killer", "echo > $out; kill -9 $PPID; sleep 60", Some("the keeper of the build process")),
];

#[test]
fn errors_do_not_command_the_terminal() {
    let world = World::new();
    let error = drover_with_input(&world, &["register"], b"\x1b]0;pwn\x07\x1b[2J/foo\r\n\n0\n");
    assert!(error.contains("path `/foo` is not in the store"), "{error:?}");
    assert!(error.chars().all(|c| c == '\n' || !c.is_control()), "{error:?}");
    let recipe = world.path("hostile.toml");
    std::fs::write(&recipe, "[a]\nbuilder = \"/bin/sh\"\n\"\\u001b[2Jkey\" = 3\n").unwrap();
    let mut build = world.drover(["build", "--no-link"]);
    let error = fail_with(1, build.arg(&recipe).arg("\x1b[31mnone"));
    assert!(error.contains("unknown key `key`") && error.contains("cannot use `none`"), "{error}");
    assert!(error.chars().all(|c| c == '\n' || !c.is_control()), "{error:?}");
}

#[test]
fn builders_that_mean_no_good() {
    let world = World::new();
    let scripts: Vec<_> = BUILDERS.iter().map(|(name, script, _)| (*name, *script)).collect();
    let drvs = instantiate(&world, &scripts);
    let output = world.drover(["build", "--no-link", "-k", "-j4"]).args(&drvs).output().unwrap();
    assert_eq!(output.status.code(), Some(100), "{}", texts(&output));
    let said = String::from_utf8_lossy(&output.stderr);
    for ((name, _, refused), drv) in BUILDERS.iter().zip(&drvs) {
        let out = text(&succeed(&mut world.nix("nix-store", ["--query", "--outputs", drv])));
        let valid = world.nix("nix-store", ["--check-validity", &out]).output().unwrap();
        assert_eq!(valid.status.success(), refused.is_none(), "{name}:\n{said}");
        if let Some(why) = refused {
            assert!(said.contains(why), "{name} {why}:\n{said}");
        }
    }
    assert!(Path::new("/etc/passwd").exists());
    world.nix_verifies();
    assert_eq!(world.leftovers(), Vec::<String>::new());
    for file in ["set-uid/t", "hard/a", "etc"] {
        let (name, rest) = file.split_once('/').unwrap_or((file, ""));
        let at = scripts.iter().position(|(n, _)| *n == name).unwrap();
        let out = succeed(&mut world.nix("nix-store", ["--query", "--outputs", &drvs[at]]));
        let meta = Path::new(&text(&out)).join(rest).components().as_path().symlink_metadata();
        let meta = meta.unwrap();
        assert_eq!(meta.mtime(), 1, "{file}");
        assert_eq!(meta.mode() & 0o7222, if meta.is_symlink() { 0o222 } else { 0 }, "{file}");
    }
}

/// Extended attributes of the file at `path`, but for those that the system itself sets.
fn attributes(path: &Path) -> Vec<String> {
    let mut names = [0; 4096];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap();
    let names = String::from_utf8(names[..length].to_vec()).unwrap();
    let names = names.split_terminator('\0').filter(|name| !name.starts_with("security."));
    names.map(str::to_owned).collect()
}

#[test]
fn access_lists_and_attributes_of_a_builder_are_gone() {
    let world = World::new();
    // Where attributes are not supported the builder fails, and with it this test.
    let script = "set -e; mkdir -p $out/lib/deep; echo > $out/lib/deep/file; cp /bin/sh $out/run; \
                  ln -s run $out/link; setfacl -m u:1234:rx,d:u:1234:rwx $out; \
                  setfacl -R -m u:1234:rwx,g:99:rw $out/lib $out/run; \
                  setfacl -R -m d:u:1234:rwx $out/lib; echo > $out/lib/inherits; \
                  for f in $out $out/run $out/lib/deep/file; do setfattr -n user.x -v y $f; done; \
                  setfacl -m u:1234:rw $out/lib/inherits; chmod 400 $out/lib/deep/file; \
                  setfacl -m u:1234:r $out/lib/deep/file";
    let drv = world.instantiate_one(&shell("shared", "", script));
    let output = text(&succeed(&mut world.drover(["build", "--no-link", "-L", &drv])));
    let files = [
        ("", 0o555),
        ("run", 0o555),
        ("lib", 0o555),
        ("lib/deep", 0o555),
        ("lib/deep/file", 0o444),
        ("link", 0o777),
    ];
    for (name, mode) in files {
        let path = Path::new(&output).join(name);
        assert_eq!(attributes(&path), Vec::<String>::new(), "{name}");
        let found = path.symlink_metadata().unwrap().mode() & 0o7777;
        assert_eq!(found, mode, "{name}: {found:o}");
    }
    assert_eq!(attributes(&Path::new(&output).join("lib/inherits")), Vec::<String>::new());
    world.nix_verifies();
}

#[test]
fn a_builder_that_changes_the_store() {
    let world = World::new();
    let victim = shell("victim", "", "mkdir $out; echo v > $out/file");
    let other = shell("other", "", "echo o > $out");
    let vandal = shell(
        "vandal",
        "inherit victim other;",
        "chmod -R u+w $victim; echo changed > $victim/file; rm -f $other; echo > $out",
    );
    let drvs = world.instantiate(&format!(
        "let victim = {victim}; other = {other}; in [ ({vandal}) ({}) ]",
        shell("after", "inherit victim;", "cat $victim/file > $out")
    ));
    let before = succeed(&mut world.nix("nix-store", ["--query", "--references", &drvs[0]]));
    succeed(world.drover(["build", "--no-link"]).args(lines(&before)));
    succeed(world.drover(["build", "--no-link"]).args(&drvs[..1]));
    succeed(world.drover(["build", "--no-link"]).args(&drvs[1..]));
    let check = ["-batch", "pragma integrity_check; pragma foreign_key_check;"];
    let mut sqlite = world.command("sqlite3");
    let answer = succeed(sqlite.arg(world.path("var/db/db.sqlite")).args(&check[1..]));
    assert_eq!(text(&answer), "ok");
    let verify = world.nix("nix-store", ["--verify", "--check-contents"]).output().unwrap();
    let said = String::from_utf8_lossy(&verify.stderr);
    assert!(said.contains("was modified"), "real Nix tells what the builder did: {said}");
}

/// 300 small builds and one that needs them all.
fn fan(world: &World) -> String {
    let one = shell("n${toString n}", "", "echo > $out");
    let all = shell("all", "deps = map (n: ITEM) (builtins.genList (n: n) 300);", "echo > $out");
    world.instantiate_one(&all.replace("ITEM", &one))
}

fn limited(world: &World, limits: &str, arguments: &[&str]) -> Command {
    let script = format!("{limits}; exec \"$0\" \"$@\"");
    let mut command = world.command("sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_drover")]).args(arguments);
    command
}

#[test]
fn few_descriptors() {
    let world = World::new();
    let drv = fan(&world);
    let build = ["build", "--no-link", "-j20", drv.as_str()];
    // Builds wait for their rows on the disk: fewer at a time than there are descriptors for.
    succeed(&mut limited(&world, "ulimit -n 64", &build));
    world.nix_verifies();
    let other = world.instantiate_one(&shell("other", "", "echo > $out"));
    succeed(&mut limited(&world, "ulimit -S -n 64", &["build", "--no-link", &other]));
    world.nix_verifies();
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

/// Whatever call finds no descriptor, the run ends, says so and leaves nothing behind.
#[test]
fn next_to_no_descriptors() {
    let world = World::new();
    let one = shell("n${toString n}", "", "echo > $out");
    let all = format!("map (n: {one}) (builtins.genList (n: n) 24)");
    let drvs = world.instantiate(&all);
    let mut ends = std::collections::BTreeSet::new();
    for (limit, drv) in (10..34).zip(&drvs) {
        let mut limited = limited(&world, &format!("ulimit -n {limit}"), &["build", drv]);
        let output = limited.arg("--no-link").output().unwrap();
        ends.insert(output.status.code().unwrap());
        let builds = std::fs::read_dir(world.path("var/builds"));
        assert_eq!(builds.map_or(0, Iterator::count), 0, "{limit}: {}", texts(&output));
    }
    assert_eq!(ends, [0, 1].into(), "too few at first, enough in the end");
    succeed(world.drover(["build", "--no-link"]).args(&drvs));
    world.nix_verifies();
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

/// One run of Nix's collector. It looks through all processes of the machine, and gives up on one
/// whose working folder has a path that is too long: some test here may just have such a process.
fn collect(world: &World) {
    let output = world.nix("nix-store", ["--gc"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let foreign = said.contains("reading symlink: File name too long");
    assert!(output.status.success() || foreign, "{}", texts(&output));
}

#[test]
fn the_collector_of_nix_beside_us() {
    let world = World::new();
    let fifo = world.path("work/gate");
    succeed(world.command("mkfifo").arg(&fifo));
    let first = shell("chain0", "", &format!("read line < {}; echo > $out", fifo.display()));
    let chain = (1..12).fold(first, |before, n| {
        shell(&format!("chain{n}"), &format!("before = {before};"), "cat $before > $out")
    });
    let drv = world.instantiate_one(&chain);
    let mut build = world.drover(["build", "--no-link", &drv]);
    let mut build = build.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // Returns when the first builder reads: everything is loaded by then.
    let mut gate = std::fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    collect(&world);
    gate.write_all(b"go\n").unwrap();
    drop(gate);
    while build.try_wait().unwrap().is_none() {
        collect(&world);
    }
    let output = build.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", texts(&output));
    world.nix_verifies();
}

#[test]
fn recipes_that_never_end() {
    let world = World::new();
    fifo(&world.path("work/pipe.toml"));
    symlink("/dev/zero", world.path("work/zero.toml")).unwrap();
    std::fs::create_dir(world.path("work/folder.toml")).unwrap();
    for recipe in ["pipe.toml", "zero.toml", "folder.toml"] {
        let error = drover_with_input(&world, &["build", recipe], b"");
        assert!(error.contains(recipe) && error.contains("not a regular file"), "{error}");
    }
}

#[test]
fn an_input_of_a_recipe_that_is_not_there() {
    let world = World::new();
    let absent = format!("{}/{}-a.drv", world.store().display(), "a".repeat(32));
    let unknown = format!("{}/{}-b.drv", world.store().display(), "b".repeat(32));
    // A file without a row is no valid path.
    std::fs::copy(world.instantiate_one(&shell("one", "", "echo > $out")), &unknown).unwrap();
    for (input, why) in [(&absent, "No such file"), (&unknown, "is not valid")] {
        let recipe = format!("[x]\nbuilder = \"/bin/sh\"\ninputs = [\"{input}\"]\n");
        std::fs::write(world.path("work/r.toml"), recipe).unwrap();
        let error = fail_with(1, &mut world.drover(["build", "r.toml"]));
        assert!(error.contains("r.toml:3: ") && error.contains(why), "{error}");
        assert!(error.contains(input.as_str()) && error.contains("correct the path"), "{error}");
    }
}

#[test]
fn an_argument_with_a_zero_byte_is_the_fault_of_the_derivation() {
    let world = World::new();
    let drv = world.instantiate_one(&shell("zero", "", "echo @ > $out"));
    let changed: Vec<u8> =
        std::fs::read(&drv).unwrap().iter().map(|&b| if b == b'@' { 0 } else { b }).collect();
    // In place: the row in the database stays as it is.
    std::fs::remove_file(&drv).unwrap();
    std::fs::write(&drv, changed).unwrap();
    let report = world.build([&drv]);
    assert_eq!(report.code, 100, "{}", report.stderr);
    assert_eq!(report.json[0]["failure"]["kind"], "bad-derivation");
    assert!(report.stderr.contains("NUL byte"), "{}", report.stderr);
    world.is_tidy();
}

#[test]
fn a_working_folder_that_is_gone() {
    let world = World::new();
    let drv = world.instantiate_one(&shell("one", "", "echo > $out"));
    let script = "cd \"$1\" && rmdir \"$1\" && exec \"$2\" build \"$3\"";
    let gone = world.path("work/gone");
    std::fs::create_dir(&gone).unwrap();
    let mut command = world.command("/bin/sh");
    command.args(["-c", script, "sh"]).arg(gone).args([env!("CARGO_BIN_EXE_drover"), &drv]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(texts(&output).contains("cannot make the link `result`"), "{}", texts(&output));
}

#[test]
fn derivations_with_wrong_output_paths_get_in_nowhere() {
    let world = World::new();
    let input = shell("input", "", "echo > $out");
    let drv = world.instantiate_one(&shell("x", &format!("input = {input};"), "cat $input > $out"));
    let out = text(&succeed(&mut world.nix("nix-store", ["--query", "--outputs", &drv])));
    let hash = &Path::new(&out).file_name().unwrap().to_str().unwrap()[..32];
    let references = succeed(&mut world.nix("nix-store", ["--query", "--references", &drv]));
    let changed = std::fs::read_to_string(&drv).unwrap().replace(hash, &"0".repeat(32));
    let wrong = world.store().join(format!("{}-x.drv", "1".repeat(32)));
    std::fs::write(&wrong, &changed).unwrap();
    let wrong = wrong.to_str().unwrap();
    let want = "incorrect output".to_owned();
    let references = lines(&references);
    let record = format!("{wrong}\n\n{}\n{}\n", references.len(), references.join("\n"));
    let input = world.path("work/record");
    std::fs::write(&input, record).unwrap();
    let stdin = || std::fs::File::open(&input).unwrap();
    let nix = fail_with(1, world.nix("nix-store", ["--register-validity"]).stdin(stdin()));
    let ours = fail_with(1, world.drover(["register"]).stdin(stdin()));
    for (who, said) in [("nix", nix), ("drover", ours)] {
        assert!(
            said.contains(wrong) && said.contains(&want) && said.contains(&out[..8]),
            "{who}: {said}"
        );
    }
    std::fs::write(world.path("work/x.drv"), &changed).unwrap();
    let ours = fail_with(1, &mut world.drover(["add", "x.drv"]));
    world.is_tidy();
    let nix = fail_with(1, &mut world.nix("nix-store", ["--add", "x.drv"]));
    for (who, said) in [("nix", nix), ("drover", ours)] {
        assert!(said.contains("x.drv") && said.contains(&want), "{who}: {said}");
    }
    let error = fail_with(1, &mut world.drover(["build", "--no-link", wrong]));
    assert!(error.contains(&format!("cannot build missing derivation '{wrong}'")), "{error}");
    // A sound one is taken, by both to the same path with the same outputs.
    std::fs::copy(&drv, world.path("work/x.drv")).unwrap();
    let ours = text(&succeed(&mut world.drover(["add", "x.drv"])));
    let outputs = |path: &str| {
        let sql = format!(
            "select d.path from DerivationOutputs d join ValidPaths v on v.id = d.drv \
             where v.path = '{path}'"
        );
        text(&succeed(world.command("sqlite3").arg(world.path("var/db/db.sqlite")).arg(sql)))
    };
    assert_eq!(outputs(&ours), out);
    world.nix_deletes(["--delete", &ours]);
    assert_eq!(text(&succeed(&mut world.nix("nix-store", ["--add", "x.drv"]))), ours);
    assert_eq!(outputs(&ours), out);
}
