//! The table of settings: one row each, from which configuration files, `drover config show` and
//! the README's table of changed defaults are made.
//!
//! It knows names, types and defaults, not where values come from (`config_files`) nor what they
//! decide (`config`). Names and defaults are those of Nix 2.34 except where a row says what Nix
//! has instead. Invariant: a name or alias occurs once in all of [`SETTINGS`] and [`UNUSED`].

mod unused;

pub use unused::UNUSED;

/// What a setting holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `true`, `yes`, `1`, `false`, `no` or `0`.
    Bool,
    /// A whole number, K, M, G and T allowed.
    Number,
    /// A whole number or `auto`.
    Jobs,
    /// One text, taken as it is.
    Text,
    /// Words between spaces; `extra-` appends.
    Words,
    /// `true`, `relaxed` or `false`.
    Sandbox,
}

impl Kind {
    /// What may be written, for error messages.
    #[must_use]
    pub fn allowed(self) -> &'static str {
        match self {
            Self::Bool => "`true`, `yes`, `1`, `false`, `no` or `0`",
            Self::Number => "a whole number, with K, M, G or T after it if you like",
            Self::Jobs => "a whole number or `auto`",
            Self::Text => "any text",
            Self::Words => "words with spaces between them",
            Self::Sandbox => "`true`, `relaxed` or `false`",
        }
    }

    /// Checks a value and brings it to its one form: `true`, `2048`, words with one space between.
    #[must_use]
    pub fn normal(self, value: &str) -> Option<String> {
        match self {
            Self::Bool => bool_of(value).map(|b| b.to_string()),
            Self::Number => number(value).map(|n| n.to_string()),
            Self::Jobs if value == "auto" => Some(value.to_owned()),
            Self::Jobs => number(value).map(|n| n.to_string()),
            Self::Text => Some(value.to_owned()),
            Self::Words => Some(value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")),
            Self::Sandbox if value == "relaxed" => Some(value.to_owned()),
            Self::Sandbox => bool_of(value).map(|b| b.to_string()),
        }
    }
}

/// Reads a truth value as Nix writes it.
#[must_use]
pub fn bool_of(value: &str) -> Option<bool> {
    match value {
        "true" | "yes" | "1" => Some(true),
        "false" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// Reads a whole number with K, M, G or T (powers of 1024, either case) after it.
#[must_use]
pub fn number(value: &str) -> Option<u64> {
    let (digits, shift) = match value.as_bytes().last()?.to_ascii_uppercase() {
        b'K' => (&value[..value.len() - 1], 10),
        b'M' => (&value[..value.len() - 1], 20),
        b'G' => (&value[..value.len() - 1], 30),
        b'T' => (&value[..value.len() - 1], 40),
        _ => (value, 0),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Its name, Nix's where Nix has it.
    pub name: &'static str,
    /// Older names that are still read.
    pub aliases: &'static [&'static str],
    /// What it holds.
    pub kind: Kind,
    /// The value where nothing sets it; `@name` is computed (see `config`).
    pub default: &'static str,
    /// What Nix has as default where that differs.
    pub nix_default: Option<&'static str>,
    /// One line about it.
    pub doc: &'static str,
}

const fn row(
    name: &'static str,
    aliases: &'static [&'static str],
    kind: Kind,
    default: &'static str,
    doc: &'static str,
) -> Setting {
    Setting { name, aliases, kind, default, nix_default: None, doc }
}

const fn changed(setting: Setting, nix_default: &'static str) -> Setting {
    Setting { nix_default: Some(nix_default), ..setting }
}

use Kind::{Bool, Jobs, Number, Sandbox, Text, Words};

/// All settings that drover uses, by name.
pub const SETTINGS: &[Setting] = &[
    row("allow-symlinked-store", &[], Bool, "false", "the store folder may be a symbolic link"),
    row(
        "allowed-host-paths",
        &[],
        Words,
        "",
        "what a derivation's `__hostPaths` may open of the host",
    ),
    row(
        "always-allow-substitutes",
        &[],
        Bool,
        "false",
        "fetch even what its derivation wants built (`allowSubstitutes`)",
    ),
    row(
        "build-dir",
        &[],
        Text,
        "",
        "where temporary build folders are made; empty: in the state folder",
    ),
    row(
        "build-users-group",
        &[],
        Text,
        "",
        "group whose members run builders; empty: the caller runs them",
    ),
    row(
        "compress-build-log",
        &["build-compress-log"],
        Bool,
        "true",
        "compress build logs with bzip2",
    ),
    row("cores", &["build-cores"], Number, "0", "NIX_BUILD_CORES of builders; 0: all processors"),
    row(
        "extra-platforms",
        &[],
        Words,
        "@extra-platforms",
        "systems besides `system` that can be built here",
    ),
    row(
        "fallback",
        &["build-fallback"],
        Bool,
        "false",
        "build what a source has but could not give",
    ),
    row("fsync-metadata", &[], Bool, "true", "the database reaches the disk before a commit ends"),
    changed(
        row(
            "fsync-store-paths",
            &[],
            Bool,
            "true",
            "contents reach the disk before they are called valid",
        ),
        "false",
    ),
    row(
        "ignored-acls",
        &[],
        Words,
        "security.csm security.selinux system.nfs4_acl",
        "extended attributes that outputs may keep",
    ),
    row(
        "impure-env",
        &[],
        Words,
        "",
        "`name=value` words for `impureEnvVars`, before the caller's own",
    ),
    row("keep-build-log", &["build-keep-log"], Bool, "true", "store build logs"),
    row("keep-failed", &[], Bool, "false", "keep the build folder of a failed build"),
    row("keep-going", &[], Bool, "false", "go on with what does not depend on a failure"),
    changed(row("log-lines", &[], Number, "10", "lines of log shown with a failure"), "25"),
    row(
        "max-build-log-size",
        &["build-max-log-size"],
        Number,
        "0",
        "bytes of log after which a builder is ended; 0: no limit",
    ),
    changed(
        row(
            "max-jobs",
            &["build-max-jobs"],
            Jobs,
            "auto",
            "builders at work at the same time; `auto`: as many as processors",
        ),
        "1",
    ),
    row(
        "max-silent-time",
        &["build-max-silent-time"],
        Number,
        "0",
        "seconds without output after which a builder is ended; 0: no limit",
    ),
    row(
        "max-substitution-jobs",
        &["substitution-max-jobs"],
        Number,
        "16",
        "paths fetched at the same time",
    ),
    row("print-missing", &[], Bool, "true", "list what will be built or fetched before it is"),
    row("require-sigs", &[], Bool, "true", "take only paths with a trusted signature from sources"),
    row(
        "sandbox",
        &["build-use-chroot", "build-use-sandbox"],
        Sandbox,
        "true",
        "builders see only their inputs",
    ),
    changed(
        row(
            "sandbox-fallback",
            &[],
            Bool,
            "false",
            "build without isolation where it is impossible",
        ),
        "true",
    ),
    row("store", &[], Text, "auto", "`auto`, `local` or the folder of a store of its own"),
    row(
        "substitute",
        &["build-use-substitutes"],
        Bool,
        "true",
        "fetch paths instead of building them",
    ),
    changed(
        row("substituters", &["binary-caches"], Words, "", "where paths may be fetched"),
        "https://cache.nixos.org/",
    ),
    row("system", &[], Text, "@system", "system of this machine, as derivations name it"),
    row("system-features", &[], Words, "@system-features", "features that derivations may require"),
    row(
        "timeout",
        &["build-timeout"],
        Number,
        "0",
        "seconds after which a builder is ended; 0: no limit",
    ),
    row(
        "trusted-public-keys",
        &["binary-cache-public-keys"],
        Words,
        "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=",
        "keys whose signatures are trusted",
    ),
    row("use-sqlite-wal", &[], Bool, "true", "the database uses a write-ahead log"),
];

/// Whether a value replaces or is added to what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `name = value`.
    Replace,
    /// `extra-name = value`.
    Append,
}

/// What a name in a configuration file means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// A setting of the table.
    Known(&'static Setting, Mode),
    /// A setting of Nix that drover has no use for.
    Unused,
    /// Nothing.
    Unknown,
}

/// Finds a setting by name, alias or `extra-` name.
#[must_use]
pub fn lookup(name: &str) -> Lookup {
    if let Some(setting) = find(name) {
        return Lookup::Known(setting, Mode::Replace);
    }
    let extra = name.strip_prefix("extra-");
    if let Some(setting) = extra.and_then(find).filter(|s| s.kind == Words) {
        return Lookup::Known(setting, Mode::Append);
    }
    let unused = UNUSED.contains(&name) || extra.is_some_and(|n| UNUSED.contains(&n));
    if unused { Lookup::Unused } else { Lookup::Unknown }
}

fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|s| s.name == name || s.aliases.contains(&name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_occur_once_and_in_order() {
        let mut seen = BTreeSet::new();
        for setting in SETTINGS {
            assert!(seen.insert(setting.name), "{}", setting.name);
            assert!(setting.aliases.iter().all(|a| seen.insert(a)), "{}", setting.name);
            let computed = setting.default.starts_with('@');
            assert!(computed || setting.kind.normal(setting.default).is_some(), "{}", setting.name);
            assert_ne!(setting.nix_default, Some(setting.default));
        }
        assert!(SETTINGS.is_sorted_by_key(|s| s.name));
        assert!(UNUSED.iter().all(|name| seen.insert(name)));
    }

    #[test]
    fn numbers_have_suffixes() {
        assert_eq!(number("0"), Some(0));
        assert_eq!(number("2K"), Some(2048));
        assert_eq!(number("3m"), Some(3 << 20));
        assert_eq!(number("1T"), Some(1 << 40));
        for bad in ["", "K", "-1", "+1", "1.5", "1KB", " 1", "99999999999999999999", "99999999T"] {
            assert_eq!(number(bad), None, "{bad}");
        }
    }

    #[test]
    fn extra_appends_to_lists_alone() {
        let of = |name| match lookup(name) {
            Lookup::Known(setting, mode) => Some((setting.name, mode)),
            Lookup::Unused | Lookup::Unknown => None,
        };
        assert_eq!(of("extra-platforms"), Some(("extra-platforms", Mode::Replace)));
        assert_eq!(of("extra-extra-platforms"), Some(("extra-platforms", Mode::Append)));
        assert_eq!(of("extra-binary-caches"), Some(("substituters", Mode::Append)));
        assert_eq!(of("build-timeout"), Some(("timeout", Mode::Replace)));
        assert_eq!(lookup("extra-max-jobs"), Lookup::Unknown);
        assert_eq!(lookup("extra-experimental-features"), Lookup::Unused);
        assert_eq!(lookup("maxjobs"), Lookup::Unknown);
    }

    #[test]
    fn the_changed_defaults_are_these() {
        let changed: Vec<_> =
            SETTINGS.iter().filter(|s| s.nix_default.is_some()).map(|s| s.name).collect();
        let want =
            ["fsync-store-paths", "log-lines", "max-jobs", "sandbox-fallback", "substituters"];
        assert_eq!(changed, want);
    }
}
