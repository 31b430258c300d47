//! Endpoints that fail: breaker, disabling, holds, orphans, and what of it outlives a restart.

use super::*;
use crate::policy::breaker::{BreakerPhase, BreakerRules};

const HOUR_MS: u64 = 3600 * 1000;
const RULES: BreakerRules = BreakerRules { failures: 2, cooldown_ms: 60_000, cooldown_ms_max: 600_000 };

fn policy(waits_ms: Vec<u64>) -> RetryPolicy {
    RetryPolicy { waits_ms, jitter: 0.0, retry_after_ms_max: 24 * HOUR_MS }
}

/// One that takes one request at a time.
fn single(waits_ms: Vec<u64>) -> Endpoint {
    Endpoint { in_flight_max: 1, ..endpoint(policy(waits_ms)) }
}

impl World {
    /// The ids of the attempts made since the last time.
    fn tried(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.attempts.try_recv().ok()).map(|(id, ..)| id).collect()
    }
}

impl Run {
    /// Posts events to `billing` and waits until the dispatcher has them all.
    async fn post_all(&self, ids: &[&str], at: UnixMs) {
        let before = self.idle().await.pending;
        for id in ids {
            self.post(id, None, at).await;
        }
        self.await_health(|health| health.pending + u64::from(health.recent_successes) >= before + ids.len() as u64)
            .await;
    }

    async fn await_health(&self, enough: impl Fn(&EndpointHealth) -> bool) -> EndpointHealth {
        loop {
            let health = self.idle().await;
            if enough(&health) {
                return health;
            }
            tokio::task::yield_now().await;
        }
    }
}

fn is_open(health: &EndpointHealth) -> bool {
    matches!(health.breaker, Some(BreakerHealth { phase: BreakerPhase::Open { .. }, .. }))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_breaker_outlives_a_restart_and_its_next_probe_comes_when_it_was_due() {
    let mut world = World::new(RETRY);
    let endpoint = || Endpoint { breaker: Some(RULES), ..single(vec![HOUR_MS; 20]) };
    let run = world.start_with(vec![endpoint()]).await;
    run.post_all(&["a", "b", "c", "d"], START).await;
    let health = run.await_health(is_open).await;
    assert_eq!((health.pending, health.breaker.unwrap().open_since), (4, Some(START)));
    assert_eq!(world.tried(), ["a", "b"]);
    run.stop().await;
    world.clock.advance_ms(59_999);
    let run = world.start_with(vec![endpoint()]).await;
    let health = run.idle().await;
    assert!(is_open(&health) && health.breaker.unwrap().open_since == Some(START), "{health:?}");
    assert!(world.tried().is_empty());
    world.answer(Verdict::Delivered);
    world.clock.advance_ms(1);
    run.await_health(|health| health.pending == 2).await;
    assert_eq!(world.tried(), ["c", "d"], "the probe, and what was due once that was a success");
    assert_eq!(run.idle().await.breaker.unwrap().phase, BreakerPhase::Closed);
    run.stop().await;
    let run = world.start_with(vec![endpoint()]).await;
    assert_eq!(run.idle().await.breaker.unwrap().phase, BreakerPhase::Closed, "so is its end");
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_past_its_schedule_while_the_breaker_is_open_dies_without_a_request() {
    let mut world = World::new(RETRY);
    let endpoint = Endpoint { breaker: Some(RULES), ..single(vec![HOUR_MS, HOUR_MS]) };
    let run = world.start_with(vec![endpoint]).await;
    let names: Vec<String> = (0..60).map(|n| format!("e{n}")).collect();
    run.post_all(&names.iter().map(String::as_str).collect::<Vec<_>>(), START).await;
    run.await_health(is_open).await;
    for _ in 0..2 * HOUR_MS / 30_000 {
        assert_eq!(run.stored("e59").await.deliveries[0].standing, Standing::Pending { next_at: START });
        world.clock.advance_ms(30_000);
        run.idle().await;
    }
    // The look for what has expired comes within a minute.
    world.clock.advance_ms(60_000);
    while run.stored("e59").await.deliveries[0].standing != Standing::Dead(DeadReason::BreakerOpen) {
        tokio::task::yield_now().await;
    }
    assert!(run.stored("e59").await.deliveries[0].attempts.is_empty());
    let probes = world.tried().len();
    assert!((2..=40).contains(&probes), "{probes} requests in two hours");
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_never_succeeds_is_disabled_after_its_time_over_restarts_too() {
    let mut world = World::new(RETRY);
    let endpoint = || Endpoint { disable_after_ms: Some(24 * HOUR_MS), ..single(vec![HOUR_MS; 60]) };
    let run = world.start_with(vec![endpoint()]).await;
    run.post_all(&["a"], START).await;
    run.settled("a", 1).await;
    for made in 2..=13 {
        world.clock.advance_ms(HOUR_MS);
        run.settled("a", made).await;
    }
    run.idle().await;
    run.stop().await;
    let run = world.start_with(vec![endpoint()]).await;
    assert_eq!(run.idle().await.failing_since, Some(START));
    for made in 14..=24 {
        world.clock.advance_ms(HOUR_MS);
        run.settled("a", made).await;
    }
    assert_eq!(run.idle().await.state, EndpointState::Active);
    world.clock.advance_ms(HOUR_MS);
    run.settled("a", 25).await;
    let at = START.plus_ms(24 * HOUR_MS);
    assert_eq!(run.idle().await.state, EndpointState::Disabled { reason: DisabledReason::Failing, at });
    world.clock.advance_ms(HOUR_MS);
    run.idle().await;
    assert_eq!(world.tried().len(), 25, "nothing is sent any more");
    world.answer(Verdict::Delivered);
    run.control.resume("billing").await.unwrap();
    assert_eq!(run.settled("a", 26).await, Standing::Delivered);
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_retry_after_is_kept_over_a_restart() {
    let mut world = World::new(Verdict::Retry { hint_ms: Some(HOUR_MS), hold_endpoint: true });
    let run = world.start_with(vec![single(vec![1_000; 5])]).await;
    run.post_all(&["a", "b"], START).await;
    run.await_health(|health| health.held_until == Some(START.plus_ms(HOUR_MS))).await;
    run.stop().await;
    world.answer(Verdict::Delivered);
    world.clock.advance_ms(HOUR_MS - 1);
    let run = world.start_with(vec![single(vec![1_000; 5])]).await;
    run.idle().await;
    assert_eq!(world.tried(), ["a"]);
    world.clock.advance_ms(1);
    run.await_health(|health| health.pending == 0).await;
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_taken_out_of_the_config_keeps_its_deliveries_and_its_state() {
    let mut world = World::new(Verdict::Delivered);
    let run = world.start_with(vec![single(vec![1_000])]).await;
    run.control.pause("billing").await.unwrap();
    run.post_all(&["a", "b"], START).await;
    run.control.reload(Vec::new()).await.unwrap();
    let all = run.control.endpoints().await.unwrap();
    let told: Vec<_> = all.iter().map(|one| (one.name.as_str(), one.orphaned, one.state, one.pending)).collect();
    assert_eq!(told, [("billing", true, EndpointState::Paused, 2)]);
    assert_eq!(run.control.resume("billing").await.unwrap_err(), ControlError::UnknownEndpoint);
    run.stop().await;
    let run = world.start_with(Vec::new()).await;
    assert_eq!(run.control.endpoints().await.unwrap().len(), 1, "over a restart too");
    run.control.reload(vec![Arc::new(single(vec![1_000]))]).await.unwrap();
    assert_eq!(run.idle().await.state, EndpointState::Paused, "it returns as it went");
    run.control.resume("billing").await.unwrap();
    run.await_health(|health| health.pending == 0).await;
    assert_eq!(world.tried(), ["a", "b"]);
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_from_before_a_resume_disables_nobody() {
    let mut world = World::new(Verdict::Disable(DisabledReason::Gone));
    let run = world.start_with(vec![single(vec![1_000])]).await;
    let gate = world.network.hold_back();
    run.post("a", None, START).await;
    world.attempts.recv().await.unwrap();
    run.control.resume("billing").await.unwrap();
    world.answer(Verdict::Delivered);
    drop(gate);
    assert_eq!(run.settled("a", 2).await, Standing::Delivered);
    assert_eq!(run.idle().await.state, EndpointState::Active);
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_subscribe_are_told() {
    let mut world = World::new(Verdict::Delivered);
    let ops = Endpoint {
        name: EndpointName::parse("ops").unwrap(),
        events: crate::policy::routing::TypeFilter::parse(&["webhookd.*"]).unwrap(),
        ..endpoint(policy(Vec::new()))
    };
    world.answer(Verdict::Dead(DeadReason::Permanent));
    let run = world.start_with(vec![single(Vec::new()), ops]).await;
    run.post("a", None, START).await;
    assert_eq!(world.attempts.recv().await.unwrap().0, "a");
    let (id, ..) = world.attempts.recv().await.unwrap();
    let report = run.stored(&id).await;
    assert_eq!(report.event.event_type.as_str(), "webhookd.delivery.dead");
    let body = r#"{"event":"a","type":"invoice.paid","endpoint":"billing","reason":"permanent","attempts":1}"#;
    assert_eq!(report.event.content.body, body.as_bytes());
    assert_eq!(report.event.key.as_ref().map(|key| key.as_str()), Some("billing"));
    run.stop().await;
    assert!(world.attempts.try_recv().is_err(), "the death of that one is told to nobody");
}
