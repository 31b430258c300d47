//! Every signature scheme once, both ways. Pure.

pub mod secret;

/// A scheme with its key.
#[derive(Clone, Debug)]
pub enum Scheme {}
