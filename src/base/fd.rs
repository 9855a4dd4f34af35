//! Descriptors: every one made here is CLOEXEC from birth, so that none leaks into a child another
//! thread makes at the same moment. Knows nothing of what is sent.
//!
//! Descriptors are owned values; numbers occur only where the kernel speaks in them (received
//! messages, `close_range`), and those places are the only unsafe ones.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::sys::socket::{self, AddressFamily, ControlMessage, ControlMessageOwned};
use nix::sys::socket::{MsgFlags, SockFlag, SockType};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::error::{Doing, Result};

/// A pipe, (read, write), holding up to `size` bytes where the system allows it.
pub fn pipe(size: usize) -> Result<(OwnedFd, OwnedFd)> {
    let (read, write) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).calling("making a pipe")?;
    // A user beyond the system's soft limit of pipe memory keeps the small one: slower, not wrong.
    let _ = rustix::pipe::fcntl_setpipe_size(&write, size);
    Ok((read, write))
}

/// Two connected sockets that keep messages apart.
pub fn message_pair() -> Result<(OwnedFd, OwnedFd)> {
    socket::socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .calling("making a socket pair")
}

/// Sends one message of one byte with descriptors. Blocks while the receiver's queue is full.
pub fn send_fds(socket: BorrowedFd<'_>, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let data = [io::IoSlice::new(b"!")];
    let rights = [ControlMessage::ScmRights(&raw)];
    let flags = MsgFlags::MSG_NOSIGNAL;
    loop {
        match socket::sendmsg::<()>(socket.as_raw_fd(), &data, &rights, flags, None) {
            Ok(_) => return Ok(()),
            Err(nix::Error::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Receives a message of [`send_fds`]: `None` once the other side is gone.
pub fn receive_fds<const N: usize>(socket: BorrowedFd<'_>) -> io::Result<Option<Vec<OwnedFd>>> {
    let mut byte = [0u8; 1];
    let mut data = [io::IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([RawFd; N]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = loop {
        match socket::recvmsg::<()>(socket.as_raw_fd(), &mut data, Some(&mut space), flags) {
            Err(nix::Error::EINTR) => {}
            other => break other?,
        }
    };
    if message.bytes == 0 {
        return Ok(None);
    }
    let mut fds = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = part {
            fds.extend(raw.into_iter().map(own));
        }
    }
    Ok(Some(fds))
}

/// Takes charge of a descriptor the kernel has just put into this process.
#[expect(unsafe_code, reason = "received descriptors arrive as numbers")]
fn own(raw: RawFd) -> OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: `raw` comes from SCM_RIGHTS of a message just received: it is open and nobody else
    // in this process knows it.
    unsafe { OwnedFd::from_raw_fd(raw) }
}

/// Closes every descriptor from `first` on, whoever opened it. Only for a process that owns none.
#[expect(unsafe_code, reason = "no safe wrapper of close_range")]
pub fn close_from(first: u32) {
    // SAFETY: plain numbers; the callers are fresh processes that hold no `OwnedFd` from `first`
    // on.
    if unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) } == 0 {
        return;
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let last = limit.current.unwrap_or(1 << 20).min(1 << 20) as i32;
    for fd in first as i32..last {
        // SAFETY: as above.
        unsafe { libc::close(fd) };
    }
}

/// Waits until one of `fds` is readable or closed, at most `timeout`; says which are. All false
/// after a time-out.
pub fn wait_readable<const N: usize>(
    fds: [BorrowedFd<'_>; N],
    timeout: Option<Duration>,
) -> io::Result<[bool; N]> {
    wait_some(fds.map(Some), timeout)
}

/// As [`wait_readable`], skipping those that are `None`.
pub fn wait_some<const N: usize>(
    fds: [Option<BorrowedFd<'_>>; N],
    timeout: Option<Duration>,
) -> io::Result<[bool; N]> {
    let timeout = timeout.map(|t| Timespec {
        tv_sec: t.as_secs().min(1 << 30) as i64,
        tv_nsec: i64::from(t.subsec_nanos()),
    });
    let mut slots = [0; N];
    let mut polled = Vec::with_capacity(N);
    for (n, fd) in fds.iter().enumerate().filter_map(|(n, fd)| Some((n, (*fd)?))) {
        slots[polled.len()] = n;
        polled.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
    }
    let mut ready = [false; N];
    match poll(&mut polled, timeout.as_ref()) {
        // An interruption is a wake-up for nothing: the callers look at their clocks and come back.
        Err(rustix::io::Errno::INTR) => return Ok(ready),
        other => other?,
    };
    for (at, slot) in polled.iter().enumerate() {
        ready[slots[at]] = !slot.revents().is_empty();
    }
    Ok(ready)
}

/// Makes reads of `fd` return at once. The flag belongs to the open file, so both ends of a pipe
/// are told apart but clones of one end are not.
pub fn set_nonblocking(fd: impl AsFd) -> Result<()> {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    let flags = fcntl_getfl(&fd).calling("reading descriptor flags")?;
    fcntl_setfl(&fd, flags | OFlags::NONBLOCK).calling("setting descriptor flags")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_travel_and_an_end_is_seen() {
        let (a, b) = message_pair().unwrap();
        let (read, write) = pipe(65536).unwrap();
        send_fds(a.as_fd(), &[write.as_fd()]).unwrap();
        drop(write);
        let got = receive_fds::<4>(b.as_fd()).unwrap().unwrap();
        assert_eq!(got.len(), 1);
        rustix::io::write(&got[0], b"x").unwrap();
        let ready = wait_readable([read.as_fd(), b.as_fd()], None).unwrap();
        assert_eq!(ready, [true, false]);
        let flags = rustix::io::fcntl_getfd(&got[0]).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        drop(a);
        assert!(receive_fds::<4>(b.as_fd()).unwrap().is_none());
    }

    #[test]
    fn a_wait_ends_by_its_time() {
        let (read, _write) = pipe(65536).unwrap();
        let ready = wait_some([None, Some(read.as_fd())], Some(Duration::ZERO)).unwrap();
        assert_eq!(ready, [false, false]);
    }
}
