//! Strict reading: everything that Nix would not write is an error, found before it is acted on.
//!
//! Streaming with memory that does not grow with the archive: lengths are checked against small
//! limits before a byte is stored, contents pass through the visitor in pieces, and nesting ends
//! at [`MAX_DEPTH`], so neither a hostile length nor a hostile depth costs anything.

use std::io::{self, BufReader, Read};

use super::{
    Executable, MAGIC, MAX_DEPTH, MAX_NAME, MAX_TARGET, NarError, check_name, check_order, lossy,
    padding,
};

/// Longest keyword; a little more than there is, so that errors can show what was found.
const MAX_KEYWORD: usize = 32;

/// What a reader tells of a tree, in the order of the archive. `name` is `None` for the root.
pub trait Visitor {
    /// What stops a read: the visitor's own trouble or the archive's.
    type Error: From<NarError>;

    /// A folder begins; its entries follow.
    ///
    /// # Errors
    /// Whatever shall end the reading.
    fn directory(&mut self, name: Option<&[u8]>) -> Result<(), Self::Error>;

    /// The innermost folder ends.
    ///
    /// # Errors
    /// As above.
    fn end_directory(&mut self) -> Result<(), Self::Error>;

    /// A symlink.
    ///
    /// # Errors
    /// As above.
    fn symlink(&mut self, name: Option<&[u8]>, target: &[u8]) -> Result<(), Self::Error>;

    /// A regular file; contents that the visitor leaves unread are skipped.
    ///
    /// # Errors
    /// As above.
    fn regular(
        &mut self,
        name: Option<&[u8]>,
        executable: Executable,
        contents: &mut Contents<'_>,
    ) -> Result<(), Self::Error>;
}

/// The contents of one regular file, as a `Read` that ends with the file. An archive that ends
/// earlier is `UnexpectedEof`, never a short file.
pub struct Contents<'r> {
    source: &'r mut dyn Read,
    size: u64,
    left: u64,
}

impl Contents<'_> {
    /// Bytes of the whole file as the archive declares them: not to be trusted for allocation.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl Read for Contents<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let got = self.source.read(&mut buf[..want])?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= got as u64;
        Ok(got)
    }
}

/// Reads a NAR that is all of `source`.
///
/// # Errors
/// [`NarError`] in the visitor's dress if anything is not exactly as it must be, bytes after the
/// end included; or what the visitor returns.
pub fn read<R: Read, V: Visitor>(source: R, visitor: &mut V) -> Result<(), V::Error> {
    let mut source = BufReader::with_capacity(64 * 1024, source);
    let offset = read_prefix(&mut source, visitor)?;
    match source.read_exact(&mut [0]) {
        Ok(()) => Err(NarError::Trailing { offset }.into()),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        Err(e) => Err(NarError::Io(e).into()),
    }
}

/// Reads a NAR from the front of `source` and takes not one byte more; returns its length.
/// Reads token by token, so `source` should be buffered.
///
/// # Errors
/// As [`read`], but for bytes after the end.
pub fn read_prefix<R: Read, V: Visitor>(source: &mut R, visitor: &mut V) -> Result<u64, V::Error> {
    let mut reader = Reader { source, offset: 0, token: Vec::new() };
    reader.magic()?;
    let mut open: Vec<Vec<u8>> = Vec::new();
    reader.node(None, &mut open, visitor)?;
    while let Some(previous) = open.last_mut() {
        if reader.keyword("`entry` or `)`", &["entry", ")"])? == 1 {
            visitor.end_directory()?;
            open.pop();
            if !open.is_empty() {
                reader.expect("`)`", ")")?;
            }
            continue;
        }
        reader.expect("`(`", "(")?;
        reader.expect("`name`", "name")?;
        reader.string("file name", MAX_NAME)?;
        check_name(&reader.token)?;
        check_order(previous, &reader.token)?;
        previous.clone_from(&reader.token);
        let name = std::mem::take(&mut reader.token);
        reader.expect("`node`", "node")?;
        let before = open.len();
        reader.node(Some(&name), &mut open, visitor)?;
        if open.len() == before {
            reader.expect("`)`", ")")?;
        }
    }
    Ok(reader.offset)
}

struct Reader<'s, R> {
    source: &'s mut R,
    offset: u64,
    token: Vec<u8>,
}

impl<R: Read> Reader<'_, R> {
    fn magic(&mut self) -> Result<(), NarError> {
        let wrong = |e| match e {
            NarError::Io(_) => e,
            _ => NarError::Magic,
        };
        self.string("magic", MAGIC.len()).map_err(wrong)?;
        if self.token == MAGIC { Ok(()) } else { Err(NarError::Magic) }
    }

    /// Reads a node up to its end, a folder up to its first entry: it then stands in `open`.
    fn node<V: Visitor>(
        &mut self,
        name: Option<&[u8]>,
        open: &mut Vec<Vec<u8>>,
        visitor: &mut V,
    ) -> Result<(), V::Error> {
        if open.len() >= MAX_DEPTH {
            return Err(NarError::Depth.into());
        }
        self.expect("`(`", "(")?;
        self.expect("`type`", "type")?;
        match self.keyword("a file type", &["directory", "regular", "symlink"])? {
            0 => {
                visitor.directory(name)?;
                open.push(Vec::new());
                return Ok(());
            }
            1 => self.regular(name, visitor)?,
            _ => {
                self.expect("`target`", "target")?;
                self.string("symlink target", MAX_TARGET)?;
                if self.token.is_empty() || self.token.contains(&0) {
                    return Err(NarError::Target(lossy(&self.token)).into());
                }
                visitor.symlink(name, &self.token)?;
            }
        }
        Ok(self.expect("`)`", ")")?)
    }

    fn regular<V: Visitor>(
        &mut self,
        name: Option<&[u8]>,
        visitor: &mut V,
    ) -> Result<(), V::Error> {
        let mut executable = Executable::No;
        if self.keyword("`executable` or `contents`", &["contents", "executable"])? == 1 {
            self.expect("an empty marker", "")?;
            self.expect("`contents`", "contents")?;
            executable = Executable::Yes;
        }
        let size = self.length()?;
        let mut contents = Contents { source: &mut *self.source, size, left: size };
        let visited = visitor.regular(name, executable, &mut contents);
        let left = contents.left;
        self.offset = self.offset.saturating_add(size - left);
        visited?;
        self.skip(left)?;
        Ok(self.padding(size)?)
    }

    fn skip(&mut self, bytes: u64) -> Result<(), NarError> {
        let skipped = io::copy(&mut (&mut *self.source).take(bytes), &mut io::sink())?;
        self.offset = self.offset.saturating_add(skipped);
        if skipped == bytes { Ok(()) } else { Err(NarError::Truncated { offset: self.offset }) }
    }

    fn expect(&mut self, expected: &'static str, keyword: &str) -> Result<(), NarError> {
        self.keyword(expected, &[keyword]).map(|_| ())
    }

    /// Reads one of `keywords` and tells which.
    fn keyword(&mut self, expected: &'static str, keywords: &[&str]) -> Result<usize, NarError> {
        self.string("keyword", MAX_KEYWORD)?;
        keywords.iter().position(|k| k.as_bytes() == self.token).ok_or_else(|| NarError::Token {
            expected,
            found: lossy(&self.token),
            offset: self.offset,
        })
    }

    /// Reads a token of at most `limit` bytes into `self.token`.
    fn string(&mut self, what: &'static str, limit: usize) -> Result<(), NarError> {
        let length = self.length()?;
        let len = usize::try_from(length).ok().filter(|&len| len <= limit);
        let len = len.ok_or(NarError::TooLong { what, length, limit, offset: self.offset })?;
        let mut token = std::mem::take(&mut self.token);
        token.resize(len, 0);
        self.fill(&mut token)?;
        self.token = token;
        self.padding(length)
    }

    fn length(&mut self) -> Result<u64, NarError> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn padding(&mut self, len: u64) -> Result<(), NarError> {
        let mut bytes = [0; 8];
        let pad = &mut bytes[..padding(len)];
        self.fill(pad)?;
        if pad.iter().all(|&b| b == 0) {
            Ok(())
        } else {
            Err(NarError::Padding { offset: self.offset })
        }
    }

    fn fill(&mut self, buf: &mut [u8]) -> Result<(), NarError> {
        match self.source.read_exact(buf) {
            Ok(()) => {
                self.offset = self.offset.saturating_add(buf.len() as u64);
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                Err(NarError::Truncated { offset: self.offset })
            }
            Err(e) => Err(NarError::Io(e)),
        }
    }
}
