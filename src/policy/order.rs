//! In which order deliveries go out, and what a dead one does to those behind it.

/// `order`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// As they come.
    #[default]
    None,
    /// One at a time for each ordering key, in the order of acceptance; events without a key as they come.
    Key,
    /// One at a time for the endpoint, in the order of acceptance.
    Strict,
}

/// `on_dead`: what a dead delivery does to those that have to keep their order behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDead {
    /// They go on without it.
    #[default]
    Skip,
    /// They wait until it is replayed, or the endpoint is resumed, or its event is past retention.
    Block,
}
