//! Walking a folder that a sandbox wrote: every open stays beneath its root and follows no link.
//!
//! The tree is hostile and may change while it is walked: names are bytes, a kind is looked at and then checked again
//! on the opened file, opening never blocks (a pipe would), and depth, count and bytes are bounded.

use crate::{error::Error, spec::UID, usage::Usage, workspace::EntryKind};
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fchmod, fchown, fstat, open, openat2, statat},
    io::Errno,
    process::{Gid, Uid},
};
use std::{
    collections::HashSet,
    ffi::{CStr, CString},
    fs::File,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

/// Deepest folder that is walked; each level holds one descriptor.
pub(crate) const MAX_DEPTH: usize = 128;
/// The most entries of one measurement; a tree with more cannot be measured.
const MAX_MEASURED: u64 = 4_000_000;
/// The most names of one folder that are held at once.
pub(crate) const MAX_NAMES: usize = 1_000_000;

const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

fn fail(what: &str) -> impl Fn(Errno) -> Error + '_ {
    move |errno| Error::io(what, errno.into())
}

/// Opens the root of a walk, which is trusted.
pub(crate) fn open_root(root: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(root, flags, Mode::empty()).map_err(|e| Error::io(format!("cannot open {}", root.display()), e.into()))
}

/// Opens a folder below `parent` that is not a link.
pub(crate) fn open_folder(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat2(parent, name, flags, Mode::empty(), BENEATH)
}

/// Opens `path` below `parent` if it is a regular file and no part of it is a link; never blocks.
pub(crate) fn open_regular(parent: BorrowedFd<'_>, path: &CStr) -> Result<(File, Stat), Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    // A look first: opening a device or a pipe can have effects.
    let look = openat2(parent, path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty(), BENEATH)?;
    if FileType::from_raw_mode(fstat(&look)?.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    let fd = openat2(parent, path, flags, Mode::empty(), BENEATH)?;
    let stat = fstat(&fd)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    Ok((File::from(fd), stat))
}

/// The kind of a mode.
pub(crate) fn kind_of(mode: u32) -> EntryKind {
    match FileType::from_raw_mode(mode) {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Dir,
        FileType::Symlink => EntryKind::Symlink,
        FileType::Fifo => EntryKind::Fifo,
        FileType::Socket => EntryKind::Socket,
        FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => EntryKind::Device,
    }
}

/// What a name in a folder is, without following it.
pub(crate) fn look(folder: BorrowedFd<'_>, name: &CStr) -> Result<Stat, Errno> {
    statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// The names in a folder, at most `max`, sorted; whether there were more.
pub(crate) fn names(folder: BorrowedFd<'_>, max: usize) -> Result<(Vec<CString>, bool), Errno> {
    let mut found = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_bytes() == b"." || name.to_bytes() == b".." {
            continue;
        }
        if found.len() >= max {
            return Ok((found, true));
        }
        found.push(name.to_owned());
    }
    found.sort_unstable();
    Ok((found, false))
}

/// Gives the root folder of a volume, which the Engine made, to the sandbox's user.
pub(crate) fn hand_over(root: &Path) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = open(root, flags, Mode::empty())?;
    if fstat(&fd)?.st_uid != UID {
        fchown(&fd, Some(Uid::from_raw(UID)), Some(Gid::from_raw(UID)))?;
        fchmod(&fd, Mode::from_raw_mode(0o755))?;
    }
    Ok(())
}

/// Bytes on disk below `root`, each inode once.
pub(crate) fn measure(root: &Path) -> Result<Usage, Error> {
    let what = "cannot measure a volume";
    let root = open_root(root)?;
    let mut usage = Usage::default();
    let mut linked: HashSet<u64> = HashSet::new();
    let mut stack = vec![Dir::read_from(root.as_fd()).map_err(fail(what))?];
    while let Some(folder) = stack.last_mut() {
        let Some(entry) = folder.next() else {
            stack.pop();
            continue;
        };
        let entry = match entry {
            Ok(entry) => entry,
            // The folder was removed meanwhile.
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(fail(what)(errno)),
        };
        let name = entry.file_name();
        if name.to_bytes() == b"." || name.to_bytes() == b".." {
            continue;
        }
        usage.entries += 1;
        if usage.entries > MAX_MEASURED {
            usage.unmeasurable = true;
            return Ok(usage);
        }
        let fd = folder.fd().map_err(fail(what))?;
        let Ok(stat) = look(fd, name) else { continue };
        if stat.st_nlink > 1 && kind_of(stat.st_mode) != EntryKind::Dir && !linked.insert(stat.st_ino) {
            continue;
        }
        usage.bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        if kind_of(stat.st_mode) == EntryKind::Dir {
            let Ok(below) = open_folder(fd, name) else { continue };
            if stack.len() >= MAX_DEPTH {
                usage.unmeasurable = true;
                return Ok(usage);
            }
            stack.push(Dir::new(below).map_err(fail(what))?);
        }
    }
    Ok(usage)
}
