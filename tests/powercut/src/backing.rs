//! The folder behind the mount: read at the start, written at the end, and a dump of it in between.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use crate::image::{FileImage, Ino, Inode, Node, ROOT, Tree};

/// Reads files, directories and symlinks of a folder into an empty tree; anything else is left alone. Returns their paths
/// below the folder.
pub(crate) fn read(tree: &mut Tree, folder: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut known = BTreeSet::new();
    read_directory(tree, ROOT, folder, Path::new(""), &mut known)?;
    tree.sync_all();
    Ok(known)
}

fn read_directory(
    tree: &mut Tree,
    directory: Ino,
    folder: &Path,
    below: &Path,
    known: &mut BTreeSet<PathBuf>,
) -> io::Result<()> {
    for entry in fs::read_dir(folder.join(below))? {
        let entry = entry?;
        let about = fs::symlink_metadata(entry.path())?;
        let node = if about.is_dir() {
            Node::directory(directory)
        } else if about.is_file() {
            Node::File(FileImage::durable(&fs::read(entry.path())?))
        } else if about.is_symlink() {
            Node::Symlink(fs::read_link(entry.path())?.into())
        } else {
            continue;
        };
        let inode = Inode::new(node, about.mode() & 0o7777, about.uid(), about.gid());
        let ino = tree.create(directory, &entry.file_name(), inode)?;
        let path = below.join(entry.file_name());
        if about.is_dir() {
            read_directory(tree, ino, folder, &path, known)?;
        }
        known.insert(path);
    }
    Ok(())
}

/// Writes a tree in which everything is synced to a folder. What was `known` to be there and is gone is removed.
pub(crate) fn write(tree: &Tree, folder: &Path, known: &BTreeSet<PathBuf>) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut written = BTreeSet::new();
    write_directory(tree, ROOT, folder, Path::new(""), &mut written)?;
    // In reverse, what is in a directory comes before it.
    for path in known.iter().rev().filter(|path| !written.contains(*path)) {
        remove(&folder.join(path))?;
    }
    Ok(())
}

fn write_directory(
    tree: &Tree,
    directory: Ino,
    folder: &Path,
    below: &Path,
    written: &mut BTreeSet<PathBuf>,
) -> io::Result<()> {
    for (name, ino) in tree.names(directory)? {
        let below = below.join(name);
        let path = folder.join(&below);
        let inode = tree.get(*ino)?;
        let is_directory = fs::symlink_metadata(&path).is_ok_and(|about| about.is_dir());
        match &inode.node {
            Node::Directory { .. } => {
                if !is_directory {
                    remove(&path)?;
                    fs::create_dir(&path)?;
                }
                fs::set_permissions(&path, Permissions::from_mode(inode.mode & 0o7777))?;
                write_directory(tree, *ino, folder, &below, written)?;
            }
            Node::File(file) => {
                remove(&path)?;
                fs::write(&path, file.durable_bytes())?;
                fs::set_permissions(&path, Permissions::from_mode(inode.mode & 0o7777))?;
                // Only root may give files away; whoever is not mounted its own.
                let _ = chown(&path, Some(inode.uid), Some(inode.gid));
            }
            Node::Symlink(target) => {
                remove(&path)?;
                symlink(target, &path)?;
            }
        }
        written.insert(below);
    }
    Ok(())
}

/// Removes what is there, if anything is.
fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(about) if about.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
