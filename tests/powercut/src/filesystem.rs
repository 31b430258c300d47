//! The FUSE side: the kernel's requests onto the model, and the faults in their way.
//!
//! Nothing is cached that could hide a write from the model: attributes and names for no time at all, and no write-back
//! cache, so that every `write` comes here before it returns. Locks are the kernel's own.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, KernelConfig,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use rustix::fs::{FallocateFlags, FileType as Kind, OFlags};
use rustix::io::Errno;

use crate::disk::{Disk, Listed, State};
use crate::image::{Answer, FileImage, Ino, Inode, Node, PAGE_BYTES, Tree};

/// How long the kernel may keep names and attributes: not at all.
const KEEP: Duration = Duration::ZERO;
const NAME_BYTES_MAX: usize = 255;
/// Largest write that the kernel hands over at once, in bytes.
const WRITE_BYTES_MAX: u32 = 1 << 20;
/// Inodes that are always said to be free.
const INODES_FREE: u64 = 1_000_000;

/// The file system as `fuser` serves it.
pub(crate) struct PowercutFilesystem(pub(crate) Arc<Disk>);

fn errno(error: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(error.raw_os_error())
}

fn attributes(tree: &Tree, ino: Ino) -> Answer<FileAttr> {
    let inode = tree.get(ino)?;
    let (kind, size, pages) = match &inode.node {
        Node::File(file) => (FileType::RegularFile, file.size(), file.page_count()),
        Node::Directory { .. } => (FileType::Directory, PAGE_BYTES as u64, 1),
        Node::Symlink(target) => (FileType::Symlink, target.len() as u64, 0),
    };
    Ok(FileAttr {
        ino: INodeNo(ino),
        size,
        blocks: pages * (PAGE_BYTES as u64 / 512),
        atime: inode.atime,
        mtime: inode.mtime,
        ctime: inode.ctime,
        crtime: inode.ctime,
        kind,
        perm: (inode.mode & 0o7777) as u16,
        nlink: inode.links,
        uid: inode.uid,
        gid: inode.gid,
        rdev: 0,
        blksize: PAGE_BYTES as u32,
        flags: 0,
    })
}

fn listing(tree: &Tree, ino: Ino) -> Answer<Vec<Listed>> {
    let mut listed = vec![(ino, FileType::Directory, ".".into()), (tree.parent(ino), FileType::Directory, "..".into())];
    for (name, child) in tree.names(ino)? {
        listed.push((*child, attributes(tree, *child)?.kind, name.clone()));
    }
    Ok(listed)
}

/// What `setattr` is to set.
struct Settings {
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    size: Option<u64>,
    atime: Option<TimeOrNow>,
    mtime: Option<TimeOrNow>,
}

impl PowercutFilesystem {
    /// Answers from what is there, if the power is on.
    fn look<T>(&self, act: impl FnOnce(&mut State) -> Answer<T>) -> Answer<T> {
        let mut state = self.0.lock();
        state.powered()?;
        act(&mut state)
    }

    /// Makes an inode and describes it.
    fn make(&self, request: &Request, place: (INodeNo, &OsStr), node: Node, mode: u32, open: bool) -> Answer<FileAttr> {
        self.look(|state| {
            let (INodeNo(directory), name) = place;
            if name.len() > NAME_BYTES_MAX {
                return Err(Errno::NAMETOOLONG);
            }
            if state.tree.lookup(directory, name).is_ok() {
                return Err(Errno::EXIST);
            }
            state.faults.room_for_name(&state.tree)?;
            let mkdir = matches!(node, Node::Directory { .. });
            let mut inode = Inode::new(node, mode, request.uid(), request.gid());
            inode.opens = u32::from(open);
            let ino = state.tree.create(directory, name, inode)?;
            state.counts.name_changes += 1;
            let attributes = attributes(&state.tree, ino)?;
            self.0.count_operation(state, mkdir)?;
            Ok(attributes)
        })
    }

    /// Changes names.
    fn change_names(&self, act: impl FnOnce(&mut Tree) -> Answer<()>) -> Answer<()> {
        self.look(|state| {
            act(&mut state.tree)?;
            state.counts.name_changes += 1;
            self.0.count_operation(state, false)
        })
    }

    fn write_file(&self, ino: Ino, offset: u64, bytes: &[u8], flags: OpenFlags) -> Answer<u32> {
        // O_SYNC has the bit of O_DSYNC in it.
        let synced = flags.0 as u32 & OFlags::DSYNC.bits() != 0;
        let written = self.look(|state| {
            let room = state.faults.take_room(&state.tree, ino, offset, bytes.len() as u64)?;
            let bytes = &bytes[..room as usize];
            state.tree.with_file(ino, |file| file.write(offset, bytes))?;
            state.counts.writes += 1;
            state.counts.bytes_written += room;
            self.0.count_operation(state, false)?;
            if synced {
                state.counts.writes_synced += 1;
                state.faults.fsync()?;
                state.tree.write_synced(ino, offset, room)?;
            }
            Ok(room as u32)
        })?;
        if synced {
            std::thread::sleep(self.0.fsync_delay);
        }
        Ok(written)
    }

    fn sync(&self, ino: Ino, directory: bool) -> Answer<()> {
        self.look(|_| Ok(()))?;
        std::thread::sleep(self.0.fsync_delay);
        self.look(|state| {
            // The power may go while the fsync is on its way: nothing was promised yet.
            self.0.count_operation(state, false)?;
            if let Err(error) = state.faults.fsync() {
                if !directory {
                    state.tree.with_file(ino, FileImage::sync_failed)?;
                }
                return Err(error);
            }
            if directory {
                state.counts.fsyncs_of_directories += 1;
                state.tree.fsync_directory(ino)
            } else {
                state.counts.fsyncs += 1;
                state.tree.fsync(ino)
            }
        })
    }

    fn set(&self, ino: Ino, settings: &Settings) -> Answer<FileAttr> {
        self.look(|state| {
            if let Some(size) = settings.size {
                state.tree.with_file(ino, |file| file.truncate(size))?;
            }
            let time = |time: Option<TimeOrNow>, old| match time {
                None => old,
                Some(TimeOrNow::SpecificTime(time)) => time,
                Some(TimeOrNow::Now) => SystemTime::now(),
            };
            let inode = state.tree.get_mut(ino)?;
            inode.mode = settings.mode.unwrap_or(inode.mode);
            inode.uid = settings.uid.unwrap_or(inode.uid);
            inode.gid = settings.gid.unwrap_or(inode.gid);
            inode.atime = time(settings.atime, inode.atime);
            inode.mtime = time(settings.mtime, inode.mtime);
            inode.ctime = SystemTime::now();
            let attributes = attributes(&state.tree, ino)?;
            if settings.size.is_some() {
                self.0.count_operation(state, false)?;
            }
            Ok(attributes)
        })
    }

    fn allocate(&self, ino: Ino, offset: u64, length: u64, mode: i32) -> Answer<()> {
        let flags = FallocateFlags::from_bits_retain(mode as u32);
        if !(flags - FallocateFlags::KEEP_SIZE).is_empty() {
            return Err(Errno::OPNOTSUPP);
        }
        self.look(|state| {
            let end = offset.checked_add(length).ok_or(Errno::FBIG)?;
            let size = state.tree.file(ino)?.size();
            let more = end.saturating_sub(size);
            if state.faults.take_room(&state.tree, ino, size, more)? < more {
                return Err(Errno::NOSPC);
            }
            if !flags.contains(FallocateFlags::KEEP_SIZE) {
                state.tree.with_file(ino, |file| file.grow(end))?;
            }
            self.0.count_operation(state, false)
        })
    }
}

fn empty(reply: ReplyEmpty, answer: Answer<()>) {
    match answer {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(errno(error)),
    }
}

fn entry(reply: ReplyEntry, answer: Answer<FileAttr>) {
    match answer {
        Ok(attributes) => reply.entry(&KEEP, &attributes, Generation(0)),
        Err(error) => reply.error(errno(error)),
    }
}

fn attr(reply: ReplyAttr, answer: Answer<FileAttr>) {
    match answer {
        Ok(attributes) => reply.attr(&KEEP, &attributes),
        Err(error) => reply.error(errno(error)),
    }
}

fn data(reply: ReplyData, answer: Answer<Vec<u8>>) {
    match answer {
        Ok(bytes) => reply.data(&bytes),
        Err(error) => reply.error(errno(error)),
    }
}

fn open(reply: ReplyOpen, answer: Answer<u64>) {
    match answer {
        // Without FOPEN_KEEP_CACHE: the kernel drops what it has cached of a file at each open.
        Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::empty()),
        Err(error) => reply.error(errno(error)),
    }
}

impl Filesystem for PowercutFilesystem {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        // Both only make it faster; a kernel that refuses is none the worse.
        let _ = config.set_max_write(WRITE_BYTES_MAX);
        let _ = config.add_capabilities(InitFlags::FUSE_PARALLEL_DIROPS);
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.look(|state| {
            let ino = state.tree.lookup(parent.0, name)?;
            attributes(&state.tree, ino)
        });
        entry(reply, found);
    }

    fn getattr(&self, _request: &Request, ino: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        attr(reply, self.look(|state| attributes(&state.tree, ino.0)));
    }

    fn setattr(
        &self,
        _request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        attr(reply, self.set(ino.0, &Settings { mode, uid, gid, size, atime, mtime }));
    }

    fn readlink(&self, _request: &Request, ino: INodeNo, reply: ReplyData) {
        let target = self.look(|state| match &state.tree.get(ino.0)?.node {
            Node::Symlink(target) => Ok(target.as_encoded_bytes().to_vec()),
            _ => Err(Errno::INVAL),
        });
        data(reply, target);
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        if Kind::from_raw_mode(mode) != Kind::RegularFile {
            return reply.error(errno(Errno::PERM));
        }
        entry(reply, self.make(request, (parent, name), Node::File(FileImage::default()), mode, false));
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, _umask: u32, reply: ReplyEntry) {
        entry(reply, self.make(request, (parent, name), Node::directory(parent.0), mode, false));
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        entry(reply, self.make(request, (parent, name), Node::Symlink(target.into()), 0o777, false));
    }

    fn unlink(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(reply, self.change_names(|tree| tree.unlink(parent.0, name)));
    }

    fn rmdir(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(reply, self.change_names(|tree| tree.remove_directory(parent.0, name)));
    }

    fn rename(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !(flags - RenameFlags::RENAME_NOREPLACE).is_empty() {
            return reply.error(errno(Errno::INVAL));
        }
        let no_replace = flags.contains(RenameFlags::RENAME_NOREPLACE);
        empty(reply, self.change_names(|tree| tree.rename((parent.0, name), (new_parent.0, new_name), no_replace)));
    }

    fn link(&self, _request: &Request, ino: INodeNo, new_parent: INodeNo, new_name: &OsStr, reply: ReplyEntry) {
        let linked = self.change_names(|tree| tree.link(ino.0, new_parent.0, new_name));
        entry(reply, linked.and_then(|()| self.look(|state| attributes(&state.tree, ino.0))));
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        match self.make(request, (parent, name), Node::File(FileImage::default()), mode, true) {
            Ok(attributes) => {
                reply.created(&KEEP, &attributes, Generation(0), FileHandle(0), FopenFlags::empty());
            }
            Err(error) => reply.error(errno(error)),
        }
    }

    fn open(&self, _request: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let opened = self.look(|state| {
            state.tree.get_mut(ino.0)?.opens += 1;
            Ok(0)
        });
        open(reply, opened);
    }

    fn release(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.0.lock().tree.close(ino.0);
        reply.ok();
    }

    fn read(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let bytes = self.look(|state| {
            state.faults.read()?;
            let bytes = state.tree.file(ino.0)?.read(offset, size as usize);
            state.counts.bytes_read += bytes.len() as u64;
            Ok(bytes)
        });
        data(reply, bytes);
    }

    fn write(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.write_file(ino.0, offset, data, flags) {
            Ok(bytes) => reply.written(bytes),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn flush(&self, _request: &Request, _ino: INodeNo, _handle: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        empty(reply, self.look(|_| Ok(())));
    }

    fn fsync(&self, _request: &Request, ino: INodeNo, _handle: FileHandle, _data_only: bool, reply: ReplyEmpty) {
        empty(reply, self.sync(ino.0, false));
    }

    fn fsyncdir(&self, _request: &Request, ino: INodeNo, _handle: FileHandle, _data_only: bool, reply: ReplyEmpty) {
        empty(reply, self.sync(ino.0, true));
    }

    fn opendir(&self, _request: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let opened = self.look(|state| {
            let listed = listing(&state.tree, ino.0)?;
            let handle = state.next_listing;
            state.next_listing += 1;
            state.listings.insert(handle, listed);
            Ok(handle)
        });
        open(reply, opened);
    }

    fn readdir(&self, _request: &Request, ino: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listed = self.look(|state| {
            state.tree.get(ino.0)?;
            if offset == 0 {
                // From the start again: rewinddir shows what there is now.
                let listed = listing(&state.tree, ino.0)?;
                state.listings.insert(handle.0, listed);
            }
            let listed = state.listings.get(&handle.0).map_or(&[][..], Vec::as_slice);
            for (index, (ino, kind, name)) in listed.iter().enumerate().skip(offset as usize) {
                if reply.add(INodeNo(*ino), index as u64 + 1, *kind, name) {
                    break;
                }
            }
            Ok(())
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn releasedir(&self, _request: &Request, _ino: INodeNo, handle: FileHandle, _flags: OpenFlags, reply: ReplyEmpty) {
        self.0.lock().listings.remove(&handle.0);
        reply.ok();
    }

    fn statfs(&self, _request: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        let answer = self.look(|state| Ok((state.faults.pages(&state.tree), state.tree.inodes().len() as u64)));
        let page = PAGE_BYTES as u32;
        match answer {
            Ok(((all, free), inodes)) => {
                reply.statfs(all, free, free, inodes + INODES_FREE, INODES_FREE, page, NAME_BYTES_MAX as u32, page);
            }
            Err(error) => reply.error(errno(error)),
        }
    }

    fn fallocate(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        empty(reply, self.allocate(ino.0, offset, length, mode));
    }
}
