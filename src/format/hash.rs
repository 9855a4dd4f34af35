//! Hashes of contents: md5, sha1, sha256 and sha512, and the four ways to write them.
//!
//! Nix writes hashes as base 16 (in derivations), base 32 (in databases and `ca` fields), base 64
//! and SRI (in messages). Source of the rules: `src/libutil/hash.cc` of Nix.

use std::fmt;

use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use super::base32;

/// A hash function that fixed outputs may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// 16 bytes; broken, but old derivations use it.
    Md5,
    /// 20 bytes; broken, but old derivations use it.
    Sha1,
    /// 32 bytes; what the store itself uses.
    Sha256,
    /// 64 bytes.
    Sha512,
}

impl Algorithm {
    /// All of them, in the order in which a text without a name is tried.
    pub const ALL: [Self; 4] = [Self::Md5, Self::Sha1, Self::Sha256, Self::Sha512];

    /// The name as Nix writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Reads a name.
    ///
    /// # Errors
    /// [`HashError::Algorithm`] if it is none of the four.
    pub fn parse(name: &str) -> Result<Self, HashError> {
        Self::ALL
            .into_iter()
            .find(|a| a.name() == name)
            .ok_or_else(|| HashError::Algorithm(name.to_owned()))
    }

    /// Bytes of a digest.
    #[must_use]
    pub fn len(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// Never: digests are not empty.
    #[must_use]
    pub fn is_empty(self) -> bool {
        false
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a text is not a hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// The name of the hash function is unknown.
    #[error("unknown hash algorithm `{0}` (known: md5, sha1, sha256, sha512)")]
    Algorithm(String),
    /// The text has no `algo:` or `algo-` and none was given.
    #[error("hash `{0}` does not name its algorithm")]
    NoAlgorithm(String),
    /// The digest's text has a length that no base of this algorithm has.
    #[error("hash `{text}` has the wrong length for {algorithm}")]
    Length {
        /// The text as given.
        text: String,
        /// The algorithm that was expected.
        algorithm: Algorithm,
    },
    /// The digest's text has characters that its base does not have.
    #[error("hash `{0}` has characters that its base does not allow")]
    Digits(String),
}

/// An algorithm and a digest of its length.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash {
    algorithm: Algorithm,
    bytes: [u8; 64],
}

impl Hash {
    /// Takes a digest.
    ///
    /// # Errors
    /// [`HashError::Length`] if `digest` is not as long as the algorithm's.
    pub fn new(algorithm: Algorithm, digest: &[u8]) -> Result<Self, HashError> {
        if digest.len() != algorithm.len() {
            return Err(HashError::Length { text: HEXLOWER.encode(digest), algorithm });
        }
        Ok(Self::from_digest(algorithm, digest))
    }

    /// The sha256 of `data`.
    #[must_use]
    pub fn sha256(data: &[u8]) -> Self {
        Self::from_digest(Algorithm::Sha256, &Sha256::digest(data))
    }

    /// The hash of `data` by `algorithm`.
    #[must_use]
    pub fn of(algorithm: Algorithm, data: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(data);
        hasher.finish()
    }

    fn from_digest(algorithm: Algorithm, digest: &[u8]) -> Self {
        let mut bytes = [0; 64];
        bytes[..digest.len()].copy_from_slice(digest);
        Self { algorithm, bytes }
    }

    /// The algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The digest.
    #[must_use]
    pub fn digest(&self) -> &[u8] {
        &self.bytes[..self.algorithm.len()]
    }

    /// Base 16, lower case, without the algorithm.
    #[must_use]
    pub fn base16(&self) -> String {
        HEXLOWER.encode(self.digest())
    }

    /// Nix base 32 without the algorithm.
    #[must_use]
    pub fn base32(&self) -> String {
        base32::encode(self.digest())
    }

    /// Base 64 without the algorithm.
    #[must_use]
    pub fn base64(&self) -> String {
        BASE64.encode(self.digest())
    }

    /// `sha256-<base 64>`, as messages of Nix show hashes.
    #[must_use]
    pub fn sri(&self) -> String {
        format!("{}-{}", self.algorithm, self.base64())
    }

    /// `sha256:<base 16>`, as the database stores NAR hashes.
    #[must_use]
    pub fn typed_base16(&self) -> String {
        format!("{}:{}", self.algorithm, self.base16())
    }

    /// `sha256:<base 32>`, as `ca` fields and registrations of caches write hashes.
    #[must_use]
    pub fn typed_base32(&self) -> String {
        format!("{}:{}", self.algorithm, self.base32())
    }

    /// Reads `algo:digest` or SRI `algo-base64`; where neither is given, `expected` decides.
    ///
    /// # Errors
    /// [`HashError`] if the algorithm is missing, unknown or not `expected`, or the digest's text
    /// is not one of base 16, base 32 and base 64 (SRI: base 64 only).
    pub fn parse(text: &str, expected: Option<Algorithm>) -> Result<Self, HashError> {
        let split = text.split_once(':').map(|(a, d)| (a, d, false));
        let split = split.or_else(|| text.split_once('-').map(|(a, d)| (a, d, true)));
        let (algorithm, digest, sri) = match (split, expected) {
            (Some((name, digest, sri)), _) => (Algorithm::parse(name)?, digest, sri),
            (None, Some(algorithm)) => (algorithm, text, false),
            (None, None) => return Err(HashError::NoAlgorithm(text.to_owned())),
        };
        if expected.is_some_and(|e| e != algorithm) {
            return Err(HashError::Algorithm(text.to_owned()));
        }
        Self::parse_digest(algorithm, digest, sri)
    }

    fn parse_digest(algorithm: Algorithm, text: &str, sri: bool) -> Result<Self, HashError> {
        let digits = |_| HashError::Digits(text.to_owned());
        let len = algorithm.len();
        if !sri && text.len() == len * 2 {
            let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(digits)?;
            Self::new(algorithm, &bytes)
        } else if !sri && text.len() == base32::encoded_len(len) {
            let mut bytes = [0; 64];
            base32::decode_into(text.as_bytes(), &mut bytes[..len])
                .map_err(|_| HashError::Digits(text.to_owned()))?;
            Ok(Self { algorithm, bytes })
        } else if text.len() == BASE64.encode_len(len) {
            let bytes = BASE64.decode(text.as_bytes()).map_err(digits)?;
            Self::new(algorithm, &bytes)
        } else {
            Err(HashError::Length { text: text.to_owned(), algorithm })
        }
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({})", self.typed_base16())
    }
}

/// The first 20 bytes' worth of `hash`: all bytes folded by XOR, as store paths use it.
#[must_use]
pub fn fold_to_20(hash: &Hash) -> [u8; 20] {
    let mut folded = [0; 20];
    for (i, byte) in hash.digest().iter().enumerate() {
        folded[i % 20] ^= byte;
    }
    folded
}

/// A hash in the making.
#[derive(Clone)]
pub enum Hasher {
    /// See [`Algorithm::Md5`].
    Md5(Md5),
    /// See [`Algorithm::Sha1`].
    Sha1(Sha1),
    /// See [`Algorithm::Sha256`].
    Sha256(Sha256),
    /// See [`Algorithm::Sha512`].
    Sha512(Box<Sha512>),
}

impl Hasher {
    /// A hasher that has seen nothing.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Md5 => Self::Md5(Md5::new()),
            Algorithm::Sha1 => Self::Sha1(Sha1::new()),
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Box::new(Sha512::new())),
        }
    }

    /// Adds `data`.
    pub fn update(&mut self, data: &[u8]) {
        match self {
            Self::Md5(h) => h.update(data),
            Self::Sha1(h) => h.update(data),
            Self::Sha256(h) => h.update(data),
            Self::Sha512(h) => h.update(data),
        }
    }

    /// The hash of all that was added.
    #[must_use]
    pub fn finish(self) -> Hash {
        match self {
            Self::Md5(h) => Hash::from_digest(Algorithm::Md5, &h.finalize()),
            Self::Sha1(h) => Hash::from_digest(Algorithm::Sha1, &h.finalize()),
            Self::Sha256(h) => Hash::from_digest(Algorithm::Sha256, &h.finalize()),
            Self::Sha512(h) => Hash::from_digest(Algorithm::Sha512, &h.finalize()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn every_base_reads_back() {
        let hash = Hash::sha256(b"");
        assert_eq!(hash.typed_base16(), HEX);
        assert_eq!(hash.sri(), "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
        for text in [
            hash.typed_base16(),
            hash.typed_base32(),
            format!("sha256:{}", hash.base64()),
            hash.sri(),
        ] {
            assert_eq!(Hash::parse(&text, None).unwrap(), hash, "{text}");
        }
        assert_eq!(Hash::parse(&hash.base32(), Some(Algorithm::Sha256)).unwrap(), hash);
    }

    #[test]
    fn refuses_bad_hashes() {
        for bad in ["sha256:00", "sha3:00", "e3b0", "sha256-e3b0c4", "md5:zz"] {
            assert!(Hash::parse(bad, None).is_err(), "{bad}");
        }
        assert!(Hash::parse(HEX, Some(Algorithm::Md5)).is_err());
    }
}
