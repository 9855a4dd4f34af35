//! The stream of a NAR on its way into hashes and the reference scan.
//!
//! Small trees stay on the calling thread, in one buffer. Once a buffer is full, a second thread
//! hashes while this one reads and scans, with a handful of buffers going round: hashing is the
//! floor of the cost, everything else hides behind it. Memory is constant. Where no thread can be
//! had, the same work is done here. Knows nothing of trees.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::walk::stop_if;
use crate::base::Cancel;
use crate::format::hash::Hasher;
use crate::format::refs::Scanner;
use crate::format::{Algorithm, Hash, StorePath};

/// Bytes of a buffer: large against a message between threads, small against a core's cache.
const BUFFER: usize = 256 * 1024;
/// Buffers that go round between reader and hasher.
const BUFFERS: usize = 4;
/// From this size on a file's length is looked at again after reading.
const LARGE: u64 = 1 << 20;

/// The hash of the whole stream, and another of a part of it.
pub(super) struct Digests {
    nar: Hasher,
    second: Option<(Hasher, Range<u64>)>,
    at: u64,
}

impl Digests {
    pub(super) fn new(second: Option<(Algorithm, Range<u64>)>) -> Self {
        let second = second.map(|(algorithm, range)| (Hasher::new(algorithm), range));
        Self { nar: Hasher::new(Algorithm::Sha256), second, at: 0 }
    }

    fn update(&mut self, data: &[u8]) {
        self.nar.update(data);
        let end = self.at + data.len() as u64;
        if let Some((hasher, range)) = &mut self.second {
            let start = range.start.clamp(self.at, end) - self.at;
            let stop = range.end.clamp(self.at, end) - self.at;
            hasher.update(&data[start as usize..stop.max(start) as usize]);
        }
        self.at = end;
    }
}

/// What a stream comes to.
pub(super) struct Sums {
    pub(super) nar_hash: Hash,
    pub(super) second: Option<Hash>,
    pub(super) size: u64,
    pub(super) references: BTreeSet<StorePath>,
}

struct Full {
    buffer: Vec<u8>,
    len: usize,
}

enum Work {
    /// Hashing here; a second thread may follow.
    Here(Digests),
    /// Hashing here for good: there was no thread to be had.
    Alone(Digests),
    /// Hashing there.
    Threaded {
        full: Sender<Full>,
        empty: Receiver<Vec<u8>>,
        made: usize,
        thread: JoinHandle<Digests>,
    },
    /// The thread is gone: an error was returned.
    Broken,
}

/// Takes a NAR's bytes.
pub(super) struct Stream {
    buffer: Vec<u8>,
    filled: usize,
    flushed: u64,
    scanner: Scanner,
    cancel: Cancel,
    work: Work,
}

impl Stream {
    /// A stream that refuses what comes once `cancel` is triggered.
    pub(super) fn new(scanner: Scanner, digests: Digests, cancel: Cancel) -> Self {
        let work = Work::Here(digests);
        Self { buffer: vec![0; BUFFER], filled: 0, flushed: 0, scanner, cancel, work }
    }

    /// Bytes so far.
    pub(super) fn position(&self) -> u64 {
        self.flushed + self.filled as u64
    }

    /// Says which part of the stream the second hash is of. Only before the first buffer is full.
    pub(super) fn set_second_range(&mut self, range: Range<u64>) {
        if let Work::Here(Digests { second: Some((_, old)), .. }) = &mut self.work {
            *old = range;
        }
    }

    /// Reads exactly `size` bytes from `fd` into the stream.
    pub(super) fn read_from(&mut self, fd: BorrowedFd<'_>, size: u64) -> io::Result<()> {
        let changed = || io::Error::other("the file changed its size while it was read");
        let mut left = size;
        while left > 0 {
            let room = self.room()?;
            let want = room.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let got = rustix::io::retry_on_intr(|| rustix::io::read(fd, &mut room[..want]))?;
            if got == 0 {
                return Err(changed());
            }
            self.filled += got;
            left -= got as u64;
        }
        if size >= LARGE && rustix::fs::fstat(fd)?.st_size as u64 != size {
            return Err(changed());
        }
        Ok(())
    }

    /// Ends the stream.
    pub(super) fn finish(mut self) -> io::Result<Sums> {
        let size = self.position();
        let digests = match std::mem::replace(&mut self.work, Work::Broken) {
            Work::Here(mut digests) | Work::Alone(mut digests) => {
                self.scanner.update(&self.buffer[..self.filled]);
                digests.update(&self.buffer[..self.filled]);
                digests
            }
            Work::Threaded { full, thread, .. } => {
                let rest = Full { buffer: std::mem::take(&mut self.buffer), len: self.filled };
                self.scanner.update(&rest.buffer[..rest.len]);
                full.send(rest).map_err(|_| hasher_died())?;
                drop(full);
                thread.join().map_err(|_| hasher_died())?
            }
            Work::Broken => return Err(hasher_died()),
        };
        Ok(Sums {
            nar_hash: digests.nar.finish(),
            second: digests.second.map(|(hasher, _)| hasher.finish()),
            size,
            references: self.scanner.finish(),
        })
    }

    /// Where the next bytes go: never empty.
    fn room(&mut self) -> io::Result<&mut [u8]> {
        if self.filled == BUFFER {
            self.pass_on()?;
        }
        Ok(&mut self.buffer[self.filled..])
    }

    /// Hands a full buffer to the hasher and takes an empty one.
    fn pass_on(&mut self) -> io::Result<()> {
        stop_if(Some(&self.cancel))?;
        if matches!(self.work, Work::Here(_)) {
            self.start_thread();
        }
        let len = std::mem::take(&mut self.filled);
        self.flushed += len as u64;
        match &mut self.work {
            Work::Here(digests) | Work::Alone(digests) => {
                self.scanner.update(&self.buffer[..len]);
                digests.update(&self.buffer[..len]);
            }
            Work::Threaded { full, empty, made, .. } => {
                self.scanner.update(&self.buffer[..len]);
                let next = if *made < BUFFERS {
                    *made += 1;
                    vec![0; BUFFER]
                } else {
                    empty.recv().map_err(|_| hasher_died())?
                };
                let buffer = std::mem::replace(&mut self.buffer, next);
                full.send(Full { buffer, len }).map_err(|_| hasher_died())?;
            }
            Work::Broken => return Err(hasher_died()),
        }
        Ok(())
    }

    fn start_thread(&mut self) {
        let Work::Here(digests) = std::mem::replace(&mut self.work, Work::Broken) else { return };
        let (full, fulls) = bounded::<Full>(BUFFERS);
        let (empties, empty) = bounded::<Vec<u8>>(BUFFERS + 1);
        // Goes over by channel, since a closure that fails to start is lost with all it holds.
        let (give, take) = bounded::<Digests>(1);
        let hash = move || {
            let mut digests = take.recv().unwrap_or_else(|_| Digests::new(None));
            for Full { buffer, len } in fulls {
                digests.update(&buffer[..len]);
                // The reader may have ended; then nobody needs the buffer.
                let _ = empties.send(buffer);
            }
            digests
        };
        self.work = match std::thread::Builder::new().name("hash".into()).spawn(hash) {
            Ok(thread) => match give.send(digests) {
                Ok(()) => Work::Threaded { full, empty, made: 1, thread },
                Err(lost) => Work::Alone(lost.into_inner()),
            },
            Err(_) => Work::Alone(digests),
        };
    }
}

impl Write for Stream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let room = self.room()?;
        let len = room.len().min(data.len());
        room[..len].copy_from_slice(&data[..len]);
        self.filled += len;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn hasher_died() -> io::Error {
    io::Error::other("the hashing thread ended early")
}
