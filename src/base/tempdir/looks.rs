//! What an empty folder looks like: all that a builder could change about it without leaving a file
//! behind.
//!
//! Two folders that look the same here cannot be told apart by what is built in them, but for their
//! times, which whoever hands one out sets anew. What cannot be told is never the same.

use std::fs::File;

use rustix::fs::{AtFlags, StatxFlags, statx};
use rustix::io::Errno;

/// All of an empty folder that a builder could have changed, but its times: those are set anew.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Looks {
    mode: u16,
    owner: (u32, u32),
    links: u32,
    /// A folder that held much stays large on some file systems.
    size: u64,
    /// Immutable, append-only and the like, as all file systems tell them.
    attributes: u64,
    /// The same as some tell them, and what files made in the folder inherit: names without case,
    /// writes that wait for the disk.
    flags: Option<u32>,
    /// Names and values of extended attributes, access lists among them.
    extended: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Looks {
    /// `None` when it cannot be told: such a folder is not used again.
    pub(super) fn of(folder: &File) -> Option<Looks> {
        let stat = statx(folder, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).ok()?;
        let flags = match rustix::fs::ioctl_getflags(folder) {
            Ok(flags) => Some(flags.bits()),
            Err(Errno::NOTTY | Errno::NOTSUP | Errno::INVAL | Errno::NOSYS) => None,
            Err(_) => return None,
        };
        Some(Looks {
            mode: stat.stx_mode,
            owner: (stat.stx_uid, stat.stx_gid),
            links: stat.stx_nlink,
            size: stat.stx_size,
            attributes: stat.stx_attributes.bits(),
            flags,
            extended: extended(folder)?,
        })
    }
}

/// The extended attributes of a folder, none where its file system has none.
fn extended(folder: &File) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let length = match rustix::fs::flistxattr_query(folder) {
        Ok(length) => length,
        Err(Errno::NOTSUP) => 0,
        Err(_) => return None,
    };
    if length == 0 {
        return Some(Vec::new());
    }
    let mut names = vec![0_u8; length];
    let got = rustix::fs::flistxattr(folder, &mut names[..]).ok()?;
    let names = names[..got].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut found = names
        .map(|name| {
            let mut value = vec![0_u8; rustix::fs::fgetxattr_query(folder, name).ok()?];
            let got = rustix::fs::fgetxattr(folder, name, &mut value[..]).ok()?;
            value.truncate(got);
            Some((name.to_vec(), value))
        })
        .collect::<Option<Vec<_>>>()?;
    found.sort_unstable();
    Some(found)
}
