//! Configuration files in the syntax of `nix.conf`: which ones, in which order, and what they say.
//!
//! Knows the syntax (`name = value`, `extra-name`, `include`, `!include`, `#` comments) and the
//! table of settings; knows nothing of what a setting decides. Later values win: the system's
//! `nix.conf`, the user's, `NIX_CONFIG`, then drover's own two files. Every value keeps its
//! [`Origin`], so that a wrong one can be named with file and line.

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::settings::{self, Kind, Lookup, Mode, Setting};
use crate::format::near::nearest;

/// Includes deeper than this are taken for a circle.
const MAX_DEPTH: usize = 32;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nothing set it.
    Default,
    /// A line (from 1) of a file or of `NIX_CONFIG`.
    Line(String, usize),
    /// A flag, or `--option`.
    Flag(String),
    /// An environment variable.
    Variable(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Line(file, line) => write!(f, "{file}:{line}"),
            Self::Flag(flag) => f.write_str(flag),
            Self::Variable(name) => write!(f, "${name}"),
        }
    }
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file is there but cannot be read.
    #[error("cannot read the configuration file {path}: {cause}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        cause: std::io::Error,
    },
    /// An included file is missing.
    #[error("{origin}: the included file {path} does not exist (`!include` would not mind)")]
    Include {
        /// The line with the `include`.
        origin: Origin,
        /// The file.
        path: PathBuf,
    },
    /// Files include each other.
    #[error("{origin}: includes are more than {MAX_DEPTH} deep; do files include each other?")]
    Depth {
        /// The line with the `include`.
        origin: Origin,
    },
    /// A line is no assignment.
    #[error("{origin}: syntax error in `{line}`: expected `name = value` or `include FILE`")]
    Syntax {
        /// The line's place.
        origin: Origin,
        /// The line without its comment.
        line: String,
    },
    /// A line has bytes that are no UTF-8, outside its comment.
    #[error("{origin}: `{line}` has bytes that are not UTF-8; they are allowed in comments only")]
    NotUtf8 {
        /// The line's place.
        origin: Origin,
        /// The line without its comment, readable.
        line: String,
    },
    /// A value is not of the setting's type.
    #[error("{origin}: setting `{name}` has the wrong value `{value}`; allowed is {allowed}")]
    Value {
        /// The value's place.
        origin: Origin,
        /// The setting.
        name: String,
        /// The value.
        value: String,
        /// What may be written.
        allowed: &'static str,
    },
    /// The store cannot be what was asked for.
    #[error("{}cannot use the store `{value}`: {why}", place(origin))]
    Store {
        /// Where it was asked for.
        origin: Origin,
        /// What was asked for.
        value: String,
        /// What is wrong and what to do.
        why: String,
    },
}

/// What goes before a message: nobody wrote a default anywhere.
fn place(origin: &Origin) -> String {
    if *origin == Origin::Default { String::new() } else { format!("{origin}: ") }
}

impl ConfigError {
    /// Whether the command line is what is wrong, and not a file or the environment.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Value { origin, .. } | Self::Store { origin, .. } => {
                matches!(origin, Origin::Flag(_))
            }
            Self::Read { .. }
            | Self::Include { .. }
            | Self::Depth { .. }
            | Self::Syntax { .. }
            | Self::NotUtf8 { .. } => false,
        }
    }
}

/// A setting's value and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// In the one form of its kind.
    pub text: String,
    /// Where it was set last.
    pub origin: Origin,
}

/// Values that something has set, and what there is to say about the rest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Values {
    set: BTreeMap<&'static str, Value>,
    defaults: BTreeMap<&'static str, String>,
    /// Warnings, each once.
    pub warnings: Vec<String>,
}

impl Values {
    /// Nothing set yet; `defaults` are the computed ones, without `@`.
    #[must_use]
    pub fn new(defaults: BTreeMap<&'static str, String>) -> Self {
        Self { defaults, ..Self::default() }
    }

    /// The value of a setting of the table.
    #[must_use]
    pub fn get(&self, setting: &Setting) -> Value {
        let default = || Value { text: self.default_of(setting), origin: Origin::Default };
        self.set.get(setting.name).cloned().unwrap_or_else(default)
    }

    /// The value that a setting has where nothing sets it.
    #[must_use]
    pub fn default_of(&self, setting: &Setting) -> String {
        self.defaults.get(setting.name).map_or(setting.default, String::as_str).into()
    }

    /// Sets what `name` means to `value`.
    ///
    /// # Errors
    /// [`ConfigError::Value`] if the value is not of the setting's kind.
    pub fn set(&mut self, name: &str, value: &str, origin: Origin) -> Result<(), ConfigError> {
        let (setting, mode) = match settings::lookup(name) {
            Lookup::Known(setting, mode) => (setting, mode),
            Lookup::Unused => return Ok(()),
            Lookup::Unknown => {
                self.unknown(name, &origin);
                return Ok(());
            }
        };
        let Some(mut text) = setting.kind.normal(value) else {
            return Err(wrong(setting.kind, name, value, origin));
        };
        if mode == Mode::Append {
            text = format!("{} {text}", self.get(setting).text).trim().to_owned();
        }
        self.set.insert(setting.name, Value { text, origin });
        Ok(())
    }

    /// Each name once, where it is first.
    fn unknown(&mut self, name: &str, origin: &Origin) {
        let text = format!("unknown setting '{name}'");
        if self.warnings.iter().any(|told| told.starts_with(&text)) {
            return;
        }
        let near = nearest(name, settings::SETTINGS.iter().map(|setting| setting.name));
        self.warnings.push(format!("{text} ({origin}){near}"));
    }

    /// Applies a text in the syntax of `nix.conf`. `name` is what messages call it; includes are
    /// relative to `folder`.
    ///
    /// # Errors
    /// [`ConfigError`] with the line at fault.
    pub fn apply(&mut self, text: &str, name: &str, folder: &Path) -> Result<(), ConfigError> {
        self.apply_at(text, name, folder, 0)
    }

    fn apply_at(
        &mut self,
        text: &str,
        name: &str,
        folder: &Path,
        depth: usize,
    ) -> Result<(), ConfigError> {
        for (index, line) in text.lines().enumerate() {
            let origin = Origin::Line(name.to_owned(), index + 1);
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            match words.as_slice() {
                [] => {}
                // It took the place of bytes that are no UTF-8: a path with it would be another.
                _ if line.contains(char::REPLACEMENT_CHARACTER) => {
                    return Err(ConfigError::NotUtf8 { origin, line: line.trim().to_owned() });
                }
                ["include", file] => self.include(&folder.join(file), origin, true, depth)?,
                ["!include", file] => self.include(&folder.join(file), origin, false, depth)?,
                [key, "=", value @ ..] if *key != "=" => self.set(key, &value.join(" "), origin)?,
                _ => return Err(ConfigError::Syntax { origin, line: line.trim().to_owned() }),
            }
        }
        Ok(())
    }

    fn include(
        &mut self,
        path: &Path,
        origin: Origin,
        must_exist: bool,
        depth: usize,
    ) -> Result<(), ConfigError> {
        if depth >= MAX_DEPTH {
            return Err(ConfigError::Depth { origin });
        }
        let text = match read(path) {
            Ok(text) => text,
            Err(_) if !must_exist => return Ok(()),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return Err(ConfigError::Include { origin, path: path.to_owned() });
            }
            Err(cause) => return Err(ConfigError::Read { path: path.to_owned(), cause }),
        };
        self.apply_at(&text, &path.display().to_string(), folder_of(path), depth + 1)
    }

    fn apply_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        match read(path) {
            Ok(text) => self.apply(&text, &path.display().to_string(), folder_of(path)),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(()),
            Err(cause) => Err(ConfigError::Read { path: path.to_owned(), cause }),
        }
    }

    /// Applies all files and `NIX_CONFIG` in their order.
    ///
    /// # Errors
    /// [`ConfigError`] of the first file that cannot be used.
    pub fn apply_all(&mut self, env: &Environment, own: &Path) -> Result<(), ConfigError> {
        for path in nix_files(env) {
            self.apply_file(&path)?;
        }
        if let Some(text) = env.get("NIX_CONFIG") {
            self.apply(&text.to_string_lossy(), "NIX_CONFIG", Path::new("."))?;
        }
        self.apply_file(own)?;
        match env.xdg("XDG_CONFIG_HOME", ".config") {
            Some(folder) => self.apply_file(&folder.join("drover/drover.conf")),
            None => Ok(()),
        }
    }
}

/// Bytes that a configuration file may have.
const MOST_BYTES: u64 = 16 << 20;

/// The text of a file, which may be reached through symlinks and may be `/dev/null`. A pipe is
/// refused: with nobody at its other end no command would ever begin. Bytes that are no UTF-8,
/// which old comments have, are replaced.
fn read(path: &Path) -> std::io::Result<String> {
    use std::io::{Error, Read};
    use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
    let file = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.file_type().is_fifo() {
        return Err(Error::new(ErrorKind::InvalidData, "it is a named pipe, not a file"));
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        let why = format!("it has more than {MOST_BYTES} bytes");
        return Err(Error::new(ErrorKind::FileTooLarge, why));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn wrong(kind: Kind, name: &str, value: &str, origin: Origin) -> ConfigError {
    let (name, value) = (name.to_owned(), value.to_owned());
    ConfigError::Value { origin, name, value, allowed: kind.allowed() }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// Nix's files, the least important first: the system's, then the user's. Of several user files
/// the first that is named is the most important, as in Nix.
fn nix_files(env: &Environment) -> Vec<PathBuf> {
    let conf_dir = env.path("NIX_CONF_DIR").unwrap_or_else(|| "/etc/nix".into());
    let mut files = vec![conf_dir.join("nix.conf")];
    let user: Vec<PathBuf> = if let Some(list) = env.get("NIX_USER_CONF_FILES") {
        std::env::split_paths(list).filter(|p| !p.as_os_str().is_empty()).collect()
    } else {
        let home = env.xdg("XDG_CONFIG_HOME", ".config");
        let system = env.path("XDG_CONFIG_DIRS").unwrap_or_else(|| "/etc/xdg".into());
        let system = std::env::split_paths(&system).collect::<Vec<_>>();
        home.into_iter().chain(system).map(|folder| folder.join("nix/nix.conf")).collect()
    };
    files.extend(user.into_iter().rev());
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(values: &Values, name: &str) -> String {
        match settings::lookup(name) {
            Lookup::Known(setting, _) => values.get(setting).text,
            other => panic!("{name}: {other:?}"),
        }
    }

    fn apply(content: &str) -> Result<Values, String> {
        let mut values = Values::default();
        values.apply(content, "f", Path::new("/")).map_err(|e| e.to_string())?;
        Ok(values)
    }

    #[test]
    fn lines_comments_aliases_and_extra() {
        let content = "# head\n\nsubstituters = a  b # c\nextra-substituters = d\n\
                       build-max-jobs = 3\nkeep-going=x = 1\nfoo = 1\nfoo = 2\nsandbox = no\n";
        let values = apply(content).unwrap();
        assert_eq!(text(&values, "substituters"), "a b d");
        assert_eq!(text(&values, "max-jobs"), "3");
        assert_eq!(text(&values, "sandbox"), "false");
        assert_eq!(text(&values, "timeout"), "0");
        let warnings = [
            "unknown setting 'keep-going=x' (f:6): did you mean `keep-going`?",
            "unknown setting 'foo' (f:7)",
        ];
        assert_eq!(values.warnings, warnings);
    }

    #[test]
    fn errors_name_the_place() {
        let cases = [
            ("\nmax-jobs = zz", "f:2: setting `max-jobs` has the wrong value `zz`; allowed is a"),
            ("keep-going = maybe", "f:1: setting `keep-going` has the wrong value `maybe`"),
            ("includex", "f:1: syntax error in `includex`"),
            ("= 3", "f:1: syntax error in `= 3`"),
            ("include /no/such", "f:1: the included file /no/such does not exist"),
        ];
        for (content, want) in cases {
            let got = apply(content).unwrap_err();
            assert!(got.starts_with(want), "{got}");
        }
        assert!(apply("!include /no/such").is_ok());
    }

    #[test]
    fn comments_may_have_any_bytes_and_nothing_else_may() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        let mut values = Values::default();
        std::fs::write(&file, b"# J\xfcrgen\ncores = 7 # \xff\n").unwrap();
        values.apply_file(&file).unwrap();
        assert_eq!(text(&values, "cores"), "7");
        for (content, line) in [(&b"# \xfc\nsystem = x\xfc\n"[..], 2), (b"\xff = 1\n", 1)] {
            std::fs::write(&file, content).unwrap();
            let error = values.apply_file(&file).unwrap_err().to_string();
            let place = format!("{}:{line}: ", file.display());
            assert!(error.starts_with(&place) && error.contains("not UTF-8"), "{error}");
        }
        values.apply_file(Path::new("/dev/null")).unwrap();
    }

    #[test]
    fn what_never_ends_is_no_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for endless in [pipe.as_path(), Path::new("/dev/zero")] {
            let error = Values::default().apply_file(endless).unwrap_err();
            assert!(matches!(error, ConfigError::Read { .. }), "{error}");
        }
    }

    #[test]
    fn includes_are_relative_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        std::fs::write(dir.path().join("a"), "include sub/b\nlog-lines = 3\n").unwrap();
        std::fs::write(dir.path().join("sub/b"), "include c\n").unwrap();
        std::fs::write(dir.path().join("sub/c"), "cores = 7\n").unwrap();
        std::fs::write(dir.path().join("loop"), "include loop\n").unwrap();
        let mut values = Values::default();
        values.apply_file(&dir.path().join("a")).unwrap();
        assert_eq!(text(&values, "cores"), "7");
        assert_eq!(text(&values, "log-lines"), "3");
        let error = Values::default().apply_file(&dir.path().join("loop")).unwrap_err();
        assert!(matches!(error, ConfigError::Depth { .. }), "{error}");
    }

    #[test]
    fn later_files_win() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, content).unwrap();
            path
        };
        write("etc/nix.conf", "cores = 1\ntimeout = 1\nlog-lines = 1\nkeep-going = 1\n");
        let first = write("u1", "cores = 2\ntimeout = 2\n");
        let second = write("u2", "cores = 3\ntimeout = 3\nlog-lines = 3\n");
        let own = write("own", "max-jobs = 9\nstore = local\n");
        write("xdg/drover/drover.conf", "max-jobs = 8\n");
        let list = std::env::join_paths([&first, &second]).unwrap();
        let env = Environment::of([
            ("NIX_CONF_DIR", dir.path().join("etc").into_os_string()),
            ("NIX_USER_CONF_FILES", list),
            ("NIX_CONFIG", "cores = 4\nmax-jobs = 4".into()),
            ("XDG_CONFIG_HOME", dir.path().join("xdg").into_os_string()),
        ]);
        let mut values = Values::default();
        values.apply_all(&env, &own).unwrap();
        let names = ["cores", "timeout", "log-lines", "keep-going", "max-jobs", "store"];
        let got = names.map(|name| text(&values, name));
        assert_eq!(got, ["4", "2", "3", "true", "8", "local"]);
    }

    #[test]
    fn user_files_follow_xdg() {
        let env = Environment::of([("HOME", "/h"), ("XDG_CONFIG_DIRS", "/a:/b")]);
        let want =
            ["/etc/nix/nix.conf", "/b/nix/nix.conf", "/a/nix/nix.conf", "/h/.config/nix/nix.conf"];
        assert_eq!(nix_files(&env), want.map(PathBuf::from));
    }
}
