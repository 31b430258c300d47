//! The model: a tree of files and directories in two images. The volatile one is what processes see, the durable one is
//! what a power cut leaves. Nothing in here knows of FUSE.
//!
//! | file | job |
//! |---|---|
//! | `pages.rs` | the data of one file: pages, sizes, and what of them is not synced yet |
//! | `journal.rs` | changes of names that are not synced yet, in their order |
//! | `tree.rs` | inodes, names, fsync |
//! | `cut.rs` | what a power cut makes of all this |
//! | `random.rs` | the seeded choices |

mod cut;
mod journal;
mod pages;
mod random;
#[cfg(test)]
mod tests;
mod tree;

pub(crate) use cut::{CutMode, CutReport};
pub(crate) use pages::{FileImage, PAGE_BYTES};
pub(crate) use random::Random;
pub(crate) use tree::{Ino, Inode, Node, ROOT, Rules, Tree};

/// What the model answers: a value, or the error number that the calling process gets.
pub(crate) type Answer<T> = Result<T, rustix::io::Errno>;
