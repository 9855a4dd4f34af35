//! Store folders and store paths: `<store>/<32 base-32 digits>-<name>`.
//!
//! A [`StorePath`] is the base name alone, so values do not depend on where the store lies;
//! [`StoreDir`] joins and splits. It does not know whether a path exists or is valid. Rules of the
//! name are those of `src/libstore/path.cc` of Nix.

use std::fmt;
use std::sync::Arc;

use super::base32;

/// Digits of the hash part.
pub const HASH_LEN: usize = 32;
/// Longest name in bytes.
pub const MAX_NAME_LEN: usize = 211;

/// Why a text is not a store path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StorePathError {
    /// The path does not lie in the store.
    #[error("path `{path}` is not in the store `{store}`")]
    NotInStore {
        /// The path as given.
        path: String,
        /// The store folder.
        store: String,
    },
    /// The base name is too short or has no `-` after the hash part.
    #[error("`{0}` is not a store path: it must be 32 base-32 digits, `-` and a name")]
    Shape(String),
    /// The hash part has a character outside the alphabet.
    #[error("`{0}` is not a store path: its hash part has characters other than base-32 digits")]
    HashPart(String),
    /// The name is empty, too long, or has characters that names may not have.
    #[error("`{name}` is not a store path name: {why}")]
    Name {
        /// The name as given.
        name: String,
        /// The rule that it breaks.
        why: &'static str,
    },
    /// The store folder is not an absolute, normal path.
    #[error(
        "`{0}` is not a store folder: it must be absolute, without `.`, `..` or double slashes"
    )]
    StoreDir(String),
}

/// Checks the rules for names.
///
/// # Errors
/// [`StorePathError::Name`] with the rule that is broken.
pub fn check_name(name: &[u8]) -> Result<(), StorePathError> {
    let fail =
        |why| Err(StorePathError::Name { name: String::from_utf8_lossy(name).into_owned(), why });
    if name.is_empty() {
        return fail("it is empty");
    }
    if name.len() > MAX_NAME_LEN {
        return fail("it is longer than 211 characters");
    }
    if name == b"." || name == b".." || name.starts_with(b".-") || name.starts_with(b"..-") {
        return fail("it must not be `.` or `..` nor start with `.-` or `..-`");
    }
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || b"+-._?=".contains(b);
    if !name.iter().all(allowed) {
        return fail("only letters, digits and `+-._?=` are allowed");
    }
    Ok(())
}

/// The base name of a path in the store. Cheap to clone; ordered by its bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorePath(Arc<str>);

impl StorePath {
    /// Reads a base name such as `7h7qgvs4kgzsn8a6rb273saxyqh4jxlz-hello`.
    ///
    /// # Errors
    /// [`StorePathError`] if the shape, the hash part or the name is wrong.
    pub fn from_base_name(base: &[u8]) -> Result<Self, StorePathError> {
        let lossy = || String::from_utf8_lossy(base).into_owned();
        if base.len() < HASH_LEN + 2 || base[HASH_LEN] != b'-' {
            return Err(StorePathError::Shape(lossy()));
        }
        if !base[..HASH_LEN].iter().all(|&b| base32::is_digit(b)) {
            return Err(StorePathError::HashPart(lossy()));
        }
        check_name(&base[HASH_LEN + 1..])?;
        // Digits and names are ASCII, as checked above.
        let text = std::str::from_utf8(base).map_err(|_| StorePathError::Shape(lossy()))?;
        Ok(Self(text.into()))
    }

    /// Joins a 20-byte digest and a name.
    ///
    /// # Errors
    /// [`StorePathError::Name`] if the name breaks the rules.
    pub fn from_parts(digest: &[u8; 20], name: &str) -> Result<Self, StorePathError> {
        check_name(name.as_bytes())?;
        Ok(Self(format!("{}-{name}", base32::encode(digest)).into()))
    }

    /// The whole base name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 32 digits before the first `-`.
    #[must_use]
    pub fn hash_part(&self) -> &str {
        &self.0[..HASH_LEN]
    }

    /// What follows the hash part and its `-`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0[HASH_LEN + 1..]
    }

    /// Whether the name ends in `.drv`.
    #[must_use]
    pub fn is_derivation(&self) -> bool {
        self.0.ends_with(".drv")
    }
}

impl fmt::Display for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StorePath({})", self.0)
    }
}

/// The logical store folder, `/nix/store` unless set otherwise: part of every hash and of every
/// path as builders and references see it, wherever the files really lie.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreDir(Arc<str>);

impl Default for StoreDir {
    fn default() -> Self {
        Self("/nix/store".into())
    }
}

impl StoreDir {
    /// Takes an absolute path without trailing slash, `.`, `..` or double slashes.
    ///
    /// # Errors
    /// [`StorePathError::StoreDir`] if it is not.
    pub fn new(dir: &str) -> Result<Self, StorePathError> {
        let normal = dir.starts_with('/')
            && dir.len() > 1
            && dir[1..].split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        if normal { Ok(Self(dir.into())) } else { Err(StorePathError::StoreDir(dir.into())) }
    }

    /// The folder without trailing slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads a full path that is exactly a store path: nothing may follow the base name.
    ///
    /// # Errors
    /// [`StorePathError`] if it lies elsewhere or its base name is wrong.
    pub fn parse(&self, path: &[u8]) -> Result<StorePath, StorePathError> {
        StorePath::from_base_name(self.strip(path)?)
    }

    /// Reads a full path at or below a store path; returns the store path and the rest, which is
    /// empty or starts with `/`.
    ///
    /// # Errors
    /// As [`StoreDir::parse`].
    pub fn parse_inside<'p>(
        &self,
        path: &'p [u8],
    ) -> Result<(StorePath, &'p [u8]), StorePathError> {
        let inside = self.strip(path)?;
        let end = inside.iter().position(|&b| b == b'/').unwrap_or(inside.len());
        Ok((StorePath::from_base_name(&inside[..end])?, &inside[end..]))
    }

    /// The full logical path of `path`.
    #[must_use]
    pub fn print(&self, path: &StorePath) -> String {
        format!("{}/{path}", self.0)
    }

    fn strip<'p>(&self, path: &'p [u8]) -> Result<&'p [u8], StorePathError> {
        path.strip_prefix(self.0.as_bytes()).and_then(|rest| rest.strip_prefix(b"/")).ok_or_else(
            || StorePathError::NotInStore {
                path: String::from_utf8_lossy(path).into_owned(),
                store: self.0.to_string(),
            },
        )
    }
}

impl fmt::Display for StoreDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "7h7qgvs4kgzsn8a6rb273saxyqh4jxlz-hello-2.12";

    #[test]
    fn splits_a_path() {
        let dir = StoreDir::default();
        let path = dir.parse(format!("/nix/store/{BASE}").as_bytes()).unwrap();
        assert_eq!(path.hash_part(), "7h7qgvs4kgzsn8a6rb273saxyqh4jxlz");
        assert_eq!(path.name(), "hello-2.12");
        assert_eq!(dir.print(&path), format!("/nix/store/{BASE}"));
        let text = format!("/nix/store/{BASE}/bin/x");
        let (inner, rest) = dir.parse_inside(text.as_bytes()).unwrap();
        assert_eq!((inner, rest), (path, &b"/bin/x"[..]));
    }

    #[test]
    fn refuses_bad_paths() {
        let dir = StoreDir::default();
        let bad: [&[u8]; 9] = [
            b"/nix/store",
            b"/nix/storex/7h7qgvs4kgzsn8a6rb273saxyqh4jxlz-a",
            b"/nix/store/7h7qgvs4kgzsn8a6rb273saxyqh4jxlz",
            b"/nix/store/7h7qgvs4kgzsn8a6rb273saxyqh4jxlz-",
            b"/nix/store/7h7qgvs4kgzsn8a6rb273saxyqh4jxlz-..",
            b"/nix/store/7h7qgvs4kgzsn8a6rb273saxyqh4jxlz-.-a",
            b"/nix/store/Eh7qgvs4kgzsn8a6rb273saxyqh4jxlz-a",
            b"/nix/store/7h7qgvs4kgzsn8a6rb273saxyqh4jxlz-a/b",
            b"/nix/store/7h7qgvs4kgzsn8a6rb273saxyqh4jxlz-\xff",
        ];
        for path in bad {
            assert!(dir.parse(path).is_err(), "{}", String::from_utf8_lossy(path));
        }
        assert!(check_name(&[b'a'; 211]).is_ok());
        assert!(check_name(&[b'a'; 212]).is_err());
        assert!(check_name(b".hidden").is_ok(), "as in Nix since 2.19");
    }

    #[test]
    fn store_folders_are_normal() {
        for bad in ["", "/", "nix/store", "/nix//store", "/nix/../store", "/nix/store/"] {
            assert!(StoreDir::new(bad).is_err(), "{bad}");
        }
        assert!(StoreDir::new("/gnu/store").is_ok());
    }
}
