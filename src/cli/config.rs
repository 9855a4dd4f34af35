//! One resolution of flags, environment and files into plain values that nobody changes.
//!
//! [`Config::resolve`] is called once by `cli::main`; commands and the engine read the result.
//! It knows what a setting's text means as a value; the syntax of files is `config_files`, the
//! choice of a store `config_store`. Invariant: nothing below `cli` reads a file of settings or
//! the environment.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use super::config_files::{ConfigError, Origin, Value, Values};
use super::config_store::{self, StoreChoice};
use super::environment::Environment;
use super::settings::{self, Lookup};

/// Where drover's own settings of the whole system are.
const OWN_FILE: &str = "/etc/drover/drover.conf";

/// A setting given on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// Name of the setting.
    pub name: String,
    /// Its value as given.
    pub value: String,
    /// How it was given, e.g. `--max-jobs`.
    pub flag: String,
}

/// How isolated builds must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxMode {
    /// Every build.
    Always,
    /// Not those that opt out, nor fixed outputs.
    Relaxed,
    /// None.
    Never,
}

/// What bounds one build and how many there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Building {
    /// Builders at work at the same time; 0 builds nothing here.
    pub max_jobs: usize,
    /// `NIX_BUILD_CORES`; never 0.
    pub cores: usize,
    /// Go on after a failure.
    pub keep_going: bool,
    /// Keep build folders of failed builds.
    pub keep_failed: bool,
    /// Seconds from start to end.
    pub timeout: Option<NonZeroU64>,
    /// Seconds without a byte of log.
    pub max_silent_time: Option<NonZeroU64>,
    /// Bytes of log.
    pub max_log_size: Option<NonZeroU64>,
    /// Where temporary folders are made; `None`: `builds` in the state folder.
    pub build_dir: Option<PathBuf>,
    /// Values for `impureEnvVars` before those of the caller's environment.
    pub impure_env: BTreeMap<String, String>,
}

/// What can be built here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// This machine's system.
    pub system: String,
    /// Other systems.
    pub extra: BTreeSet<String>,
    /// Features that derivations may require.
    pub features: BTreeSet<String>,
}

/// How builders are kept apart from the machine and each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Isolating {
    /// What is asked for.
    pub sandbox: SandboxMode,
    /// Build without where it is impossible.
    pub fallback: bool,
    /// Group of build users.
    pub users_group: Option<String>,
    /// What `__hostPaths` of derivations may open.
    pub allowed_host_paths: Vec<PathBuf>,
    /// Extended attributes that outputs may keep.
    pub ignored_acls: BTreeSet<String>,
}

/// Build logs and what is shown of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logging {
    /// Store logs.
    pub keep: bool,
    /// Compress them.
    pub compress: bool,
    /// Lines shown with a failure.
    pub lines: usize,
    /// List what will be built or fetched.
    pub print_missing: bool,
}

/// How the store writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storing {
    /// Contents reach the disk before they are called valid.
    pub fsync_store_paths: bool,
    /// The database reaches the disk before a commit ends.
    pub fsync_metadata: bool,
    /// The database uses a write-ahead log.
    pub use_sqlite_wal: bool,
    /// The store folder may be a symbolic link.
    pub allow_symlinked_store: bool,
}

/// Where paths may be fetched, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Substituting {
    /// Fetch at all.
    pub enabled: bool,
    /// Fetch also what a derivation wants built.
    pub always_allow: bool,
    /// Build what a source has but could not give.
    pub fallback: bool,
    /// Paths fetched at the same time; at least 1.
    pub max_jobs: usize,
    /// Sources.
    pub sources: Vec<String>,
    /// Only signed paths.
    pub require_sigs: bool,
    /// Keys whose signatures are trusted.
    pub trusted_keys: Vec<String>,
}

/// All that was decided before the work begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Which store, and where its folders are.
    pub store: StoreChoice,
    /// Bounds of builds.
    pub building: Building,
    /// What can be built here.
    pub platform: Platform,
    /// How builders are kept apart.
    pub isolating: Isolating,
    /// Logs.
    pub logging: Logging,
    /// How the store writes.
    pub storing: Storing,
    /// Sources of paths.
    pub substituting: Substituting,
    /// The environment, for `impureEnvVars` and the terminal.
    pub environment: Environment,
    /// Every setting as text and where it came from.
    pub values: Values,
}

impl Config {
    /// Resolves everything. `flags` are applied last, in their order.
    ///
    /// # Errors
    /// [`ConfigError`] naming the place of the wrong value.
    pub fn resolve(env: Environment, flags: &[Override]) -> Result<Self, ConfigError> {
        Self::resolve_with(env, flags, Path::new(OWN_FILE))
    }

    fn resolve_with(env: Environment, flags: &[Override], own: &Path) -> Result<Self, ConfigError> {
        let mut values = Values::new(super::platform::defaults());
        if let Some(remote) = env.get("NIX_REMOTE") {
            let text = remote.to_string_lossy();
            values.set("store", &text, Origin::Variable("NIX_REMOTE"))?;
        }
        values.apply_all(&env, own)?;
        if env.get("NIX_IGNORE_SYMLINK_STORE").is_some_and(|v| v == "1") {
            let origin = Origin::Variable("NIX_IGNORE_SYMLINK_STORE");
            values.set("allow-symlinked-store", "true", origin)?;
        }
        set_flags(&mut values, flags)?;
        let store = config_store::choose(&env, &Reader(&values).value("store"))?;
        Self::from_values(env, values, store)
    }

    fn from_values(
        environment: Environment,
        values: Values,
        store: StoreChoice,
    ) -> Result<Self, ConfigError> {
        let read = Reader(&values);
        Ok(Self {
            store,
            building: building(&read)?,
            platform: platform(&read),
            isolating: isolating(&read)?,
            logging: Logging {
                keep: read.bool("keep-build-log"),
                compress: read.bool("compress-build-log"),
                lines: read.size("log-lines"),
                print_missing: read.bool("print-missing"),
            },
            storing: Storing {
                fsync_store_paths: read.bool("fsync-store-paths"),
                fsync_metadata: read.bool("fsync-metadata"),
                use_sqlite_wal: read.bool("use-sqlite-wal"),
                allow_symlinked_store: read.bool("allow-symlinked-store"),
            },
            substituting: substituting(&read),
            environment,
            values,
        })
    }

    /// Judges flags alone, for commands that need no configuration; the warnings.
    ///
    /// # Errors
    /// [`ConfigError`] naming the flag of the wrong value.
    pub fn check(env: &Environment, flags: &[Override]) -> Result<Vec<String>, ConfigError> {
        let mut values = Values::new(super::platform::defaults());
        set_flags(&mut values, flags)?;
        let read = Reader(&values);
        building(&read)?;
        isolating(&read)?;
        let store = read.value("store");
        // What the environment says of the store is nothing to those commands.
        if store.origin != Origin::Default {
            config_store::choose(env, &store)?;
        }
        Ok(values.warnings)
    }

    /// What there is to say about the configuration, each once.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.values.warnings
    }
}

fn set_flags(values: &mut Values, flags: &[Override]) -> Result<(), ConfigError> {
    for Override { name, value, flag } in flags {
        values.set(name, value, Origin::Flag(flag.clone()))?;
    }
    Ok(())
}

/// Reads texts that were checked when they were set.
struct Reader<'v>(&'v Values);

impl Reader<'_> {
    fn value(&self, name: &str) -> Value {
        match settings::lookup(name) {
            Lookup::Known(setting, _) => self.0.get(setting),
            Lookup::Unused | Lookup::Unknown => {
                Value { text: String::new(), origin: Origin::Default }
            }
        }
    }

    fn text(&self, name: &str) -> String {
        self.value(name).text
    }

    fn bool(&self, name: &str) -> bool {
        self.text(name) == "true"
    }

    fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or(0)
    }

    fn size(&self, name: &str) -> usize {
        usize::try_from(self.number(name)).unwrap_or(usize::MAX)
    }

    fn limit(&self, name: &str) -> Option<NonZeroU64> {
        NonZeroU64::new(self.number(name))
    }

    fn words<C: FromIterator<String>>(&self, name: &str) -> C {
        self.text(name).split_ascii_whitespace().map(str::to_owned).collect()
    }

    fn wrong(&self, name: &str, allowed: &'static str) -> ConfigError {
        let Value { text, origin } = self.value(name);
        ConfigError::Value { origin, name: name.to_owned(), value: text, allowed }
    }

    fn absolute(&self, name: &str, text: &str) -> Result<PathBuf, ConfigError> {
        let path = PathBuf::from(text);
        if path.is_absolute() { Ok(path) } else { Err(self.wrong(name, "absolute paths")) }
    }
}

fn building(read: &Reader<'_>) -> Result<Building, ConfigError> {
    let processors = super::platform::processors();
    let build_dir = read.text("build-dir");
    let build_dir = match build_dir.as_str() {
        "" => None,
        dir => Some(read.absolute("build-dir", dir)?),
    };
    let pair = |word: &String| {
        let (name, value) = word.split_once('=')?;
        (!name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
    };
    let impure_env = read.words::<Vec<_>>("impure-env").iter().map(pair).collect::<Option<_>>();
    let jobs = read.text("max-jobs");
    Ok(Building {
        max_jobs: if jobs == "auto" { processors } else { read.size("max-jobs") },
        cores: Some(read.size("cores")).filter(|&n| n > 0).unwrap_or(processors),
        keep_going: read.bool("keep-going"),
        keep_failed: read.bool("keep-failed"),
        timeout: read.limit("timeout"),
        max_silent_time: read.limit("max-silent-time"),
        max_log_size: read.limit("max-build-log-size"),
        build_dir,
        impure_env: impure_env
            .ok_or_else(|| read.wrong("impure-env", "words of the form `name=value`"))?,
    })
}

fn platform(read: &Reader<'_>) -> Platform {
    Platform {
        system: read.text("system"),
        extra: read.words("extra-platforms"),
        features: read.words("system-features"),
    }
}

fn isolating(read: &Reader<'_>) -> Result<Isolating, ConfigError> {
    let allowed = read.words::<Vec<_>>("allowed-host-paths");
    let allowed = allowed.iter().map(|path| read.absolute("allowed-host-paths", path));
    Ok(Isolating {
        sandbox: match read.text("sandbox").as_str() {
            "false" => SandboxMode::Never,
            "relaxed" => SandboxMode::Relaxed,
            _ => SandboxMode::Always,
        },
        fallback: read.bool("sandbox-fallback"),
        users_group: Some(read.text("build-users-group")).filter(|g| !g.is_empty()),
        allowed_host_paths: allowed.collect::<Result<_, _>>()?,
        ignored_acls: read.words("ignored-acls"),
    })
}

fn substituting(read: &Reader<'_>) -> Substituting {
    Substituting {
        enabled: read.bool("substitute"),
        always_allow: read.bool("always-allow-substitutes"),
        fallback: read.bool("fallback"),
        max_jobs: read.size("max-substitution-jobs").max(1),
        sources: read.words("substituters"),
        require_sigs: read.bool("require-sigs"),
        trusted_keys: read.words("trusted-public-keys"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flag(name: &str, value: &str) -> Override {
        Override { name: name.into(), value: value.into(), flag: format!("--{name}") }
    }

    fn resolve(config: &str, flags: &[Override]) -> Result<Config, String> {
        let env = Environment::of([
            ("NIX_CONF_DIR", "/no/such"),
            ("NIX_USER_CONF_FILES", "/no/such/file"),
            ("HOME", "/no/such/home"),
            ("NIX_CONFIG", config),
        ]);
        Config::resolve_with(env, flags, Path::new("/no/such/own")).map_err(|e| e.to_string())
    }

    #[test]
    fn defaults_are_safe() {
        let config = resolve("", &[]).unwrap();
        assert_eq!(config.building.max_jobs, super::super::platform::processors());
        assert!(config.building.cores > 0);
        assert!(config.storing.fsync_store_paths);
        assert!(!config.isolating.fallback);
        assert_eq!(config.isolating.sandbox, SandboxMode::Always);
        assert_eq!(config.logging.lines, 10);
        assert!(config.substituting.sources.is_empty());
        assert_eq!(config.building.timeout, None);
        assert!(config.platform.features.contains("big-parallel"));
    }

    #[test]
    fn flags_win_over_files() {
        let flags = [flag("timeout", "2K"), flag("max-jobs", "0"), flag("keep-going", "true")];
        let config = resolve("timeout = 5\nmax-jobs = 5\nsandbox = relaxed", &flags).unwrap();
        assert_eq!(config.building.timeout.map(NonZeroU64::get), Some(2048));
        assert_eq!(config.building.max_jobs, 0);
        assert!(config.building.keep_going);
        assert_eq!(config.isolating.sandbox, SandboxMode::Relaxed);
    }

    #[test]
    fn wrong_values_name_their_place() {
        let cases = [
            ("\nbuild-dir = x", "NIX_CONFIG:2: setting `build-dir` has the wrong value `x`"),
            ("impure-env = a=b c", "NIX_CONFIG:1: setting `impure-env` has the wrong value"),
            ("allowed-host-paths = /a b", "NIX_CONFIG:1: setting `allowed-host-paths` has"),
            ("store = ssh://x", "NIX_CONFIG:1: cannot use the store `ssh://x`"),
        ];
        for (config, want) in cases {
            let got = resolve(config, &[]).unwrap_err();
            assert!(got.starts_with(want), "{got}");
        }
        let got = resolve("", &[flag("timeout", "-1")]).unwrap_err();
        assert!(got.starts_with("--timeout: setting `timeout` has the wrong value `-1`"), "{got}");
    }
}
