//! Content addresses: the `ca` column of the database and the `CA` field of caches
//! (`src/libstore/content-address.cc` of Nix).
//!
//! `fixed:<method prefix><algorithm>:<base 32>` or `text:sha256:<base 32>`. A path with a content
//! address needs no signature: whether it fits can be computed, by [`ContentAddress::path`].

use std::collections::BTreeSet;
use std::fmt;

use super::derivation::Method;
use super::output_path::{self, SelfReference};
use super::store_path::StorePathError;
use super::{Algorithm, Hash, HashError, StoreDir, StorePath};

/// Why a text is not a content address, or a path does not have it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContentAddressError {
    /// It starts with neither `fixed:` nor `text:`, or names no hash.
    #[error(
        "`{0}` is not a content address: it must be \
         `fixed:[r:]ALGORITHM:HASH` or `text:sha256:HASH`"
    )]
    Shape(String),
    /// The hash.
    #[error("content address `{text}`: {cause}")]
    Hash {
        /// The whole text.
        text: String,
        /// What is wrong with its hash.
        cause: HashError,
    },
    /// A text whose hash is not sha256.
    #[error("content address `{0}`: texts are hashed with sha256 only")]
    TextAlgorithm(String),
    /// References that this kind of content address cannot have.
    #[error("a path with content address `{0}` cannot have references")]
    References(String),
    /// The name.
    #[error(transparent)]
    Name(#[from] StorePathError),
}

/// How the contents were turned into bytes, and the hash of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentAddress {
    /// How.
    pub method: Method,
    /// The hash.
    pub hash: Hash,
}

impl ContentAddress {
    /// Reads the text.
    ///
    /// # Errors
    /// [`ContentAddressError`] if the shape or the hash is wrong; the digest may be written in
    /// any base that fits its length.
    pub fn parse(text: &str) -> Result<Self, ContentAddressError> {
        let shape = || ContentAddressError::Shape(text.to_owned());
        let (kind, rest) = text.split_once(':').ok_or_else(shape)?;
        let (method, typed) = match kind {
            "text" => (Method::Text, rest),
            "fixed" => Method::split(rest),
            _ => return Err(shape()),
        };
        // `fixed:text:…` is not written: texts have a kind of their own.
        if kind == "fixed" && method == Method::Text || !typed.contains(':') {
            return Err(shape());
        }
        let hash = Hash::parse(typed, None)
            .map_err(|cause| ContentAddressError::Hash { text: text.to_owned(), cause })?;
        if method == Method::Text && hash.algorithm() != Algorithm::Sha256 {
            return Err(ContentAddressError::TextAlgorithm(text.to_owned()));
        }
        Ok(Self { method, hash })
    }

    /// The path that contents with this address have in `dir`, given their name and references.
    ///
    /// # Errors
    /// [`ContentAddressError::References`] if such contents cannot have any;
    /// [`ContentAddressError::Name`] if the name is wrong.
    pub fn path(
        &self,
        dir: &StoreDir,
        name: &str,
        references: &BTreeSet<StorePath>,
        own: SelfReference,
    ) -> Result<StorePath, ContentAddressError> {
        match (self.method, self.hash.algorithm(), own) {
            (Method::Recursive, Algorithm::Sha256, _) => {
                Ok(output_path::source_path(dir, name, &self.hash, references, own)?)
            }
            (Method::Text, _, SelfReference::No) => {
                Ok(output_path::text_path(dir, name, &self.hash, references)?)
            }
            (_, _, SelfReference::No) if references.is_empty() => {
                Ok(output_path::fixed_output_path(dir, name, self.method, &self.hash)?)
            }
            _ => Err(ContentAddressError::References(self.to_string())),
        }
    }

    /// Whether `path` is the one that follows from this address, its name and `references`, which
    /// may hold the path itself.
    #[must_use]
    pub fn matches(
        &self,
        dir: &StoreDir,
        path: &StorePath,
        references: &BTreeSet<StorePath>,
    ) -> bool {
        let mut others = references.clone();
        let own = if others.remove(path) { SelfReference::Yes } else { SelfReference::No };
        self.path(dir, path.name(), &others, own).is_ok_and(|expected| expected == *path)
    }
}

impl fmt::Display for ContentAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.method {
            Method::Text => write!(f, "text:{}", self.hash.typed_base32()),
            method => write!(f, "fixed:{}{}", method.prefix(), self.hash.typed_base32()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73";

    #[test]
    fn reads_and_prints() {
        for text in [
            format!("fixed:sha256:{DIGEST}"),
            format!("fixed:r:sha256:{DIGEST}"),
            format!("fixed:git:sha256:{DIGEST}"),
            format!("text:sha256:{DIGEST}"),
            "fixed:r:md5:3y8bwfr609h3lh9ch0izcqq7fl".to_owned(),
        ] {
            assert_eq!(ContentAddress::parse(&text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn refuses_other_texts() {
        for text in [
            "",
            "fixed",
            "fixed:",
            "fixed:sha256",
            "text:md5:3y8bwfr609h3lh9ch0izcqq7fl",
            &format!("fixed:text:sha256:{DIGEST}"),
            &format!("text:r:sha256:{DIGEST}"),
            &format!("other:sha256:{DIGEST}"),
            "fixed:sha256:00",
            "fixed:sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        ] {
            assert!(ContentAddress::parse(text).is_err(), "{text}");
        }
    }
}
