//! The story of `demo`, told from what the receiver and the API show. What it promises it checks: a story that does not go
//! as it should is an error.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;

use super::super::Stage;
use super::super::client::{self, Api};
use super::super::failure::{Failure, Outcome};
use super::super::receiver::Hit;
use super::super::screen::{Tone, escape};
use super::super::view::{Accepted, AttemptDetail, DeliveryDetail, EventDetail, Replayed};
use super::super::when::spoken_span;
use crate::clock::{MonoMs, UnixMs};

/// How often the API is asked what became of an event.
const LOOK_EVERY: Duration = Duration::from_millis(15);
/// How long one act may take.
const ACT_TIMEOUT_MS: u64 = 4_000;

/// A story that is being told.
pub(super) struct Story<'a> {
    stage: &'a mut Stage,
    api: Api,
    hits: mpsc::Receiver<Hit>,
    mended: Arc<AtomicBool>,
    started: MonoMs,
    /// What the receiver made of the signature of each attempt: by webhook id and number.
    signatures: HashMap<(String, u32), Result<(), String>>,
}

/// How an act is to end.
struct Ending {
    state: &'static str,
    attempts: usize,
}

impl<'a> Story<'a> {
    /// A story that begins now.
    pub(super) fn new(stage: &'a mut Stage, api: Api, hits: mpsc::Receiver<Hit>, mended: Arc<AtomicBool>) -> Self {
        let started = stage.clock.mono();
        Self { stage, api, hits, mended, started, signatures: HashMap::new() }
    }

    /// Tells the whole story; `stays` where the daemon goes on afterwards.
    ///
    /// # Errors
    /// When something did not happen that was to happen.
    pub(super) async fn tell(&mut self, receiver: SocketAddr, folder: &Path, stays: bool) -> Outcome {
        let address = self.api.address().to_string();
        self.say(&format!(
            "webhookd {} is up: its API is at {address}, its data in {}",
            env!("CARGO_PKG_VERSION"),
            folder.display()
        ))?;
        self.say(&format!(
            "a receiver at http://{receiver} plays three services: shop works, billing fails twice, legacy is broken"
        ))?;

        self.chapter("A delivery")?;
        let order = json!({"order": 1001, "total": "59.90"});
        let order = self.post("order.created", order, "shop").await?;
        self.watch(&order, "shop", &Ending { state: "delivered", attempts: 1 }).await?;

        self.chapter("An endpoint that fails at first")?;
        let invoice = self.post("invoice.paid", json!({"invoice": 17, "amount": "59.90"}), "billing").await?;
        self.watch(&invoice, "billing", &Ending { state: "delivered", attempts: 3 }).await?;

        self.chapter("A dead letter")?;
        let report = self.post("report.ready", json!({"report": "2026-11"}), "legacy").await?;
        self.watch(&report, "legacy", &Ending { state: "dead", attempts: 5 }).await?;

        self.chapter("Mended, and replayed")?;
        self.mended.store(true, Ordering::Relaxed);
        self.say("legacy was mended; its dead deliveries are put back in the queue")?;
        self.replay("legacy").await?;
        self.watch(&report, "legacy", &Ending { state: "delivered", attempts: 6 }).await?;

        self.stage.screen.line("")?;
        let done =
            self.stage.screen.paint(Tone::Good, "every event arrived in the end, and each signature was verified");
        self.say(&done)?;
        if stays { self.invite(&report) } else { Ok(()) }
    }

    /// Tells what the receiver gets, for as long as someone watches.
    pub(super) async fn go_on(&mut self) -> Outcome {
        while let Some(hit) = self.hits.recv().await {
            let service = hit.target.trim_start_matches('/').to_owned();
            let id = hit.header("webhook-id").unwrap_or("a request without a webhook-id").to_owned();
            let attempt = hit.header("webhook-attempt").unwrap_or("?").to_owned();
            let signature = match hit.signature {
                Some(Ok(())) => "signature verified".to_owned(),
                Some(Err(why)) => format!("the signature does not hold ({why})"),
                None => "not verified".to_owned(),
            };
            let status = hit.answered.as_u16();
            self.say(&escape(&format!("{service} got {id}, attempt {attempt}, {signature}; answered {status}")))?;
        }
        Ok(())
    }

    /// What to try while the daemon stays up.
    fn invite(&mut self, id: &str) -> Outcome {
        let api = match self.api.address().to_string() {
            usual if usual == "http://127.0.0.1:8400" => String::new(),
            other => format!(" --api {other}"),
        };
        let screen = &mut self.stage.screen;
        screen.line("\nIt stays up until Ctrl-C. Try in another terminal:")?;
        for command in [
            format!("webhookd send order.created --data '{{\"order\":1002}}'{api}"),
            format!("webhookd send invoice.paid{api}"),
            format!("webhookd events{api}"),
            format!("webhookd event {id}{api}"),
            format!("webhookd endpoints{api}"),
        ] {
            screen.line(&format!("  {command}"))?;
        }
        Ok(screen.line("")?)
    }

    fn say(&mut self, text: &str) -> Outcome {
        let ms = self.stage.clock.mono().since(self.started);
        let time = self.stage.screen.paint(Tone::Faint, &format!("+{}.{:03}s", ms / 1000, ms % 1000));
        Ok(self.stage.screen.line(&format!("{time}  {text}"))?)
    }

    fn chapter(&mut self, title: &str) -> Outcome {
        let title = self.stage.screen.paint(Tone::Strong, title);
        Ok(self.stage.screen.line(&format!("\n{title}"))?)
    }

    /// Posts an event that `endpoint` alone is to take, and returns its id.
    async fn post(&mut self, event_type: &str, data: serde_json::Value, endpoint: &str) -> Result<String, Failure> {
        let before = self.stage.clock.mono();
        let body = json!({"type": event_type, "data": data}).to_string();
        let accepted: Accepted = self.api.post(&client::path(&["v1", "events"], &[]), body).await?.decode()?;
        let took = spoken_span(self.stage.clock.mono().since(before));
        let targets = accepted.endpoints.join(", ");
        let id = accepted.id;
        self.say(&escape(&format!(
            "{event_type} accepted as {id} and safe on the disk within {took}; it goes to {targets}"
        )))?;
        if targets == endpoint {
            return Ok(id);
        }
        Err(off_script(&format!("{event_type} was to go to {endpoint} alone, and went to {targets:?}")))
    }

    async fn replay(&mut self, endpoint: &str) -> Outcome {
        let path = client::path(&["v1", "endpoints", endpoint, "replay"], &[]);
        let Replayed { replayed } = self.api.post(&path, json!({"state": "dead"}).to_string()).await?.decode()?;
        self.say(&format!("deliveries to {endpoint} that are pending again: {replayed}"))?;
        if replayed == 1 { Ok(()) } else { Err(off_script(&format!("1 was to be replayed, not {replayed}"))) }
    }

    /// Tells each attempt as it is made, until the delivery has ended as it should.
    async fn watch(&mut self, id: &str, endpoint: &str, ending: &Ending) -> Outcome {
        let path = client::path(&["v1", "events", id], &[]);
        let deadline = self.stage.clock.mono().plus_ms(ACT_TIMEOUT_MS);
        // Attempts before a replay were told already.
        let mut told = self.signatures.keys().filter(|(known, _)| known == id).count();
        loop {
            let event: EventDetail = self.api.get(&path).await?.decode()?;
            self.note_hits();
            let Some(delivery) = event.deliveries.iter().find(|delivery| delivery.endpoint == endpoint) else {
                return Err(off_script(&format!("{id} has no delivery to {endpoint}")));
            };
            for attempt in delivery.attempts.iter().skip(told) {
                self.tell_attempt(id, delivery, attempt)?;
            }
            told = delivery.attempts.len().max(told);
            if told >= ending.attempts && delivery.state != "pending" {
                return self.check(id, delivery, ending);
            }
            if self.stage.clock.mono() > deadline || told > ending.attempts {
                return Err(off_script(&format!(
                    "{endpoint} was to be {} at attempt {}; it is {} after {told}",
                    ending.state, ending.attempts, delivery.state
                )));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Takes in what the receiver saw.
    fn note_hits(&mut self) {
        while let Ok(hit) = self.hits.try_recv() {
            let id = hit.header("webhook-id").unwrap_or_default().to_owned();
            let attempt = hit.header("webhook-attempt").and_then(|text| text.parse().ok()).unwrap_or_default();
            let judged = hit.signature.unwrap_or_else(|| Err("it was not looked at".to_owned()));
            self.signatures.insert((id, attempt), judged);
        }
    }

    fn tell_attempt(&mut self, id: &str, delivery: &DeliveryDetail, attempt: &AttemptDetail) -> Outcome {
        let (tone, outcome) = attempt.outcome();
        let took = spoken_span(attempt.duration_ms.max(1));
        let signature = match self.signatures.get(&(id.to_owned(), attempt.n)) {
            Some(Ok(())) => "signature verified by the receiver".to_owned(),
            Some(Err(why)) => format!("the signature does not hold: {why}"),
            None => "the receiver did not see it".to_owned(),
        };
        let last = delivery.attempts.last().is_some_and(|last| last.n == attempt.n);
        let then = match (delivery.state.as_str(), last) {
            ("delivered", true) => ": delivered".to_owned(),
            ("dead", true) => ": no attempts are left, so it is dead, and kept for a replay".to_owned(),
            ("pending", true) => {
                wait_after(attempt, delivery).map(|wait| format!(": next attempt in {wait}")).unwrap_or_default()
            }
            _ => String::new(),
        };
        let outcome = self.stage.screen.paint(tone, &outcome);
        let endpoint = escape(&delivery.endpoint);
        self.say(&format!("{endpoint}: attempt {} {outcome} in {took}, {}{then}", attempt.n, escape(&signature)))
    }

    /// Whether it ended as it should, the receiver's view included.
    fn check(&self, id: &str, delivery: &DeliveryDetail, ending: &Ending) -> Outcome {
        let made = delivery.attempts.len();
        if delivery.state != ending.state || made != ending.attempts {
            let (endpoint, state) = (&delivery.endpoint, &delivery.state);
            return Err(off_script(&format!(
                "{endpoint} was to be {} at attempt {}; it is {state} after {made}",
                ending.state, ending.attempts
            )));
        }
        for attempt in &delivery.attempts {
            match self.signatures.get(&(id.to_owned(), attempt.n)) {
                Some(Ok(())) => {}
                Some(Err(why)) => {
                    return Err(off_script(&format!("the signature of attempt {} does not hold: {why}", attempt.n)));
                }
                None => return Err(off_script(&format!("attempt {} never reached the receiver", attempt.n))),
            }
        }
        Ok(())
    }
}

/// The wait between the end of an attempt and the next one, as the daemon planned it, to the nearest ten milliseconds: the
/// API tells whole ones.
fn wait_after(attempt: &AttemptDetail, delivery: &DeliveryDetail) -> Option<String> {
    let next = UnixMs::parse_rfc3339(delivery.next_attempt_at.as_deref()?)?;
    let ended = UnixMs::parse_rfc3339(&attempt.at)?.plus_ms(attempt.duration_ms);
    Some(spoken_span((next.since(ended) + 5) / 10 * 10))
}

fn off_script(what: &str) -> Failure {
    Failure::failed(format!("the demo did not go as it should: {}", escape(what)))
}
