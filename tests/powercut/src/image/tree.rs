//! Inodes and names, and what fsync makes durable of them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::time::SystemTime;

use rustix::io::Errno;

use super::Answer;
use super::journal::{Journal, NameChange};
use super::pages::FileImage;

pub(crate) type Ino = u64;
/// The inode of the mount point.
pub(crate) const ROOT: Ino = 1;

pub(super) type Names = BTreeMap<OsString, Ino>;

/// What an inode is.
pub(crate) enum Node {
    File(FileImage),
    Directory { volatile: Names, durable: Names, parent: Ino },
    Symlink(OsString),
}

impl Node {
    pub(crate) fn directory(parent: Ino) -> Self {
        Self::Directory { volatile: Names::new(), durable: Names::new(), parent }
    }

    fn is_directory(&self) -> bool {
        matches!(self, Self::Directory { .. })
    }
}

/// One inode. Mode, owner and times are durable at once: their loss is not simulated.
pub(crate) struct Inode {
    pub(crate) node: Node,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) atime: SystemTime,
    pub(crate) mtime: SystemTime,
    pub(crate) ctime: SystemTime,
    pub(crate) links: u32,
    pub(crate) opens: u32,
}

impl Inode {
    pub(crate) fn new(node: Node, mode: u32, uid: u32, gid: u32) -> Self {
        let now = SystemTime::now();
        Self { node, mode, uid, gid, atime: now, mtime: now, ctime: now, links: 0, opens: 0 }
    }

    /// Whether a process can still reach it.
    fn in_use(&self) -> bool {
        self.links > 0 || self.opens > 0
    }

    fn page_count(&self) -> u64 {
        if let Node::File(file) = &self.node { file.page_count() } else { 0 }
    }
}

/// How the simulated file system orders what it writes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rules {
    /// A name is durable only once its directory was synced. Without it a file's fsync makes its name durable too, and
    /// names reach the disk in their order by themselves, as with the journal of ext4.
    pub(crate) strict_dirs: bool,
    /// A new size is never durable before the data below it, as with `data=ordered` of ext4. Without it, zeros may stand
    /// where appended data was lost.
    pub(crate) ordered: bool,
}

/// The whole file system.
pub(crate) struct Tree {
    pub(super) inodes: HashMap<Ino, Inode>,
    pub(super) journal: Journal,
    pub(super) next: Ino,
    pub(super) rules: Rules,
    /// Pages of all files that a process can reach.
    pub(super) used_pages: u64,
}

impl Tree {
    pub(crate) fn new(rules: Rules) -> Self {
        let mut root = Inode::new(Node::directory(ROOT), 0o755, 0, 0);
        root.links = 2;
        let inodes = HashMap::from([(ROOT, root)]);
        Self { inodes, journal: Journal::default(), next: ROOT + 1, rules, used_pages: 0 }
    }

    pub(crate) fn rules(&self) -> Rules {
        self.rules
    }

    /// Pages of all files that a process can reach.
    pub(crate) fn used_pages(&self) -> u64 {
        self.used_pages
    }

    /// Changes of names that are not synced.
    pub(crate) fn unsynced_names(&self) -> u64 {
        self.journal.len() as u64
    }

    /// Every inode that one of the images still has.
    pub(crate) fn inodes(&self) -> impl ExactSizeIterator<Item = &Inode> {
        self.inodes.values()
    }

    /// EIO for an inode from before a cut: whoever asks for it lost its disk.
    pub(crate) fn get(&self, ino: Ino) -> Answer<&Inode> {
        self.inodes.get(&ino).ok_or(Errno::IO)
    }

    pub(crate) fn get_mut(&mut self, ino: Ino) -> Answer<&mut Inode> {
        self.inodes.get_mut(&ino).ok_or(Errno::IO)
    }

    /// The names in a directory.
    pub(crate) fn names(&self, directory: Ino) -> Answer<&Names> {
        match &self.get(directory)?.node {
            Node::Directory { volatile, .. } => Ok(volatile),
            _ => Err(Errno::NOTDIR),
        }
    }

    fn names_mut(&mut self, directory: Ino) -> Answer<&mut Names> {
        let inode = self.get_mut(directory)?;
        inode.mtime = SystemTime::now();
        inode.ctime = inode.mtime;
        match &mut inode.node {
            Node::Directory { volatile, .. } => Ok(volatile),
            _ => Err(Errno::NOTDIR),
        }
    }

    /// The directory that a directory is in.
    pub(crate) fn parent(&self, directory: Ino) -> Ino {
        match self.inodes.get(&directory).map(|inode| &inode.node) {
            Some(Node::Directory { parent, .. }) => *parent,
            _ => ROOT,
        }
    }

    pub(crate) fn lookup(&self, directory: Ino, name: &OsStr) -> Answer<Ino> {
        self.names(directory)?.get(name).copied().ok_or(Errno::NOENT)
    }

    /// The inode at a path from the root.
    pub(crate) fn at(&self, path: &str) -> Answer<Ino> {
        path.split('/').filter(|name| !name.is_empty()).try_fold(ROOT, |dir, name| self.lookup(dir, name.as_ref()))
    }

    pub(crate) fn file(&self, ino: Ino) -> Answer<&FileImage> {
        match &self.get(ino)?.node {
            Node::File(file) => Ok(file),
            Node::Directory { .. } => Err(Errno::ISDIR),
            Node::Symlink(_) => Err(Errno::INVAL),
        }
    }

    /// Changes a file's data, keeping the count of used pages right.
    pub(crate) fn with_file<T>(&mut self, ino: Ino, act: impl FnOnce(&mut FileImage) -> T) -> Answer<T> {
        let inode = self.get_mut(ino)?;
        let Node::File(file) = &mut inode.node else { return Err(Errno::ISDIR) };
        let before = file.page_count();
        let outcome = act(file);
        let after = file.page_count();
        inode.mtime = SystemTime::now();
        inode.ctime = inode.mtime;
        self.used_pages = self.used_pages + after - before;
        Ok(outcome)
    }

    fn log(&mut self, change: NameChange) {
        self.journal.push(change);
        if !self.rules.strict_dirs {
            let overflow = self.journal.take_overflow();
            self.settle(overflow);
        }
    }

    /// Makes changes of names durable.
    pub(super) fn settle(&mut self, changes: Vec<NameChange>) {
        let mut durable = |directory: Ino, act: &mut dyn FnMut(&mut Names)| {
            if let Some(Inode { node: Node::Directory { durable, .. }, .. }) = self.inodes.get_mut(&directory) {
                act(durable);
            }
        };
        for NameChange { ino, removes, adds } in changes {
            if let Some((directory, name)) = removes {
                durable(directory, &mut |names| {
                    if names.get(&name) == Some(&ino) {
                        names.remove(&name);
                    }
                });
            }
            if let Some((directory, name)) = adds {
                durable(directory, &mut |names| {
                    names.insert(name.clone(), ino);
                });
            }
        }
    }

    /// Makes an inode under a new name.
    pub(crate) fn create(&mut self, directory: Ino, name: &OsStr, inode: Inode) -> Answer<Ino> {
        let ino = self.next;
        self.add_name(directory, name, ino)?;
        self.next += 1;
        let is_directory = inode.node.is_directory();
        self.used_pages += inode.page_count();
        self.inodes.insert(ino, Inode { links: if is_directory { 2 } else { 1 }, ..inode });
        if is_directory {
            self.get_mut(directory)?.links += 1;
        }
        self.log(NameChange { ino, removes: None, adds: Some((directory, name.into())) });
        Ok(ino)
    }

    /// Gives a file a second name.
    pub(crate) fn link(&mut self, ino: Ino, directory: Ino, name: &OsStr) -> Answer<()> {
        if self.get(ino)?.node.is_directory() {
            return Err(Errno::PERM);
        }
        self.add_name(directory, name, ino)?;
        self.get_mut(ino)?.links += 1;
        self.log(NameChange { ino, removes: None, adds: Some((directory, name.into())) });
        Ok(())
    }

    fn add_name(&mut self, directory: Ino, name: &OsStr, ino: Ino) -> Answer<()> {
        let names = self.names_mut(directory)?;
        if names.contains_key(name) {
            return Err(Errno::EXIST);
        }
        names.insert(name.into(), ino);
        Ok(())
    }

    /// Removes a file's name.
    pub(crate) fn unlink(&mut self, directory: Ino, name: &OsStr) -> Answer<()> {
        let ino = self.lookup(directory, name)?;
        if self.get(ino)?.node.is_directory() {
            return Err(Errno::ISDIR);
        }
        self.remove(directory, name, ino)
    }

    /// Removes an empty directory.
    pub(crate) fn remove_directory(&mut self, directory: Ino, name: &OsStr) -> Answer<()> {
        let ino = self.lookup(directory, name)?;
        if !self.names(ino)?.is_empty() {
            return Err(Errno::NOTEMPTY);
        }
        self.remove(directory, name, ino)
    }

    fn remove(&mut self, directory: Ino, name: &OsStr, ino: Ino) -> Answer<()> {
        self.names_mut(directory)?.remove(name);
        self.log(NameChange { ino, removes: Some((directory, name.into())), adds: None });
        self.unlinked(directory, ino);
        Ok(())
    }

    /// A name of `ino` in `directory` is gone.
    fn unlinked(&mut self, directory: Ino, ino: Ino) {
        let Some(inode) = self.inodes.get_mut(&ino) else { return };
        let is_directory = inode.node.is_directory();
        inode.links = if is_directory { 0 } else { inode.links.saturating_sub(1) };
        inode.ctime = SystemTime::now();
        if !inode.in_use() {
            self.used_pages -= inode.page_count();
        }
        if is_directory && let Some(above) = self.inodes.get_mut(&directory) {
            above.links -= 1;
        }
    }

    /// Moves a name; what had the new name loses it.
    pub(crate) fn rename(&mut self, from: (Ino, &OsStr), to: (Ino, &OsStr), no_replace: bool) -> Answer<()> {
        let ino = self.lookup(from.0, from.1)?;
        let is_directory = self.get(ino)?.node.is_directory();
        if let Some(replaced) = self.names(to.0)?.get(to.1).copied() {
            if no_replace {
                return Err(Errno::EXIST);
            }
            if replaced == ino {
                return Ok(());
            }
            match (&self.get(replaced)?.node, is_directory) {
                (Node::Directory { .. }, false) => return Err(Errno::ISDIR),
                (Node::Directory { volatile, .. }, true) if !volatile.is_empty() => return Err(Errno::NOTEMPTY),
                (Node::File(_) | Node::Symlink(_), true) => return Err(Errno::NOTDIR),
                _ => {}
            }
            self.unlinked(to.0, replaced);
        }
        self.names_mut(from.0)?.remove(from.1);
        self.names_mut(to.0)?.insert(to.1.into(), ino);
        if is_directory {
            self.get_mut(from.0)?.links -= 1;
            self.get_mut(to.0)?.links += 1;
        }
        let inode = self.get_mut(ino)?;
        inode.ctime = SystemTime::now();
        if let Node::Directory { parent, .. } = &mut inode.node {
            *parent = to.0;
        }
        let (removes, adds) = ((from.0, from.1.into()), (to.0, to.1.into()));
        self.log(NameChange { ino, removes: Some(removes), adds: Some(adds) });
        Ok(())
    }

    /// A process let go of its handle.
    pub(crate) fn close(&mut self, ino: Ino) {
        let Some(inode) = self.inodes.get_mut(&ino) else { return };
        let was_in_use = inode.in_use();
        inode.opens = inode.opens.saturating_sub(1);
        if was_in_use && !inode.in_use() {
            self.used_pages -= inode.page_count();
            self.collect();
        }
    }

    /// fsync of a file.
    pub(crate) fn fsync(&mut self, ino: Ino) -> Answer<()> {
        self.sync_file(ino, FileImage::sync)
    }

    /// A write with `O_SYNC` or `O_DSYNC`, once it is written.
    pub(crate) fn write_synced(&mut self, ino: Ino, offset: u64, length: u64) -> Answer<()> {
        self.sync_file(ino, |file| file.sync_range(offset, length))
    }

    fn sync_file(&mut self, ino: Ino, sync: impl FnOnce(&mut FileImage)) -> Answer<()> {
        if let Node::File(file) = &mut self.get_mut(ino)?.node {
            sync(file);
        }
        if !self.rules.strict_dirs {
            let reaching = self.journal.take_reaching(ino);
            self.settle(reaching);
        }
        self.collect();
        Ok(())
    }

    /// fsync of a directory.
    pub(crate) fn fsync_directory(&mut self, directory: Ino) -> Answer<()> {
        self.names(directory)?;
        let inside = self.journal.take_of_directory(directory);
        self.settle(inside);
        if !self.rules.strict_dirs {
            let reaching = self.journal.take_reaching(directory);
            self.settle(reaching);
        }
        self.collect();
        Ok(())
    }

    /// Everything becomes durable, as with a clean unmount.
    pub(crate) fn sync_all(&mut self) {
        for inode in self.inodes.values_mut() {
            if let Node::File(file) = &mut inode.node {
                file.sync();
            }
        }
        let all = self.journal.take_all();
        self.settle(all);
        self.collect();
    }

    /// Forgets inodes that neither image can reach any more.
    fn collect(&mut self) {
        if self.inodes.values().all(Inode::in_use) {
            return;
        }
        let mut live = self.durably_reachable();
        let dead = |ino: Ino| !live.contains(&ino) && self.inodes.get(&ino).is_none_or(|inode| inode.links == 0);
        self.journal.forget_in(dead);
        live.extend(self.journal.inodes());
        self.inodes.retain(|ino, inode| inode.in_use() || live.contains(ino));
    }

    fn durably_reachable(&self) -> HashSet<Ino> {
        let mut live = HashSet::from([ROOT]);
        let mut todo = vec![ROOT];
        while let Some(ino) = todo.pop() {
            if let Some(Inode { node: Node::Directory { durable, .. }, .. }) = self.inodes.get(&ino) {
                todo.extend(durable.values().filter(|ino| live.insert(**ino)));
            }
        }
        live
    }
}
