//! Who holds a `flock`, from the kernel's table: for messages to people who wait.
//!
//! A guess by nature: the holder may have gone when it is read, and nothing may depend on it. It
//! does not know what a lock file stands for.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A process that holds a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its process id, as this process sees it.
    pub pid: u32,
    /// Its command line, or its name where that is not readable; empty if it has just ended.
    pub command: String,
}

/// How often the table of locks is read before nobody is said to hold one.
const LOOKS: usize = 20;

/// Who holds the exclusive or shared `flock` of the file at `path`, as `/proc/locks` tells:
/// nobody, or nobody that this process can see (another pid namespace), is `None`.
#[must_use]
pub fn holder_of(path: &Path) -> Option<Holder> {
    let meta = std::fs::metadata(path).ok()?;
    let (major, minor) = (libc::major(meta.dev()), libc::minor(meta.dev()));
    let file = format!("{major:02x}:{minor:02x}:{}", meta.ino());
    // The kernel writes the table piece by piece: where others lock and unlock meanwhile, a line
    // may be skipped. It is hardly skipped every time.
    let look = || find_holder(&std::fs::read_to_string("/proc/locks").ok()?, &file);
    let pid = (0..LOOKS).find_map(|_| look())?;
    Some(Holder { pid, command: command_of(pid) })
}

/// The pid in the first line of `table` (proc_locks(5)) that is a held `flock` on `file`.
pub(super) fn find_holder(table: &str, file: &str) -> Option<u32> {
    table.lines().find_map(|line| {
        // `1: FLOCK  ADVISORY  WRITE 17579 fe:00:10010769 0 EOF`; who waits has `->` after `1:`.
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, pid, id, ..] = fields[..] else { return None };
        (id == file).then(|| pid.parse().ok()).flatten().filter(|&pid| pid != 0)
    })
}

fn command_of(pid: u32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = String::from_utf8_lossy(&line).replace('\0', " ");
    if !words.trim().is_empty() {
        return words.trim().to_owned();
    }
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim().to_owned()
}
