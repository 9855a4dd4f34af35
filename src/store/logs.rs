//! Build logs as Nix keeps them: written plain while a build runs, compressed when it is done.
//!
//! A short log stays in memory until the end, so a trivial build costs one file. A longer one lies
//! plain at its final name, where `nix log` reads it meanwhile. The compressed file appears whole
//! or not at all. Who calls [`LogWriter::finish`] should do so off every path that others wait on:
//! 100 MB take seconds.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use bzip2::Compression;
use bzip2::read::MultiBzDecoder;
use bzip2::write::BzEncoder;

use super::error::StoreError;
use super::layout::Layout;
use super::open::denied;
use crate::format::StorePath;

/// Bytes of log kept in memory before a file is made.
const IN_MEMORY: usize = 64 << 10;
/// Bytes in a block per level of bzip2.
const BLOCK: u64 = 100_000;
/// What bzip2 makes of nothing at its highest level, as Nix writes it.
const EMPTY_BZ2: [u8; 14] = *b"BZh9\x17\x72\x45\x38\x50\x90\0\0\0\0";

/// What becomes of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogPolicy {
    /// `keep-build-log` and `compress-build-log`.
    Compressed,
    /// `keep-build-log` alone.
    Plain,
    /// Not kept.
    Dropped,
}

/// The log of one running build.
#[derive(Debug)]
pub struct LogWriter {
    policy: LogPolicy,
    plain: PathBuf,
    compressed: PathBuf,
    buffer: Vec<u8>,
    file: Option<File>,
    length: u64,
}

impl LogWriter {
    /// The log of `drv`, nothing written yet.
    #[must_use]
    pub fn new(layout: &Layout, drv: &StorePath, policy: LogPolicy) -> Self {
        Self {
            policy,
            plain: layout.log_file(drv),
            compressed: layout.compressed_log_file(drv),
            buffer: Vec::new(),
            file: None,
            length: 0,
        }
    }

    /// Bytes written so far.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Where it will lie after [`LogWriter::finish`], unless it is not kept.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self.policy {
            LogPolicy::Dropped => None,
            LogPolicy::Plain => Some(&self.plain),
            LogPolicy::Compressed => Some(&self.compressed),
        }
    }

    /// Adds what the builder said.
    ///
    /// # Errors
    /// [`StoreError`] if the file cannot be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.length += bytes.len() as u64;
        if self.policy == LogPolicy::Dropped {
            return Ok(());
        }
        if self.file.is_none() && self.buffer.len() + bytes.len() <= IN_MEMORY {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        let fail = StoreError::io("writing the log", &self.plain);
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let mut file = create(&self.plain)?;
                let early = std::mem::take(&mut self.buffer);
                file.write_all(&early).map_err(StoreError::io("writing the log", &self.plain))?;
                self.file.insert(file)
            }
        };
        file.write_all(bytes).map_err(fail)
    }

    /// Puts the log where it stays; returns its file, `None` if it is not kept.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be written; what was written plain stays.
    pub fn finish(self) -> Result<Option<PathBuf>, StoreError> {
        match self.policy {
            LogPolicy::Dropped => Ok(None),
            LogPolicy::Plain => self.finish_plain().map(Some),
            LogPolicy::Compressed => self.finish_compressed().map(Some),
        }
    }

    fn finish_plain(self) -> Result<PathBuf, StoreError> {
        if self.file.is_none() {
            put_whole(&self.plain, |file| file.write_all(&self.buffer))?;
        }
        remove_old(&self.compressed)?;
        Ok(self.plain)
    }

    fn finish_compressed(self) -> Result<PathBuf, StoreError> {
        let level = u32::try_from(self.length.div_ceil(BLOCK).clamp(1, 9)).unwrap_or(9);
        put_whole(&self.compressed, |file| {
            if self.length == 0 {
                return file.write_all(&EMPTY_BZ2);
            }
            let mut encoder = BzEncoder::new(file, Compression::new(level));
            if self.file.is_some() {
                io::copy(&mut File::open(&self.plain)?, &mut encoder)?;
            } else {
                encoder.write_all(&self.buffer)?;
            }
            encoder.finish().map(|_| ())
        })?;
        // Readers look for the plain one first: an old one would hide the new.
        remove_old(&self.plain)?;
        Ok(self.compressed)
    }
}

fn create(path: &Path) -> Result<File, StoreError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| denied("creating the folder", folder, e))?;
    }
    // Mode 0666 less the umask: logs are for everybody.
    File::create(path).map_err(|e| denied("creating the log", path, e))
}

/// Writes a file under another name and renames it.
fn put_whole(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), StoreError> {
    let mut temp = OsString::from(path);
    temp.push(format!(".tmp.{}", std::process::id()));
    let temp = PathBuf::from(temp);
    let mut file = create(&temp)?;
    let written = write(&mut file).and_then(|()| std::fs::rename(&temp, path));
    written.map_err(|e| {
        // The failure of the write is what counts.
        let _ = std::fs::remove_file(&temp);
        StoreError::io("writing the log", path)(e)
    })
}

fn remove_old(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::io("removing the old log", path)(e))
        }
        _ => Ok(()),
    }
}

/// A kept log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Whether it is compressed (bzip2).
    pub compressed: bool,
}

/// The log of `drv`, in Nix's order: `xx/rest`, then the flat place of old; each plain first.
#[must_use]
pub fn find_log(layout: &Layout, drv: &StorePath) -> Option<LogFile> {
    [layout.log_file(drv), layout.flat_log_file(drv)].into_iter().find_map(|plain| {
        if plain.is_file() {
            return Some(LogFile { path: plain, compressed: false });
        }
        let mut path = plain.into_os_string();
        path.push(".bz2");
        let path = PathBuf::from(path);
        path.is_file().then_some(LogFile { path, compressed: true })
    })
}

impl LogFile {
    /// Opens it; the reader gives the plain text.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn open(&self) -> Result<Box<dyn Read + Send>, StoreError> {
        let file = File::open(&self.path).map_err(StoreError::io("opening the log", &self.path))?;
        let file = BufReader::new(file);
        Ok(if self.compressed { Box::new(MultiBzDecoder::new(file)) } else { Box::new(file) })
    }
}

#[cfg(test)]
mod tests;
