//! Files, by descriptor: removal that no tree a builder leaves can stop, writes that are whole or
//! not there, and the room that is left.
//!
//! Removal never follows a symlink and never leaves the file system it began on. It holds at most
//! a few descriptors whatever the depth and never names a path longer than one file name.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::error::{Doing, Error, Result};

/// What a removal gave back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Removed {
    /// Bytes on disk of files whose last link went.
    pub bytes: u64,
    /// Files and folders.
    pub entries: u64,
}

/// Room left on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes an ordinary user may still write.
    pub bytes: u64,
    /// Files an ordinary user may still make; `u64::MAX` where the file system does not count.
    pub inodes: u64,
}

/// The room left on the file system of `path`.
pub fn room(path: &Path) -> Result<Room> {
    let stat = rustix::fs::statvfs(path).doing("looking for room on the file system of", path)?;
    Ok(Room {
        bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        inodes: if stat.f_files == 0 { u64::MAX } else { stat.f_favail },
    })
}

/// Removes what is at `path`, whatever the modes of folders in it. A path that is not there is no
/// error; another file system mounted inside is one.
pub fn remove_tree(path: &Path) -> Result<Removed> {
    let Some(name) = path.file_name() else {
        return Err(Errno::INVAL).doing("removing", path);
    };
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    // The way to the folder may lead through symlinks; what is removed is never followed.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent_fd = match rustix::fs::open(parent, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(Removed::default()),
        other => other.doing("opening", parent)?,
    };
    let name = CString::new(name.as_bytes()).map_err(|_| Errno::INVAL).doing("removing", path)?;
    remove_at(parent_fd.as_fd(), &name).map_err(|(source, inside)| Error::Path {
        doing: "removing",
        path: inside
            .iter()
            .fold(path.to_path_buf(), |p, n| p.join(OsStr::from_bytes(n.to_bytes()))),
        source: source.into(),
    })
}

fn open_folder(at: impl AsFd, path: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, path, flags, Mode::empty())
}

type Failed = (Errno, Vec<CString>);

/// A folder that is being emptied: its name in its parent, what identifies it, its subfolders left.
struct Level {
    name: CString,
    id: (u64, u64),
    folders: Vec<CString>,
}

/// Removes `name` in `top`. Goes down with one open folder at a time and up by `..`, checked to be
/// the folder we came from, so that neither depth nor a folder moved by somebody else misleads it.
fn remove_at(top: BorrowedFd<'_>, name: &CStr) -> std::result::Result<Removed, Failed> {
    let mut removed = Removed::default();
    let none = |e| (e, Vec::new());
    let stat = match rustix::fs::statat(top, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(removed),
        other => other.map_err(none)?,
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        unlink(top, name, Some(&stat), &mut removed).map_err(none)?;
        return Ok(removed);
    }
    let device = stat.st_dev;
    let mut levels: Vec<Level> = Vec::new();
    let inside = |levels: &[Level], name: &CStr| {
        levels.iter().skip(1).map(|l| l.name.clone()).chain([name.to_owned()]).collect()
    };
    let mut here = enter(top, name, device).map_err(none)?;
    let (mut id, mut own) = (id_of(&here).map_err(none)?, name.to_owned());
    loop {
        let folders = empty(here.as_fd(), &mut removed).map_err(|(e, n)| {
            let mut names: Vec<CString> = levels.iter().skip(1).map(|l| l.name.clone()).collect();
            names.extend((!levels.is_empty()).then(|| own.clone()));
            names.push(n);
            (e, names)
        })?;
        levels.push(Level { name: own, id, folders });
        // Up as long as nothing is left to go into.
        loop {
            let Some(level) = levels.last_mut() else { return Ok(removed) };
            if let Some(next) = level.folders.pop() {
                here =
                    enter(here.as_fd(), &next, device).map_err(|e| (e, inside(&levels, &next)))?;
                id = id_of(&here).map_err(|e| (e, inside(&levels, &next)))?;
                own = next;
                break;
            }
            let done = levels.pop().map(|level| level.name).unwrap_or_default();
            let up = match levels.last() {
                Some(parent) => {
                    Some(climb(&here, parent.id).map_err(|e| (e, inside(&levels, &done)))?)
                }
                None => None,
            };
            let at = up.as_ref().map_or(top, |fd| fd.as_fd());
            match rustix::fs::unlinkat(at, &done, AtFlags::REMOVEDIR) {
                Ok(()) => removed.entries += 1,
                Err(Errno::NOENT) => {}
                Err(e) if levels.is_empty() => return Err(none(e)),
                Err(e) => return Err((e, inside(&levels, &done))),
            }
            match up {
                Some(up) => here = up,
                None => return Ok(removed),
            }
        }
    }
}

fn id_of(folder: &OwnedFd) -> rustix::io::Result<(u64, u64)> {
    rustix::fs::fstat(folder).map(|stat| (stat.st_dev, stat.st_ino))
}

fn climb(folder: &OwnedFd, parent: (u64, u64)) -> rustix::io::Result<OwnedFd> {
    let up = open_folder(folder, c"..")?;
    // Moved away while we were inside: what is above is not ours to empty.
    if id_of(&up)? == parent { Ok(up) } else { Err(Errno::STALE) }
}

/// Opens a folder, making it readable and writable for its owner.
fn enter(at: BorrowedFd<'_>, name: &CStr, device: u64) -> rustix::io::Result<OwnedFd> {
    let folder = match open_folder(at, name) {
        Err(Errno::ACCESS) => {
            // A folder without modes cannot be opened to be changed. A symlink put in its place
            // meanwhile would be followed here, hence the look before; only its owner could do it.
            let stat = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                return Err(Errno::NOTDIR);
            }
            rustix::fs::chmodat(at, name, Mode::RWXU, AtFlags::empty())?;
            open_folder(at, name)?
        }
        other => other?,
    };
    let stat = rustix::fs::fstat(&folder)?;
    if stat.st_dev != device {
        return Err(Errno::XDEV);
    }
    if stat.st_mode & 0o700 != 0o700 {
        rustix::fs::fchmod(&folder, Mode::RWXU)?;
    }
    Ok(folder)
}

/// Unlinks all that is no folder; the names of the folders.
fn empty(
    folder: BorrowedFd<'_>,
    removed: &mut Removed,
) -> std::result::Result<Vec<CString>, (Errno, CString)> {
    let mut folders = Vec::new();
    let whole = |e| (e, CString::default());
    for entry in Dir::read_from(folder).map_err(whole)? {
        let entry = entry.map_err(whole)?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let failed = |e| (e, name.to_owned());
        let (kind, stat) = match entry.file_type() {
            FileType::Directory => (FileType::Directory, None),
            _ => match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                Err(e) => return Err(failed(e)),
                Ok(stat) => (FileType::from_raw_mode(stat.st_mode), Some(stat)),
            },
        };
        if kind == FileType::Directory {
            folders.push(name.to_owned());
        } else {
            unlink(folder, name, stat.as_ref(), removed).map_err(failed)?;
        }
    }
    Ok(folders)
}

fn unlink(
    folder: BorrowedFd<'_>,
    name: &CStr,
    stat: Option<&Stat>,
    removed: &mut Removed,
) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    }
    removed.entries += 1;
    if let Some(stat) = stat.filter(|stat| stat.st_nlink == 1) {
        removed.bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
    }
    Ok(())
}

/// Renames `path` to a name beside it that nobody has, so that it can be removed later: the new
/// path, or `None` when nothing was there.
pub fn rename_aside(path: &Path, mark: &str) -> Result<Option<PathBuf>> {
    let name = path.file_name().ok_or(Errno::INVAL).doing("renaming", path)?;
    for n in 0u32.. {
        let mut aside = OsStr::new(".").to_os_string();
        aside.push(name);
        aside.push(format!(".{mark}-{}-{n}", std::process::id()));
        let aside = path.with_file_name(aside);
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(rustix::fs::CWD, path, rustix::fs::CWD, &aside, flags) {
            Ok(()) => return Ok(Some(aside)),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::EXIST) => {}
            Err(e) => return Err(e).doing("renaming", path),
        }
    }
    Err(Errno::EXIST).doing("renaming", path)
}

/// Makes `path` hold `bytes` with `mode`, on disk: by a file beside it that takes its place, so
/// that nobody ever reads a part.
pub fn write_atomically(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let name = path.file_name().ok_or(Errno::INVAL).doing("writing", path)?;
    let (mut file, draft) = create_draft(path, name)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?))
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&draft, path));
    if let Err(source) = written {
        let _ = std::fs::remove_file(&draft);
        return Err(Error::Path { doing: "writing", path: path.to_path_buf(), source });
    }
    match path.parent() {
        Some(parent) if parent != Path::new("") => fsync_dir(parent),
        _ => fsync_dir(Path::new(".")),
    }
}

fn create_draft(path: &Path, name: &OsStr) -> Result<(File, PathBuf)> {
    for n in 0u32.. {
        let mut draft = OsStr::new(".").to_os_string();
        draft.push(name);
        draft.push(format!(".tmp-{}-{n}", std::process::id()));
        let draft = path.with_file_name(draft);
        match File::create_new(&draft) {
            Ok(file) => return Ok((file, draft)),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e).doing("creating", &draft),
        }
    }
    Err(Errno::EXIST).doing("creating a file beside", path)
}

/// Reads a regular file of at most `most` bytes. Anything else, a symlink too, is an error of kind
/// [`ErrorKind::InvalidData`]: a pipe or device in its place could never end.
pub fn read_regular(path: &Path, most: u64) -> Result<Vec<u8>> {
    use std::io::Read;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = match rustix::fs::open(path, flags, Mode::empty()) {
        // What the kernel calls a loop is a symlink here.
        Err(Errno::LOOP) => {
            return Err(not_regular(FileType::Symlink)).doing("reading", path);
        }
        // A socket cannot be opened, nor a device that is not there.
        Err(Errno::NXIO) => {
            let stat = rustix::fs::lstat(path).doing("reading", path)?;
            return Err(not_regular(FileType::from_raw_mode(stat.st_mode))).doing("reading", path);
        }
        other => other.doing("reading", path)?,
    };
    let stat = rustix::fs::fstat(&fd).doing("reading", path)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind != FileType::RegularFile {
        return Err(not_regular(kind)).doing("reading", path);
    }
    // With room for one byte more, the read that finds the end needs no other.
    let size = u64::try_from(stat.st_size).unwrap_or(0).min(most);
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0).saturating_add(1));
    // One byte more than is allowed tells that there is more.
    File::from(fd).take(most.saturating_add(1)).read_to_end(&mut bytes).doing("reading", path)?;
    if bytes.len() as u64 > most {
        let why = format!("it has more than {most} bytes");
        return Err(std::io::Error::new(ErrorKind::InvalidData, why)).doing("reading", path);
    }
    Ok(bytes)
}

fn not_regular(kind: FileType) -> std::io::Error {
    let why = format!("it is {}, not a regular file", kind_word(kind));
    std::io::Error::new(ErrorKind::InvalidData, why)
}

/// What a file is, with its article.
#[must_use]
pub fn kind_word(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a regular file",
        FileType::Directory => "a folder",
        FileType::Symlink => "a symlink",
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "a file of unknown type",
    }
}

/// Brings the entries of a folder to the disk.
pub fn fsync_dir(path: &Path) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(path, flags, Mode::empty()).doing("opening", path)?;
    rustix::fs::fsync(&folder).doing("syncing", path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn only_regular_files_of_bounded_size_are_read() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        std::fs::write(at("file"), b"12345").unwrap();
        assert_eq!(read_regular(&at("file"), 5).unwrap(), b"12345");
        symlink("file", at("link")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), Mode::from_raw_mode(0o600)).unwrap();
        let words = [
            ("link", 5, "it is a symlink"),
            ("pipe", 5, "it is a named pipe, not a regular file"),
            (".", 5, "it is a folder, not a regular file"),
            ("file", 4, "it has more than 4 bytes"),
            ("none", 4, "No such file"),
        ];
        for (name, most, why) in words {
            let error = read_regular(&at(name), most).unwrap_err().to_string();
            assert!(error.contains(why), "{name}: {error}");
        }
    }

    fn chmod(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn whatever_the_modes_and_never_through_links() {
        let scratch = tempfile::tempdir().unwrap();
        let top = scratch.path().join("top");
        std::fs::create_dir_all(top.join("a/b/c")).unwrap();
        std::fs::create_dir_all(top.join("none/inner")).unwrap();
        std::fs::create_dir(scratch.path().join("other")).unwrap();
        std::fs::write(scratch.path().join("other/kept"), "x").unwrap();
        std::fs::write(top.join("a/file"), vec![1; 8192]).unwrap();
        std::fs::hard_link(scratch.path().join("other/kept"), top.join("a/b/linked")).unwrap();
        symlink("../../other", top.join("a/link")).unwrap();
        symlink(scratch.path().join("other"), top.join("a/b/c/link")).unwrap();
        chmod(&top.join("a/b"), 0o555);
        chmod(&top.join("a"), 0o555);
        chmod(&top.join("none"), 0);
        let removed = remove_tree(&top).unwrap();
        assert_eq!(removed.entries, 6 + 4);
        assert!((8192..65536).contains(&removed.bytes), "{removed:?}");
        assert!(!top.exists());
        assert_eq!(std::fs::read(scratch.path().join("other/kept")).unwrap(), b"x");
        assert_eq!(remove_tree(&top).unwrap(), Removed::default());
        assert_eq!(remove_tree(&scratch.path().join("no/such")).unwrap(), Removed::default());
        symlink("other", scratch.path().join("link")).unwrap();
        assert_eq!(remove_tree(&scratch.path().join("link")).unwrap().entries, 1);
        assert!(scratch.path().join("other/kept").exists());
    }

    #[test]
    fn a_deep_tree() {
        let scratch = tempfile::tempdir().unwrap();
        let top = scratch.path().join("top");
        std::fs::create_dir(&top).unwrap();
        let mut here = open_folder(rustix::fs::CWD, &top).unwrap();
        let name = CString::new(vec![b'n'; 200]).unwrap();
        for _ in 0..600 {
            rustix::fs::mkdirat(&here, &name, Mode::RWXU).unwrap();
            rustix::fs::mkdirat(&here, c"b", Mode::empty()).unwrap();
            here = open_folder(&here, &name).unwrap();
        }
        drop(here);
        assert_eq!(remove_tree(&top).unwrap().entries, 1_201);
        assert!(!top.exists());
    }

    #[test]
    fn a_refusal_names_the_file() {
        // A folder of the process table refuses to lose entries, for root too.
        let error = remove_tree(Path::new("/proc/self/fdinfo")).unwrap_err();
        assert!(error.to_string().starts_with("removing `/proc/self/fdinfo"), "{error}");
    }

    #[test]
    fn written_whole_and_renamed_aside() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("file");
        write_atomically(&path, b"one", 0o600).unwrap();
        write_atomically(&path, b"two", 0o444).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o444);
        let aside = rename_aside(&path, "old").unwrap().unwrap();
        assert!(!path.exists() && aside.exists());
        assert_eq!(rename_aside(&path, "old").unwrap(), None);
        write_atomically(&path, b"three", 0o444).unwrap();
        assert_ne!(rename_aside(&path, "old").unwrap().unwrap(), aside);
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 2);
        assert!(write_atomically(&scratch.path().join("no/file"), b"", 0o600).is_err());
        assert!(room(scratch.path()).unwrap().bytes > 0);
    }
}
