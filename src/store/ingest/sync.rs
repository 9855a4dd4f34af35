//! Makes a tree durable file by file: for small trees, where this is cheaper than flushing the
//! whole file system.
//!
//! Which of the two is done is the choice of `store::durable`. It knows no paths of the store and
//! no rows; durability is complete only when the folder above is flushed too, which is left to the
//! caller.

use std::os::fd::BorrowedFd;
use std::path::Path;

use super::IngestError;
use super::walk::{File, Sink, walk};
use crate::store::canonicalise::{Trouble, doing};

/// Flushes every file and folder of the tree at `path` to disk and returns how many. The entry of
/// `path` itself lies in the folder above, which is the caller's to flush.
///
/// # Errors
/// [`IngestError::Io`] with the file that could not be flushed.
pub fn sync_tree(path: &Path) -> Result<u64, IngestError> {
    let mut sink = Flush(0);
    walk(path, None, &mut sink)?;
    Ok(sink.0)
}

struct Flush(u64);

impl Flush {
    fn flush(&mut self, fd: BorrowedFd<'_>) -> Result<(), Trouble> {
        self.0 += 1;
        rustix::fs::fsync(fd).map_err(doing("flushing to disk"))
    }
}

impl Sink for Flush {
    fn directory(&mut self, _: Option<&[u8]>, fd: BorrowedFd<'_>) -> Result<(), Trouble> {
        self.flush(fd)
    }

    fn end_directory(&mut self) -> Result<(), Trouble> {
        Ok(())
    }

    /// A symlink is on disk once its folder is.
    fn symlink(&mut self, _: Option<&[u8]>, _: &[u8]) -> Result<(), Trouble> {
        Ok(())
    }

    fn regular(&mut self, _: Option<&[u8]>, file: File<'_>) -> Result<(), Trouble> {
        self.flush(file.fd)
    }
}
