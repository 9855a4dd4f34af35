//! Writing: calls in the order of the tree become exactly the bytes that Nix writes.
//!
//! A writer refuses what a strict reader would refuse (order, names, depth), so what it wrote to
//! the end is a valid NAR. It keeps the name last written per open folder and no contents.

use std::io::{Read, Write};

use super::{
    Contents, Executable, MAGIC, MAX_DEPTH, MAX_TARGET, NarError, Visitor, check_name, check_order,
    lossy, padding,
};

/// Writes one NAR to `W`. Give it a buffered `Write`: it writes token by token.
///
/// A tree is one node; inside a folder each node follows its [`Writer::entry`].
pub struct Writer<W> {
    out: W,
    /// Last name of each open folder, outermost first. Slots beyond `depth` are kept for reuse.
    names: Vec<Vec<u8>>,
    depth: usize,
    expects: Expects,
}

/// What may be written next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expects {
    Node,
    EntryOrEnd,
    Contents { left: u64, size: u64 },
    Nothing,
}

impl<W: Write> Writer<W> {
    /// Starts a NAR.
    ///
    /// # Errors
    /// If `out` fails.
    pub fn new(out: W) -> Result<Self, NarError> {
        let mut writer = Self { out, names: Vec::new(), depth: 0, expects: Expects::Node };
        writer.token(MAGIC)?;
        Ok(writer)
    }

    /// Where the bytes go.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// Names the next node of the innermost open folder.
    ///
    /// # Errors
    /// If the name is not allowed or not above the one before, no folder is open, or `out` fails.
    pub fn entry(&mut self, name: &[u8]) -> Result<(), NarError> {
        if self.expects != Expects::EntryOrEnd {
            return Err(NarError::Misuse("an entry outside a folder"));
        }
        check_name(name)?;
        let previous = &mut self.names[self.depth - 1];
        check_order(previous, name)?;
        previous.clear();
        previous.extend_from_slice(name);
        self.expects = Expects::Node;
        self.tokens(&[b"entry", b"(", b"name", name, b"node"])
    }

    /// Opens a folder.
    ///
    /// # Errors
    /// If it is too deep, no node may stand here, or `out` fails.
    pub fn directory(&mut self) -> Result<(), NarError> {
        self.begin_node()?;
        if self.depth == self.names.len() {
            self.names.push(Vec::new());
        }
        self.names[self.depth].clear();
        self.depth += 1;
        self.expects = Expects::EntryOrEnd;
        self.tokens(&[b"(", b"type", b"directory"])
    }

    /// Closes the innermost open folder.
    ///
    /// # Errors
    /// If none is open or `out` fails.
    pub fn end_directory(&mut self) -> Result<(), NarError> {
        if self.expects != Expects::EntryOrEnd {
            return Err(NarError::Misuse("the end of a folder that is not open"));
        }
        self.depth -= 1;
        self.end_node()
    }

    /// Writes a symlink.
    ///
    /// # Errors
    /// If the target is not allowed, no node may stand here, or `out` fails.
    pub fn symlink(&mut self, target: &[u8]) -> Result<(), NarError> {
        self.begin_node()?;
        if target.is_empty() || target.len() > MAX_TARGET || target.contains(&0) {
            return Err(NarError::Target(lossy(target)));
        }
        self.tokens(&[b"(", b"type", b"symlink", b"target", target])?;
        self.end_node()
    }

    /// Starts a regular file of exactly `size` bytes, to be given by [`Writer::contents`] or
    /// written to [`Writer::get_mut`] and told by [`Writer::wrote`].
    ///
    /// # Errors
    /// If no node may stand here or `out` fails.
    pub fn begin_regular(&mut self, executable: Executable, size: u64) -> Result<(), NarError> {
        self.begin_node()?;
        self.tokens(&[b"(", b"type", b"regular"])?;
        if executable == Executable::Yes {
            self.tokens(&[b"executable", b""])?;
        }
        self.token(b"contents")?;
        self.out.write_all(&size.to_le_bytes())?;
        self.expects = Expects::Contents { left: size, size };
        Ok(())
    }

    /// Writes the next bytes of the open regular file.
    ///
    /// # Errors
    /// If there are more than its size, no file is open, or `out` fails.
    pub fn contents(&mut self, bytes: &[u8]) -> Result<(), NarError> {
        self.wrote(bytes.len() as u64)?;
        Ok(self.out.write_all(bytes)?)
    }

    /// Notes that `bytes` of the open regular file went to [`Writer::get_mut`] directly.
    ///
    /// # Errors
    /// If there are more than its size or no file is open.
    pub fn wrote(&mut self, bytes: u64) -> Result<(), NarError> {
        let Expects::Contents { left, .. } = &mut self.expects else {
            return Err(NarError::Misuse("contents outside a regular file"));
        };
        *left =
            left.checked_sub(bytes).ok_or(NarError::Misuse("more contents than were announced"))?;
        Ok(())
    }

    /// Ends the open regular file.
    ///
    /// # Errors
    /// If bytes are missing, no file is open, or `out` fails.
    pub fn end_regular(&mut self) -> Result<(), NarError> {
        let Expects::Contents { left: 0, size } = self.expects else {
            return Err(NarError::Misuse("fewer contents than were announced"));
        };
        self.out.write_all(&[0; 8][..padding(size)])?;
        self.end_node()
    }

    /// Writes a regular file whose `size` bytes come from `source`.
    ///
    /// # Errors
    /// If `source` has fewer bytes or fails, no node may stand here, or `out` fails.
    pub fn regular(
        &mut self,
        executable: Executable,
        size: u64,
        source: &mut dyn Read,
    ) -> Result<(), NarError> {
        self.begin_regular(executable, size)?;
        let copied = std::io::copy(&mut source.take(size), &mut self.out)?;
        self.wrote(copied)?;
        self.end_regular()
    }

    /// Ends the NAR and gives back where it went.
    ///
    /// # Errors
    /// If the tree is not complete.
    pub fn finish(self) -> Result<W, NarError> {
        if self.expects != Expects::Nothing {
            return Err(NarError::Misuse("the tree is not complete"));
        }
        Ok(self.out)
    }

    /// Names the next node, unless it is the root.
    fn named(&mut self, name: Option<&[u8]>) -> Result<&mut Self, NarError> {
        name.map_or(Ok(()), |name| self.entry(name))?;
        Ok(self)
    }

    fn begin_node(&self) -> Result<(), NarError> {
        if self.expects != Expects::Node {
            return Err(NarError::Misuse("a node without an entry"));
        }
        if self.depth >= MAX_DEPTH { Err(NarError::Depth) } else { Ok(()) }
    }

    fn end_node(&mut self) -> Result<(), NarError> {
        self.token(b")")?;
        if self.depth == 0 {
            self.expects = Expects::Nothing;
            return Ok(());
        }
        self.expects = Expects::EntryOrEnd;
        self.token(b")")
    }

    fn tokens(&mut self, tokens: &[&[u8]]) -> Result<(), NarError> {
        tokens.iter().try_for_each(|token| self.token(token))
    }

    fn token(&mut self, bytes: &[u8]) -> Result<(), NarError> {
        let len = bytes.len() as u64;
        self.out.write_all(&len.to_le_bytes())?;
        self.out.write_all(bytes)?;
        Ok(self.out.write_all(&[0; 8][..padding(len)])?)
    }
}

/// Driven by a reader, it writes what is read: the same bytes again.
impl<W: Write> Visitor for Writer<W> {
    type Error = NarError;

    fn directory(&mut self, name: Option<&[u8]>) -> Result<(), NarError> {
        self.named(name)?.directory()
    }

    fn end_directory(&mut self) -> Result<(), NarError> {
        self.end_directory()
    }

    fn symlink(&mut self, name: Option<&[u8]>, target: &[u8]) -> Result<(), NarError> {
        self.named(name)?.symlink(target)
    }

    fn regular(
        &mut self,
        name: Option<&[u8]>,
        executable: Executable,
        contents: &mut Contents<'_>,
    ) -> Result<(), NarError> {
        let size = contents.size();
        self.named(name)?.regular(executable, size, contents)
    }
}
