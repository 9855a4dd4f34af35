//! What a user asks for: a derivation's outputs or a path as it is.
//!
//! `drv^out,dev`, `drv^*`, `drv` alone (all outputs); `!` is the older separator. It knows
//! neither whether the derivation has these outputs nor whether anything exists.

use std::collections::BTreeSet;
use std::fmt;

use super::store_path::{StorePathError, check_name};
use super::{StoreDir, StorePath};

/// Why a text is not a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DerivedPathError {
    /// The path.
    #[error(transparent)]
    Path(#[from] StorePathError),
    /// Outputs of something that is not a derivation.
    #[error("`{0}` names outputs, but its path does not end in `.drv`")]
    NotADerivation(String),
    /// Nothing, or an empty name, follows the separator.
    #[error("`{0}` names no output: write `^*` for all, or names with commas between them")]
    NoOutput(String),
    /// Outputs of outputs.
    #[error("`{0}` asks for an output of an output (a dynamic derivation): not supported yet")]
    Dynamic(String),
}

/// Which outputs of a derivation are asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OutputsSpec {
    /// All it has.
    All,
    /// These; never empty.
    Names(BTreeSet<String>),
}

/// A target.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DerivedPath {
    /// A path that must be there or come from elsewhere.
    Opaque(StorePath),
    /// Outputs of a derivation.
    Built {
        /// The derivation.
        drv: StorePath,
        /// Which of its outputs.
        outputs: OutputsSpec,
    },
}

impl DerivedPath {
    /// Reads a target: a full path in the store and, for a derivation, its outputs.
    ///
    /// # Errors
    /// [`DerivedPathError`] with the whole text.
    pub fn parse(text: &str, dir: &StoreDir) -> Result<Self, DerivedPathError> {
        let Some((path, names)) = text.split_once(['^', '!']) else {
            let path = dir.parse(text.as_bytes())?;
            return Ok(if path.is_derivation() {
                Self::Built { drv: path, outputs: OutputsSpec::All }
            } else {
                Self::Opaque(path)
            });
        };
        let drv = dir.parse(path.as_bytes())?;
        if !drv.is_derivation() {
            return Err(DerivedPathError::NotADerivation(text.to_owned()));
        }
        if names.contains(['^', '!']) {
            return Err(DerivedPathError::Dynamic(text.to_owned()));
        }
        Ok(Self::Built { drv, outputs: OutputsSpec::parse(names, text)? })
    }

    /// The store path that is named.
    #[must_use]
    pub fn path(&self) -> &StorePath {
        match self {
            Self::Opaque(path) | Self::Built { drv: path, .. } => path,
        }
    }

    /// The text, with `^`.
    #[must_use]
    pub fn print(&self, dir: &StoreDir) -> String {
        match self {
            Self::Opaque(path) => dir.print(path),
            Self::Built { drv, outputs } => format!("{}^{outputs}", dir.print(drv)),
        }
    }
}

impl OutputsSpec {
    /// `text` is the whole target, for errors.
    fn parse(names: &str, text: &str) -> Result<Self, DerivedPathError> {
        if names == "*" {
            return Ok(Self::All);
        }
        let mut set = BTreeSet::new();
        for name in names.split(',') {
            if name.is_empty() {
                return Err(DerivedPathError::NoOutput(text.to_owned()));
            }
            check_name(name.as_bytes())?;
            set.insert(name.to_owned());
        }
        Ok(Self::Names(set))
    }

    /// Whether the output called `name` is asked for.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Names(names) => names.contains(name),
        }
    }
}

impl fmt::Display for OutputsSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Names(names) => {
                for (i, name) in names.iter().enumerate() {
                    let comma = if i == 0 { "" } else { "," };
                    write!(f, "{comma}{name}")?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRV: &str = "/nix/store/7h7qgvs4kgzsn8a6rb273saxyqh4jxlz-hello.drv";

    fn names(text: &str) -> OutputsSpec {
        match DerivedPath::parse(text, &StoreDir::default()).unwrap() {
            DerivedPath::Built { outputs, .. } => outputs,
            DerivedPath::Opaque(path) => panic!("{path} is opaque"),
        }
    }

    #[test]
    fn reads_every_form() {
        assert_eq!(names(DRV), OutputsSpec::All);
        assert_eq!(names(&format!("{DRV}^*")), OutputsSpec::All);
        assert_eq!(names(&format!("{DRV}!*")), OutputsSpec::All);
        let both = OutputsSpec::Names(["dev".to_owned(), "out".to_owned()].into());
        for separator in ["^", "!"] {
            assert_eq!(names(&format!("{DRV}{separator}out,dev")), both);
        }
        let dir = StoreDir::default();
        let plain = &DRV[..DRV.len() - 4];
        let parsed = DerivedPath::parse(plain, &dir).unwrap();
        assert!(matches!(parsed, DerivedPath::Opaque(_)));
        assert_eq!(parsed.print(&dir), plain);
        let text = format!("{DRV}^dev,out");
        assert_eq!(DerivedPath::parse(&text, &dir).unwrap().print(&dir), text);
        assert!(both.contains("dev") && !both.contains("doc"));
    }

    #[test]
    fn refuses_what_names_nothing() {
        let plain = &DRV[..DRV.len() - 4];
        for text in [
            format!("{DRV}^"),
            format!("{DRV}^out,"),
            format!("{DRV}^a b"),
            format!("{DRV}^out^out"),
            format!("{plain}^out"),
            "hello".to_owned(),
            "/nix/store/x.drv^out".to_owned(),
            String::new(),
        ] {
            assert!(DerivedPath::parse(&text, &StoreDir::default()).is_err(), "{text}");
        }
    }
}
