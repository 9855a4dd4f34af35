//! Reading: one pass over the bytes, strings found with memchr.
//!
//! Accepts exactly what is printed, byte for byte: order, escapes and brackets are checked, since
//! the path of a derivation is the hash of its text and two texts must never mean the same. Depth
//! is bounded, and no error loses the place where it was found.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use bstr::BString;

use super::super::derivation::{DerivationOutput, InputNode, Method};
use super::super::store_path::check_name;
use super::super::{Algorithm, Derivation, Hash, StoreDir, StorePath, output_path};
use super::{AtermError, AtermErrorKind as Kind, MAX_DEPTH};

type Parsed<T> = Result<T, AtermError>;

/// Which form of input nodes may occur.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Traditional,
    Dynamic,
}

pub(super) struct Parser<'a> {
    name: &'a str,
    bytes: &'a [u8],
    dir: &'a StoreDir,
    at: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn new(name: &'a str, bytes: &'a [u8], dir: &'a StoreDir) -> Self {
        Self { name, bytes, dir, at: 0 }
    }

    pub(super) fn derivation(mut self) -> Parsed<Derivation> {
        let version = self.version()?;
        let start = self.at;
        let outputs = self.outputs()?;
        self.expect(",")?;
        let input_drvs = self.input_drvs(version)?;
        self.expect(",")?;
        let input_srcs = self.input_srcs()?;
        self.expect(",")?;
        let platform = BString::from(self.plain()?);
        self.expect(",")?;
        let builder = BString::from(self.string()?.into_owned());
        self.expect(",")?;
        let args = self.list(|p| Ok(BString::from(p.string()?.into_owned())))?;
        self.expect(",")?;
        let env = self.env()?;
        self.expect(")")?;
        if self.at != self.bytes.len() {
            return self.fail(Kind::Trailing);
        }
        let name = self.name.to_owned();
        let drv =
            Derivation { name, outputs, input_drvs, input_srcs, platform, builder, args, env };
        drv.check_outputs().map_err(|e| self.error_at(start, e))?;
        let dynamic = drv.input_drvs.values().any(|node| !node.dynamic.is_empty());
        if dynamic != (version == Version::Dynamic) {
            return Err(self.error_at(0, Kind::Version("xp-dyn-drv".to_owned())));
        }
        Ok(drv)
    }

    fn version(&mut self) -> Parsed<Version> {
        if self.bytes.starts_with(b"DrvWithVersion(") {
            self.expect("DrvWithVersion(")?;
            let start = self.at;
            let version = self.plain()?;
            if version != b"xp-dyn-drv" {
                let text = String::from_utf8_lossy(version).into_owned();
                return Err(self.error_at(start, Kind::Version(text)));
            }
            self.expect(",")?;
            return Ok(Version::Dynamic);
        }
        self.expect("Derive(")?;
        Ok(Version::Traditional)
    }

    fn outputs(&mut self) -> Parsed<BTreeMap<String, DerivationOutput>> {
        let pairs = self.list(|p| {
            p.expect("(")?;
            let start = p.at;
            let name = p.output_name()?;
            p.expect(",")?;
            let path = p.plain()?;
            p.expect(",")?;
            let method = p.plain()?;
            p.expect(",")?;
            let hash = p.plain()?;
            p.expect(")")?;
            let output = p.output(&name, path, method, hash).map_err(|e| p.error_at(start, e))?;
            Ok((name, output))
        })?;
        self.sorted_map(pairs, "outputs")
    }

    fn output(
        &self,
        name: &str,
        path: &[u8],
        method: &[u8],
        hash: &[u8],
    ) -> Result<DerivationOutput, Kind> {
        if method.is_empty() {
            return match (path, hash) {
                (b"", b"") => Ok(DerivationOutput::Deferred),
                (_, b"") => Ok(DerivationOutput::InputAddressed(self.dir.parse(path)?)),
                _ => Err(Kind::OutputFields(name.to_owned())),
            };
        }
        let text = String::from_utf8_lossy(method);
        let (method, algorithm) = Method::split(&text);
        let algorithm = Algorithm::parse(algorithm)?;
        match (path, hash) {
            (b"", b"") => Ok(DerivationOutput::Floating { method, algorithm }),
            (b"", b"impure") => Ok(DerivationOutput::Impure { method, algorithm }),
            (b"", _) | (_, b"" | b"impure") => Err(Kind::OutputFields(name.to_owned())),
            _ => self.fixed(name, path, method, &base16(name, algorithm, hash)?),
        }
    }

    /// A fixed output; its path must be the one that its hash gives, since Nix goes by the hash.
    fn fixed(
        &self,
        name: &str,
        path: &[u8],
        method: Method,
        hash: &Hash,
    ) -> Result<DerivationOutput, Kind> {
        let path = self.dir.parse(path)?;
        let path_name = output_path::output_path_name(self.name, name);
        let expected = output_path::fixed_output_path(self.dir, &path_name, method, hash)?;
        if path != expected {
            return Err(Kind::FixedPath {
                output: name.to_owned(),
                found: self.dir.print(&path),
                expected: self.dir.print(&expected),
            });
        }
        Ok(DerivationOutput::Fixed { path, method, hash: *hash })
    }

    fn input_drvs(&mut self, version: Version) -> Parsed<BTreeMap<StorePath, InputNode>> {
        let pairs = self.list(|p| {
            p.expect("(")?;
            let start = p.at;
            let path = p.path()?;
            if !path.is_derivation() {
                return Err(p.error_at(start, Kind::NotADerivation(p.dir.print(&path))));
            }
            p.expect(",")?;
            let node = p.node(version, 0)?;
            p.expect(")")?;
            Ok((path, node))
        })?;
        self.sorted_map(pairs, "input derivations")
    }

    fn node(&mut self, version: Version, depth: usize) -> Parsed<InputNode> {
        if version == Version::Traditional || self.bytes.get(self.at) != Some(&b'(') {
            let start = self.at;
            let outputs = self.output_names()?;
            if outputs.is_empty() {
                return Err(self.error_at(start, Kind::NoInputOutputs));
            }
            return Ok(InputNode { outputs, dynamic: BTreeMap::new() });
        }
        if depth == MAX_DEPTH {
            return self.fail(Kind::TooDeep);
        }
        self.expect("(")?;
        let outputs = self.output_names()?;
        self.expect(",")?;
        let start = self.at;
        let pairs = self.list(|p| {
            p.expect("(")?;
            let name = p.output_name()?;
            p.expect(",")?;
            let node = p.node(version, depth + 1)?;
            p.expect(")")?;
            Ok((name, node))
        })?;
        let dynamic = self.sorted_map(pairs, "dynamic outputs")?;
        if dynamic.is_empty() {
            return Err(self.error_at(start, Kind::NoInputOutputs));
        }
        self.expect(")")?;
        Ok(InputNode { outputs, dynamic })
    }

    fn output_names(&mut self) -> Parsed<BTreeSet<String>> {
        let names = self.list(Self::output_name)?;
        self.sorted_set(names, "output names")
    }

    fn input_srcs(&mut self) -> Parsed<BTreeSet<StorePath>> {
        let paths = self.list(Self::path)?;
        self.sorted_set(paths, "input sources")
    }

    fn env(&mut self) -> Parsed<BTreeMap<BString, BString>> {
        let pairs = self.list(|p| {
            p.expect("(")?;
            let name = BString::from(p.string()?.into_owned());
            p.expect(",")?;
            let value = BString::from(p.string()?.into_owned());
            p.expect(")")?;
            Ok((name, value))
        })?;
        self.sorted_map(pairs, "environment variables")
    }

    fn list<T>(&mut self, mut each: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        self.expect("[")?;
        let mut items = Vec::new();
        if self.bytes.get(self.at) == Some(&b']') {
            self.at += 1;
            return Ok(items);
        }
        loop {
            items.push(each(self)?);
            match self.bytes.get(self.at) {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return self.fail(Kind::Expected(",` or `]")),
            }
        }
        self.at += 1;
        Ok(items)
    }

    fn sorted_map<K: Ord, V>(
        &self,
        pairs: Vec<(K, V)>,
        what: &'static str,
    ) -> Parsed<BTreeMap<K, V>> {
        if !pairs.is_sorted_by(|a, b| a.0 < b.0) {
            return self.fail(Kind::Order(what));
        }
        Ok(pairs.into_iter().collect())
    }

    fn sorted_set<K: Ord>(&self, items: Vec<K>, what: &'static str) -> Parsed<BTreeSet<K>> {
        if !items.is_sorted_by(|a, b| a < b) {
            return self.fail(Kind::Order(what));
        }
        Ok(items.into_iter().collect())
    }

    fn path(&mut self) -> Parsed<StorePath> {
        let start = self.at;
        let text = self.plain()?;
        self.dir.parse(text).map_err(|e| self.error_at(start, e))
    }

    fn output_name(&mut self) -> Parsed<String> {
        let start = self.at;
        let text = self.plain()?;
        check_name(text).map_err(|e| self.error_at(start, e))?;
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    /// A string that is printed without escapes: names, paths, the platform. A backslash in it
    /// would be read differently by Nix from what it printed.
    fn plain(&mut self) -> Parsed<&'a [u8]> {
        self.expect("\"")?;
        let rest = &self.bytes[self.at..];
        match memchr::memchr2(b'"', b'\\', rest) {
            Some(end) if rest[end] == b'"' => {
                self.at += end + 1;
                Ok(&rest[..end])
            }
            Some(end) => Err(self.error_at(self.at + end, Kind::Escape(b'\\'))),
            None => self.fail(Kind::Unterminated),
        }
    }

    fn string(&mut self) -> Parsed<Cow<'a, [u8]>> {
        self.expect("\"")?;
        let mut text = Cow::Borrowed(&[][..]);
        loop {
            let rest = &self.bytes[self.at..];
            let Some(end) = memchr::memchr2(b'"', b'\\', rest) else {
                return self.fail(Kind::Unterminated);
            };
            let piece = &rest[..end];
            if let Some(bare) = memchr::memchr3(b'\n', b'\r', b'\t', piece) {
                return Err(self.error_at(self.at + bare, Kind::Escape(piece[bare])));
            }
            if text.is_empty() {
                text = Cow::Borrowed(piece);
            } else {
                text.to_mut().extend_from_slice(piece);
            }
            self.at += end + 1;
            if rest[end] == b'"' {
                return Ok(text);
            }
            let byte = self.escape()?;
            text.to_mut().push(byte);
        }
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Parsed<u8> {
        let byte = match self.bytes.get(self.at) {
            Some(&byte @ (b'"' | b'\\')) => byte,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(&byte) => return self.fail(Kind::Escape(byte)),
            None => return self.fail(Kind::Unterminated),
        };
        self.at += 1;
        Ok(byte)
    }

    fn expect(&mut self, text: &'static str) -> Parsed<()> {
        if !self.bytes[self.at..].starts_with(text.as_bytes()) {
            return self.fail(Kind::Expected(text));
        }
        self.at += text.len();
        Ok(())
    }

    fn fail<T>(&self, kind: Kind) -> Parsed<T> {
        Err(self.error_at(self.at, kind))
    }

    fn error_at(&self, offset: usize, kind: impl Into<Kind>) -> AtermError {
        AtermError { name: self.name.to_owned(), offset, kind: kind.into() }
    }
}

fn base16(name: &str, algorithm: Algorithm, text: &[u8]) -> Result<Hash, Kind> {
    let digest = data_encoding::HEXLOWER.decode(text);
    let digest = digest.map_err(|_| Kind::HashBase(name.to_owned()))?;
    Ok(Hash::new(algorithm, &digest)?)
}
