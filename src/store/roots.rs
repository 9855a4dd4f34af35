//! Temporary roots: what this process needs and the collector must not delete.
//!
//! One file per process, locked for as long as the process uses the store; records are full store
//! paths, each ended by NUL. A root counts once [`TempRoots::add`] has returned: either it was
//! written while no collector ran (the shared collector lock is held over the write), or the
//! running collector has acknowledged it.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;

use super::dead_roots::is_at;
use super::error::StoreError;
use super::layout::Layout;
use super::open::denied;
use crate::base::lock::{FileLock, Lockable, Mode, open_lock_file};
use crate::format::StorePath;

/// Roots sent to the collector before its answers are read: its answers must fit its buffer.
const ROOTS_A_ROUND: usize = 64;
/// Pause while a collector is starting or ending: it holds its lock but does not listen.
const PAUSE: Duration = Duration::from_millis(10);
/// Longest path that a socket address holds.
const MAX_SOCKET_PATH: usize = 107;

/// The temporary roots of this process in one store.
#[derive(Debug)]
pub struct TempRoots {
    path: PathBuf,
    gc_lock: Lockable,
    gc_socket: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: FileLock,
    collector: Option<UnixStream>,
    known: BTreeSet<StorePath>,
}

/// What a talk with the collector came to.
enum Talk {
    Acknowledged,
    /// It has ended or does not listen yet.
    Restart,
}

impl TempRoots {
    /// Makes and locks the file of this process.
    ///
    /// # Errors
    /// [`StoreError`] if the state folder cannot be written.
    pub fn open(layout: &Layout) -> Result<Self, StoreError> {
        let dir = layout.temp_roots_dir();
        std::fs::create_dir_all(&dir).map_err(|e| denied("creating the folder", &dir, e))?;
        let (path, file) = create_file(&dir)?;
        let gc_lock = Lockable::open(&layout.gc_lock())?;
        let state = State { file, collector: None, known: BTreeSet::new() };
        let gc_socket = layout.gc_socket();
        Ok(Self { path, gc_lock, gc_socket, state: Mutex::new(state) })
    }

    /// Adds roots for the life of this value; they hold when this returns. One write serves all.
    /// `print` gives a full path.
    ///
    /// # Errors
    /// [`StoreError`] if the file or the collector cannot be written to.
    pub fn add<'p>(
        &self,
        paths: impl IntoIterator<Item = &'p StorePath>,
        print: impl Fn(&StorePath) -> String,
    ) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        let new: BTreeSet<&StorePath> =
            paths.into_iter().filter(|path| !state.known.contains(*path)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let full: Vec<String> = new.iter().map(|path| print(path)).collect();
        loop {
            let gc_lock = self.gc_lock.try_lock(Mode::Shared)?;
            // Written before the lock is let go: a collector that starts now will read it.
            let safe = gc_lock.is_some()
                || matches!(self.tell(&mut state.collector, &full)?, Talk::Acknowledged);
            if safe {
                self.append(state.file.file(), &full)?;
                break;
            }
            state.collector = None;
            std::thread::park_timeout(PAUSE);
        }
        state.known.extend(new.into_iter().cloned());
        Ok(())
    }

    fn append(&self, mut file: &std::fs::File, full: &[String]) -> Result<(), StoreError> {
        let mut records = Vec::with_capacity(full.iter().map(|path| path.len() + 1).sum());
        for path in full {
            records.extend_from_slice(path.as_bytes());
            records.push(0);
        }
        file.write_all(&records).map_err(StoreError::io("writing temporary roots to", &self.path))
    }

    /// Tells the running collector of roots and waits for its answers. An answer may take as long
    /// as deleting one path: the one that is asked for.
    fn tell(
        &self,
        collector: &mut Option<UnixStream>,
        full: &[String],
    ) -> Result<Talk, StoreError> {
        let fail = StoreError::io("telling the garbage collector of roots at", &self.gc_socket);
        let stream = match collector {
            Some(stream) => stream,
            None => match connect(&self.gc_socket) {
                Ok(stream) => collector.insert(stream),
                Err(e) if is_absent(&e) => return Ok(Talk::Restart),
                Err(e) => return Err(fail(e)),
            },
        };
        for round in full.chunks(ROOTS_A_ROUND) {
            let lines: String = round.iter().flat_map(|path| [path.as_str(), "\n"]).collect();
            let mut answers = vec![0; round.len()];
            let talked =
                stream.write_all(lines.as_bytes()).and_then(|()| stream.read_exact(&mut answers));
            match talked {
                Ok(()) => {}
                Err(e) if is_gone(&e) => return Ok(Talk::Restart),
                Err(e) => return Err(fail(e)),
            }
            if let Some(&answer) = answers.iter().find(|&&answer| answer != b'1') {
                return Err(StoreError::BadAck { path: self.gc_socket.clone(), answer });
            }
        }
        Ok(Talk::Acknowledged)
    }
}

impl Drop for TempRoots {
    fn drop(&mut self) {
        // By the stale protocol, as another process of this number may be opening the file. What
        // stays behind is removed by the next collector.
        let _ = std::fs::remove_file(&self.path);
        let _ = self.state.get_mut().file.file().write_all(b"d");
    }
}

/// Makes and locks `<pid>` in `dir`, or `<pid>-<n>` where that is in use: by another store value
/// of this process, or by a process of this number in another pid namespace.
fn create_file(dir: &Path) -> Result<(PathBuf, FileLock), StoreError> {
    let pid = std::process::id();
    let mut number = 0_u32;
    loop {
        let name = if number == 0 { pid.to_string() } else { format!("{pid}-{number}") };
        let path = dir.join(name);
        let file = open_lock_file(&path)?;
        let tried = FileLock::try_lock(file, Mode::Exclusive);
        match tried.map_err(StoreError::io("locking", &path))? {
            Err(_in_use) => number += 1,
            Ok(lock) => {
                let meta = lock.file().metadata().map_err(StoreError::io("looking at", &path))?;
                if meta.len() == 0 {
                    return Ok((path, lock));
                }
                // A dead process's: what it worked on is still to be taken back. Or deleted by the
                // collector before we got the lock, then the name is free again.
                number += u32::from(is_at(lock.file(), &path));
            }
        }
    }
}

/// Connects to a socket however long its path is: an address holds 107 bytes, so a longer one goes
/// through a descriptor of its folder.
fn connect(path: &Path) -> io::Result<UnixStream> {
    if path.as_os_str().as_bytes().len() <= MAX_SOCKET_PATH {
        return UnixStream::connect(path);
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return UnixStream::connect(path);
    };
    let folder = std::fs::File::open(folder)?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&folder);
    UnixStream::connect(Path::new(&format!("/proc/self/fd/{number}")).join(name))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof
    )
}

#[cfg(test)]
mod tests;
