//! What a seed chooses: endpoints, what they answer, the storage.

use std::sync::Arc;

use webhookd::config::{BreakerRules, Durability, Endpoint, Format, OnDead, Order, RateLimit};
use webhookd::model::text::EndpointName;
use webhookd::policy::retry::{DEFAULT_WAITS_MS, RetryPolicy};
use webhookd::policy::routing::TypeFilter;

use super::network::{Answer, Behaviour};
use super::world::Setup;

pub(crate) const SECOND_MS: u64 = 1_000;
pub(crate) const MINUTE_MS: u64 = 60 * SECOND_MS;
pub(crate) const HOUR_MS: u64 = 60 * MINUTE_MS;
pub(crate) const DAY_MS: u64 = 24 * HOUR_MS;

/// What a seed has chosen once and for all.
pub(crate) fn setup(seed: u64, random: &mut fastrand::Rng) -> Setup {
    let mut endpoints: Vec<_> = (0..random.usize(1..=6)).map(|at| endpoint(at, random)).collect();
    if random.u32(..3) == 0 {
        // One of them is told of all the others.
        let ops = random.choice(endpoints.iter_mut()).expect("there is one");
        ops.events = TypeFilter::parse(&["webhookd.*"]).unwrap();
    }
    let endpoints = endpoints.into_iter().map(Arc::new).collect();
    Setup {
        seed,
        endpoints,
        in_flight_total_max: *pick(random, &[2, 8, 4096, 4096]),
        generation_bytes: *pick(random, &[2_000, 4_000, 16_000, 64_000, 1_000_000]),
        retention_ms: *pick(random, &[MINUTE_MS, 10 * MINUTE_MS, HOUR_MS, DAY_MS, 7 * DAY_MS]),
        size_bytes_max: if random.u32(..10) == 0 { random.u64(100_000..3_000_000) } else { u64::MAX },
        durability: if random.u32(..10) == 0 { Durability::Interval } else { Durability::Fsync },
    }
}

/// An endpoint's config.
pub(crate) fn endpoint(at: usize, random: &mut fastrand::Rng) -> Endpoint {
    let waits_ms = match random.u32(..6) {
        0 => DEFAULT_WAITS_MS.to_vec(),
        1 => Vec::new(),
        2 => vec![SECOND_MS; 3],
        3 => (0..random.usize(1..20)).map(|_| random.u64(1..30 * SECOND_MS)).collect(),
        _ => (0..random.usize(1..8)).map(|n| (5 * SECOND_MS) << n).collect(),
    };
    let retry = RetryPolicy {
        waits_ms,
        jitter: *pick(random, &[0.0, 0.0, 0.2, 1.0]),
        retry_after_ms_max: *pick(random, &[0, MINUTE_MS, DAY_MS]),
    };
    Endpoint {
        name: EndpointName::parse(&format!("e{at}")).unwrap(),
        url: url::Url::parse("http://endpoint.example/").unwrap(),
        events: Default::default(),
        signing: Vec::new(),
        format: Format::Raw,
        headers: Vec::new(),
        permanent: if random.bool() { vec![400, 422] } else { Vec::new() },
        tls: None,
        timeout_ms: 15 * SECOND_MS,
        in_flight_max: *pick(random, &[1, 2, 32, 32]),
        retry,
        allow_networks: Vec::new(),
        response_bytes_max: 1024,
        order: *pick(random, &[Order::None, Order::None, Order::Key, Order::Key, Order::Strict]),
        on_dead: *pick(random, &[OnDead::Skip, OnDead::Block]),
        rate_limit: (random.u32(..6) == 0).then(|| rate(random)),
        breaker: random.bool().then(|| breaker(random)),
        disable_after_ms: *pick(random, &[None, Some(HOUR_MS), Some(DAY_MS)]),
    }
}

/// The config as it was, but for a thing or two.
pub(crate) fn altered(before: &Endpoint, random: &mut fastrand::Rng) -> Endpoint {
    let mut config = endpoint(0, random);
    let keeps = random.u32(..4);
    config.name = before.name.clone();
    config.events = before.events.clone();
    config.retry = before.retry.clone();
    config.permanent = before.permanent.clone();
    if keeps != 0 {
        (config.order, config.on_dead) = (before.order, before.on_dead);
    }
    if keeps != 1 {
        config.rate_limit = before.rate_limit;
    }
    if keeps != 2 {
        config.breaker = before.breaker;
    }
    if keeps != 3 {
        (config.disable_after_ms, config.in_flight_max) = (before.disable_after_ms, before.in_flight_max);
    }
    config
}

fn rate(random: &mut fastrand::Rng) -> RateLimit {
    let (count, per_ms) = *pick(random, &[(1, SECOND_MS), (7, SECOND_MS), (10, MINUTE_MS), (3, HOUR_MS)]);
    RateLimit { count, per_ms, burst: random.u32(1..5) }
}

fn breaker(random: &mut fastrand::Rng) -> BreakerRules {
    let cooldown_ms = *pick(random, &[SECOND_MS, 5 * SECOND_MS, 30 * SECOND_MS]);
    let cooldown_ms_max = *pick(random, &[cooldown_ms, 3 * cooldown_ms, 10 * MINUTE_MS]);
    BreakerRules { failures: *pick(random, &[1, 2, 3, 5, 20]), cooldown_ms, cooldown_ms_max }
}

/// How an endpoint behaves.
pub(crate) fn behaviour(random: &mut fastrand::Rng) -> Behaviour {
    let answer = match random.u32(..20) {
        0..=7 => Answer::Taken,
        8..=10 => Answer::Status(*pick(random, &[500, 400, 302, 503, 429])),
        11..=12 => Answer::Later(*pick(random, &[429, 503]), random.u32(..200)),
        13 => Answer::LaterAt(random.u32(1..500)),
        14 => Answer::Gone,
        15 => Answer::Abort,
        16..=17 => Answer::Timeout,
        18 => Answer::TakenAsLast,
        _ => Answer::NoConnection,
    };
    if random.u32(..4) == 0 && answer != Answer::Timeout {
        return Behaviour::Flapping(answer, random.u64(2..5));
    }
    let after_ms = *pick(random, &[0, 0, 0, 1, 300, 5 * SECOND_MS]);
    Behaviour::Steady(answer, after_ms)
}

/// One of these.
pub(crate) fn pick<'a, T>(random: &mut fastrand::Rng, from: &'a [T]) -> &'a T {
    &from[random.usize(..from.len())]
}
