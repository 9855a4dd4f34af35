//! What the store knows of a valid path, and the registration text of
//! `nix-store --register-validity` and `--load-db`.
//!
//! A record is a line each of: path; with hashes also the NAR hash and NAR size; deriver or
//! nothing; number of references; each reference (`src/libstore/store-api.cc` of
//! Nix). Reading is strict and names the line; a count reserves no memory. Whether anything is
//! valid is not known here.

use std::collections::BTreeSet;

use super::store_path::StorePathError;
use super::{Algorithm, Hash, HashError, StoreDir, StorePath};

/// Where a valid path came from: the database's `ultimate` column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Origin {
    /// Built or added here: `ultimate` is 1.
    BuiltHere,
    /// Copied or registered from elsewhere: `ultimate` is null.
    #[default]
    Elsewhere,
}

/// A row of `ValidPaths` with its references.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidPathInfo {
    /// The path.
    pub path: StorePath,
    /// sha256 of the path's NAR.
    pub nar_hash: Hash,
    /// Bytes of the path's NAR.
    pub nar_size: u64,
    /// Paths that its contents name, itself included where they do.
    pub references: BTreeSet<StorePath>,
    /// The derivation that made it, if known.
    pub deriver: Option<StorePath>,
    /// Seconds since 1970 of the registration; 0 until it is registered.
    pub registration_time: i64,
    /// Whether it was made here.
    pub origin: Origin,
    /// Signatures, `key:base64` each.
    pub signatures: BTreeSet<String>,
    /// Content address (`fixed:…` or `text:…`), if it has one.
    pub ca: Option<String>,
}

/// Whether records carry hash and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashMode {
    /// They do: `--hash-given`, `--load-db`, `--dump-db`.
    Given,
    /// They do not: plain `--register-validity`, exported graphs.
    Absent,
}

/// One record of registration text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The path.
    pub path: StorePath,
    /// sha256 and bytes of its NAR, in records that carry them.
    pub nar: Option<(Hash, u64)>,
    /// The derivation that made it.
    pub deriver: Option<StorePath>,
    /// What it refers to, itself included where it does.
    pub references: BTreeSet<StorePath>,
}

/// Why a text is not a registration. Lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("registration is malformed in line {line}: {kind}")]
pub struct RegistrationError {
    /// The line.
    pub line: usize,
    /// What is wrong there.
    pub kind: RegistrationErrorKind,
}

/// What is wrong with a line of registration text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationErrorKind {
    /// The text ends within a record, or its last line does not end.
    #[error("the text ends before {0}")]
    Truncated(&'static str),
    /// A path.
    #[error(transparent)]
    Path(#[from] StorePathError),
    /// A hash.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// A number.
    #[error("`{text}` is not {expected}")]
    Number {
        /// The line.
        text: String,
        /// What it must be.
        expected: &'static str,
    },
}

impl Registration {
    /// All of `info` that a record can hold.
    #[must_use]
    pub fn full(info: &ValidPathInfo) -> Self {
        Self {
            nar: Some((info.nar_hash, info.nar_size)),
            deriver: info.deriver.clone(),
            ..Self::bare(info)
        }
    }

    /// The path and its references alone, as builders get them.
    #[must_use]
    pub fn bare(info: &ValidPathInfo) -> Self {
        let (path, references) = (info.path.clone(), info.references.clone());
        Self { path, nar: None, deriver: None, references }
    }

    /// The row that it stands for; `nar_hash` and `nar_size` are of the contents that were found.
    #[must_use]
    pub fn into_info(self, nar_hash: Hash, nar_size: u64) -> ValidPathInfo {
        ValidPathInfo {
            path: self.path,
            nar_hash,
            nar_size,
            references: self.references,
            deriver: self.deriver,
            registration_time: 0,
            origin: Origin::Elsewhere,
            signatures: BTreeSet::new(),
            ca: None,
        }
    }
}

/// Prints records one after the other.
#[must_use]
pub fn encode_registration<'r>(
    records: impl IntoIterator<Item = &'r Registration>,
    dir: &StoreDir,
) -> String {
    let mut text = String::new();
    let mut line = |content: &str| {
        text.push_str(content);
        text.push('\n');
    };
    for record in records {
        line(&dir.print(&record.path));
        if let Some((hash, size)) = &record.nar {
            line(&hash.base16());
            line(&size.to_string());
        }
        line(&record.deriver.as_ref().map(|path| dir.print(path)).unwrap_or_default());
        line(&record.references.len().to_string());
        for reference in &record.references {
            line(&dir.print(reference));
        }
    }
    text
}

/// Reads records until the text ends.
///
/// # Errors
/// [`RegistrationError`] with the first line that is wrong; nothing before it counts.
pub fn decode_registration(
    text: &[u8],
    dir: &StoreDir,
    mode: HashMode,
) -> Result<Vec<Registration>, RegistrationError> {
    let mut lines = Lines { rest: text, number: 0 };
    let mut records = Vec::new();
    while !lines.rest.is_empty() {
        records.push(lines.record(dir, mode)?);
    }
    Ok(records)
}

struct Lines<'t> {
    rest: &'t [u8],
    /// Lines taken.
    number: usize,
}

impl<'t> Lines<'t> {
    fn record(
        &mut self,
        dir: &StoreDir,
        mode: HashMode,
    ) -> Result<Registration, RegistrationError> {
        let path = self.path(dir, "the path")?;
        let nar = match mode {
            HashMode::Given => {
                let text = String::from_utf8_lossy(self.next("the NAR hash")?);
                let hash = Hash::parse(&text, Some(Algorithm::Sha256));
                let hash = hash.map_err(|e| self.error(e))?;
                Some((hash, self.count("the NAR size", "a number of bytes")?))
            }
            HashMode::Absent => None,
        };
        let deriver = match self.next("the deriver")? {
            b"" => None,
            text => Some(dir.parse(text).map_err(|e| self.error(e))?),
        };
        let count = self.count("the number of references", "a number of references")?;
        let mut references = BTreeSet::new();
        for _ in 0..count {
            references.insert(self.path(dir, "a reference")?);
        }
        Ok(Registration { path, nar, deriver, references })
    }

    fn path(&mut self, dir: &StoreDir, what: &'static str) -> Result<StorePath, RegistrationError> {
        let text = self.next(what)?;
        dir.parse(text).map_err(|e| self.error(e))
    }

    fn count(
        &mut self,
        what: &'static str,
        expected: &'static str,
    ) -> Result<u64, RegistrationError> {
        let text = String::from_utf8_lossy(self.next(what)?);
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        match text.parse() {
            Ok(count) if digits => Ok(count),
            _ => {
                let text = text.chars().take(80).collect();
                Err(self.error(RegistrationErrorKind::Number { text, expected }))
            }
        }
    }

    fn next(&mut self, what: &'static str) -> Result<&'t [u8], RegistrationError> {
        self.number += 1;
        let end = memchr::memchr(b'\n', self.rest)
            .ok_or_else(|| self.error(RegistrationErrorKind::Truncated(what)))?;
        let line = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        Ok(line)
    }

    fn error(&self, kind: impl Into<RegistrationErrorKind>) -> RegistrationError {
        RegistrationError { line: self.number, kind: kind.into() }
    }
}

#[cfg(test)]
mod tests;
