//! What the events of a bench look like.

use std::fmt::Write as _;
use std::sync::Arc;

/// How events are made from their numbers.
#[derive(Clone)]
pub(crate) struct Shape {
    /// What their ids begin with: "b" where the sink is to know their numbers, anything else for others beside them.
    prefix: &'static str,
    /// Their type.
    kind: &'static str,
    filler: Arc<str>,
    keys: Option<Keys>,
}

/// Ordering keys: producer `p` of `producers` posts the numbers `p`, `p + producers`, and so on, one at a time, and no other producer
/// posts under its keys. So the order of acceptance within a key is known: it is that of the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keys {
    count: usize,
    producers: usize,
}

impl Keys {
    /// So many keys, and at least one for each producer.
    pub(crate) fn new(count: usize, producers: usize) -> Self {
        Self { count: count.max(producers), producers }
    }

    /// How many there are.
    pub(crate) fn count(self) -> usize {
        self.count
    }

    /// The key of event `n`, and the running number of `n` within it.
    pub(crate) fn of(self, n: usize) -> (usize, usize) {
        let (producer, place) = (n % self.producers, n / self.producers);
        let own = self.own(producer);
        (place % own * self.producers + producer, place / own)
    }

    /// The event that has this running number within this key.
    pub(crate) fn number(self, key: usize, turn: usize) -> usize {
        let producer = key % self.producers;
        (turn * self.own(producer) + key / self.producers) * self.producers + producer
    }

    /// How many keys this producer has: it goes round them.
    fn own(self, producer: usize) -> usize {
        (self.count - producer).div_ceil(self.producers)
    }
}

impl Shape {
    /// Events `bench.run` with ids `b-00000000` of about `bytes` bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let around = r#"{"id":"b-00000000","type":"bench.run","data":{"text":""}}"#.len();
        Self { prefix: "b", kind: "bench.run", filler: "x".repeat(bytes.saturating_sub(around)).into(), keys: None }
    }

    /// The same with another type, and other ids.
    pub(crate) fn named(self, prefix: &'static str, kind: &'static str) -> Self {
        Self { prefix, kind, ..self }
    }

    /// The same with ordering keys.
    pub(crate) fn with_keys(self, keys: Keys) -> Self {
        Self { keys: Some(keys), ..self }
    }

    /// Appends event `n` as JSON.
    pub(crate) fn write(&self, n: usize, to: &mut String) {
        let Self { prefix, kind, filler, keys } = self;
        let written = match keys.map(|keys| keys.of(n)) {
            None => write!(to, r#"{{"id":"{prefix}-{n:08}","type":"{kind}","data":{{"text":"{filler}"}}}}"#),
            Some((key, turn)) => write!(
                to,
                r#"{{"id":"{prefix}-{n:08}","type":"{kind}","key":"k-{key}","data":{{"turn":{turn},"text":"{filler}"}}}}"#
            ),
        };
        written.expect("text can be written to a string");
    }
}

/// The number in the id of an event that is measured; none for others.
pub(crate) fn number(id: &str) -> Option<usize> {
    id.strip_prefix("b-")?.parse().ok()
}
