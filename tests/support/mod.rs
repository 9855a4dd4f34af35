//! The world a test lives in: a store of its own, drover and real Nix on it.
#![expect(clippy::disallowed_methods, reason = "tests run programs and read their environment")]

pub mod running;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A scratch store that drover and Debian's Nix share. Gone when dropped.
pub struct World {
    dir: TempDir,
}

impl World {
    /// An empty store with a configuration for both engines: no sandbox, no build users.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("drover-test-").tempdir().unwrap();
        let world = Self { dir };
        for sub in ["store", "var", "log", "etc", "home", "work"] {
            std::fs::create_dir(world.path(sub)).unwrap();
        }
        world.configure("");
        world
    }

    /// Writes `nix.conf` with `extra` lines after the usual ones.
    pub fn configure(&self, extra: &str) {
        let conf = format!(
            "sandbox = false\nbuild-users-group =\nsubstituters =\n\
             experimental-features = nix-command\n{extra}\n"
        );
        std::fs::write(self.path("etc/nix.conf"), conf).unwrap();
    }

    /// Empties store, database and logs; settings stay.
    pub fn wipe(&self) {
        for sub in ["store", "var", "log"] {
            let dir = self.path(sub);
            let chmod = Command::new("chmod").args(["-R", "u+w"]).arg(&dir).status().unwrap();
            assert!(chmod.success());
            std::fs::remove_dir_all(&dir).unwrap();
            std::fs::create_dir(&dir).unwrap();
        }
    }

    /// A path in the world's folder.
    pub fn path(&self, sub: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(sub)
    }

    /// The store folder.
    pub fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// A command whose environment points at this world.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.path("home"))
            .env("NIX_STORE_DIR", self.path("store"))
            .env("NIX_STATE_DIR", self.path("var"))
            .env("NIX_LOG_DIR", self.path("log"))
            .env("NIX_CONF_DIR", self.path("etc"))
            .env("NIX_REMOTE", "")
            .current_dir(self.path("work"))
            .stdin(Stdio::null());
        command
    }

    /// drover with these arguments.
    pub fn drover<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_drover"));
        command.args(args);
        command
    }

    /// A copy of drover that another user may run. A process of its own makes it: a descriptor of
    /// ours that a child of another test inherits would keep the program "text busy".
    pub fn own_program(&self) -> PathBuf {
        let program = self.path("drover");
        if !program.exists() {
            let mut install = self.command("install");
            succeed(install.args(["-m", "755", env!("CARGO_BIN_EXE_drover")]).arg(&program));
        }
        program
    }

    /// A program of real Nix with these arguments.
    pub fn nix<S: AsRef<OsStr>>(&self, name: &str, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.command(name);
        command.args(args);
        command
    }

    /// Deletes with real Nix, `nix-store` with these arguments. Its collector looks at what all
    /// processes of the machine have open and gives up on a path that is too long, such as one of
    /// another test: then it is run again.
    pub fn nix_deletes<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) {
        let args: Vec<_> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        for _ in 0..500 {
            let output = self.nix("nix-store", &args).output().unwrap();
            if output.status.success() {
                return;
            }
            let foreign = String::from_utf8_lossy(&output.stderr).contains("File name too long");
            assert!(foreign, "nix-store {args:?}: {}", texts(&output));
        }
        panic!("the collector of Nix never got through");
    }

    /// Evaluates `expression` with real Nix; returns the paths of the derivations.
    pub fn instantiate(&self, expression: &str) -> Vec<String> {
        let file = self.path("work/expression.nix");
        std::fs::write(&file, expression).unwrap();
        lines(&succeed(&mut self.nix("nix-instantiate", [file])))
    }

    /// Evaluates to one derivation.
    pub fn instantiate_one(&self, expression: &str) -> String {
        let mut all = self.instantiate(expression);
        assert_eq!(all.len(), 1, "one derivation expected: {all:?}");
        all.remove(0)
    }

    /// `nix-store --verify --check-contents`: panics if real Nix finds anything wrong.
    pub fn nix_verifies(&self) {
        let output = succeed(&mut self.nix("nix-store", ["--verify", "--check-contents"]));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let bad = ["modified", "missing", "disappeared", "error", "warning"];
        assert!(!bad.iter().any(|word| text.contains(word)), "nix-store --verify says:\n{text}");
    }

    /// Files in the store folder that are not there in peace: locks and temporary folders.
    pub fn leftovers(&self) -> Vec<String> {
        let mut found: Vec<String> = std::fs::read_dir(self.store())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| {
                name.ends_with(".lock") || name.starts_with("tmp-") || name.starts_with('.')
            })
            .filter(|name| name != ".links")
            .collect();
        if let Ok(builds) = std::fs::read_dir(self.path("var/builds")) {
            found.extend(builds.map(|e| format!("builds/{:?}", e.unwrap().file_name())));
        }
        found
    }
}

/// drover under strace, which tells of the system calls `what`, with `options` of strace's own.
/// Panics where processes may not be traced: what is to be seen so cannot be seen otherwise.
pub fn traced(world: &World, what: &str, options: &[&str]) -> Command {
    let probe = world.command("strace").args(["-o", "/dev/null", "true"]).output().unwrap();
    assert!(
        probe.status.success(),
        "strace may not trace here; a container needs the capability SYS_PTRACE: {}",
        texts(&probe)
    );
    let mut command = world.command("strace");
    command.args(["-f", "-y", "-qq", "-e", "signal=none", "-e", &format!("trace={what}")]);
    command.args(options).arg(env!("CARGO_BIN_EXE_drover"));
    command
}

/// Makes a FIFO.
pub fn fifo(path: &Path) -> PathBuf {
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    path.to_owned()
}

/// All living descendants of the process `pid`, each held by a descriptor that is readable when it
/// has ended.
pub fn descendants(pid: u32) -> Vec<(u32, std::os::fd::OwnedFd)> {
    let mut parents = vec![pid];
    let mut found = Vec::new();
    while let Some(parent) = parents.pop() {
        let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten();
        for task in tasks.flatten() {
            let children = std::fs::read_to_string(task.path().join("children"));
            for child in children.unwrap_or_default().split_whitespace() {
                let child: u32 = child.parse().unwrap();
                parents.push(child);
                let number = rustix::process::Pid::from_raw(i32::try_from(child).unwrap()).unwrap();
                let flags = rustix::process::PidfdFlags::empty();
                // One that has just ended is no descendant any more.
                found.extend(rustix::process::pidfd_open(number, flags).map(|fd| (child, fd)));
            }
        }
    }
    found
}

/// What `drover build --json` said.
pub struct Report {
    /// The exit code.
    pub code: i32,
    /// One object for each target.
    pub json: serde_json::Value,
    /// Standard error.
    pub stderr: String,
}

impl World {
    /// `drover build --json --no-link` with these arguments.
    pub fn build<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Report {
        report(self.drover(["build", "--json", "--no-link"]).args(args))
    }

    /// Names (without `.drv`) of derivations whose builder was started, by what was said.
    pub fn started(&self, stderr: &str) -> Vec<String> {
        let start = format!("building '{}/", self.store().display());
        let name = |line: &str| {
            let base = line.strip_prefix(start.as_str())?.strip_suffix(".drv'")?;
            Some(base.split_once('-')?.1.to_owned())
        };
        let mut names: Vec<String> = stderr.lines().filter_map(name).collect();
        names.sort();
        names
    }

    /// Asserts that nothing of a build is left: no locks, no temporary folders.
    pub fn is_tidy(&self) {
        assert_eq!(self.leftovers(), Vec::<String>::new());
    }
}

/// Runs a `drover build --json` and reads what it prints.
pub fn report(command: &mut Command) -> Report {
    let output = command.output().unwrap();
    let json = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{command:?}: {e}\n{}", texts(&output)));
    let code = output.status.code().unwrap();
    Report { code, json, stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
}

/// Expression text of a derivation that runs `script` with the host's shell.
pub fn shell(name: &str, attributes: &str, script: &str) -> String {
    format!(
        "derivation {{ name = \"{name}\"; system = builtins.currentSystem; builder = \"/bin/sh\"; \
         PATH = \"/bin:/usr/bin\"; args = [ \"-c\" ''{script}'' ]; {attributes} }}"
    )
}

/// Runs `command`, which must exit with 0.
pub fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?} failed: {}\n{}", output.status, texts(&output));
    output
}

/// Runs `command`, which must exit with `code`; returns its standard error.
pub fn fail_with(code: i32, command: &mut Command) -> String {
    let output = command.output().unwrap();
    let found = output.status.code();
    assert_eq!(found, Some(code), "{command:?}: {}\n{}", output.status, texts(&output));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Standard output and error of a run, for messages.
pub fn texts(output: &Output) -> String {
    format!(
        "stdout:\n{}\nstderr:\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Standard output as lines.
pub fn lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// Standard output without the last line end.
pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}
