//! Wake-ups of a lane, on the wheel.

use super::waiting::Key;
use crate::clock::MonoMs;
use crate::model::roster::EndpointNo;
use crate::wheel::Wheel;

/// A moment has come that somebody waits for. Who is woken looks for himself whether there is still a reason.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wake {
    pub(super) endpoint: EndpointNo,
    /// The chain whose head may be due; `None`: the lane, whose hold may be over, or its breaker's cooldown.
    pub(super) chain: Option<Key>,
}

/// How a lane sets wake-ups for its chains; and the present.
#[derive(Debug)]
pub(super) struct Bell<'a> {
    pub(super) now: MonoMs,
    pub(super) endpoint: EndpointNo,
    pub(super) wheel: &'a mut Wheel<Wake>,
}

impl Bell<'_> {
    pub(super) fn ring_at(&mut self, at: MonoMs, chain: Key) {
        self.wheel.insert(at, Wake { endpoint: self.endpoint, chain: Some(chain) });
    }
}
