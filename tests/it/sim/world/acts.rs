//! Acts: what apps, operators and endpoints do.

use super::*;

/// An endpoint's config in short.
pub(crate) fn described(endpoint: &Endpoint) -> String {
    let Endpoint { in_flight_max, permanent, retry, order, on_dead, rate_limit, breaker, disable_after_ms, .. } =
        endpoint;
    format!(
        "in flight {in_flight_max}, permanent {permanent:?}, {retry:?}, order {order:?}, on dead {on_dead:?}, {rate_limit:?}, \
         {breaker:?}, disabled after {disable_after_ms:?}, {:?}",
        endpoint.events.patterns()
    )
}

impl World {
    /// Hands in groups of events, each group together, all groups at once.
    pub(crate) fn post(&mut self, groups: Vec<Vec<Post>>) {
        let cut = self.cut();
        let mut asked = Vec::new();
        let mut events = Vec::new();
        for group in groups {
            let (numbers, group): (Vec<_>, Vec<_>) = group.into_iter().map(|post| self.ledger().ask(post)).unzip();
            asked.push(numbers);
            events.push(group);
        }
        let outbox = self.life().outbox.clone();
        let answers = wait(all(events.into_iter().map(|group| outbox.accept(group)).collect()));
        let heard = self.heard(cut);
        for (numbers, answer) in asked.iter().zip(&answers) {
            let told = match answer {
                Ok(accepted) => {
                    let repeats = accepted.iter().filter(|one| one.duplicate).count();
                    format!("{} stored, {repeats} known", accepted.len() - repeats)
                }
                Err(error) => format!("refused: {error}"),
            };
            let names: Vec<String> = numbers.iter().map(|post| self.shown(*post)).collect();
            self.tell(format!("posted {}: {told}", names.join(", ")));
            self.ledger().answered(numbers, answer, heard);
        }
    }

    fn shown(&self, post: usize) -> String {
        let ledger = self.ledger();
        let Post { id, key, content, .. } = &ledger.posts()[post];
        let key = key.as_deref().map_or_else(String::new, |key| format!(" key {key}"));
        let later = content.deliver_at.map_or("", |_| " later");
        format!("[{post}] {id}{key} ({} B to {:?}{later})", content.len, content.targets)
    }

    /// Deliveries that the dispatcher has not finished.
    pub(crate) fn pending(&self) -> u64 {
        let life = self.life();
        let health = life.runtime.block_on(life.control.endpoints()).expect("the dispatcher answers");
        health.iter().map(|one| one.pending).sum()
    }

    /// Changes how an endpoint behaves.
    pub(crate) fn behave(&mut self, endpoint: usize, behaviour: Behaviour) {
        self.behaviours[endpoint] = behaviour;
        self.life().network.behave(endpoint, behaviour);
        self.tell(format!("e{endpoint} now answers {behaviour:?}"));
    }

    /// How an endpoint behaves.
    pub(crate) fn behaviour(&self, endpoint: usize) -> Behaviour {
        self.behaviours[endpoint]
    }

    /// Pauses or resumes an endpoint.
    pub(crate) fn operate(&mut self, endpoint: usize, state: LaneState) {
        let cut = self.cut();
        let name = format!("e{endpoint}");
        if state == LaneState::Active {
            self.ledger().opens(endpoint);
        }
        let life = self.life();
        let answer = life.runtime.block_on(async {
            match state {
                LaneState::Active => life.control.resume(&name).await,
                _ => life.control.pause(&name).await,
            }
        });
        let cut = cut || self.cut();
        self.tell(format!("e{endpoint} {state:?}: {}", if answer.is_ok() { "done" } else { "refused" }));
        match answer {
            Ok(_) => self.ledger().operated(endpoint, state, cut),
            Err(error) => self.ledger().breach(format!("e{endpoint} cannot be made {state:?}: {error}")),
        }
        // What it let go belongs to this moment.
        self.rest();
    }

    /// Changes the config of an endpoint, or takes it out; in the next life where there is none just now.
    pub(crate) fn reconfigure(&mut self, endpoint: usize, config: Option<Arc<Endpoint>>) {
        let told = match &config {
            Some(config) => described(config),
            None => "is not in the config any more".to_owned(),
        };
        self.tell(format!("e{endpoint}: {told}"));
        self.ledger().counts.reloads += 1;
        match &config {
            Some(config) => {
                self.setup.endpoints[endpoint] = Arc::clone(config);
                self.gone.remove(&endpoint);
            }
            None => drop(self.gone.insert(endpoint)),
        }
        let Some(life) = &self.life else {
            self.ledger().reconfigures_meanwhile(endpoint, config);
            return;
        };
        let now = Now::of(&life.time);
        self.ledger().reconfigures(endpoint, config, now);
        let answer = life.runtime.block_on(life.control.reload(self.present()));
        if let Err(error) = answer {
            self.ledger().breach(format!("the config of e{endpoint} cannot be changed: {error}"));
        }
        self.rest();
    }

    /// Puts deliveries back: of one event, or of one endpoint.
    pub(crate) fn replay(&mut self, wanted: &str, deliveries: Vec<webhookd::model::delivery::DeliveryRef>) {
        let count = deliveries.len();
        let (calm, now) = (self.calm(), self.now());
        self.ledger().replay_asked(&deliveries, now);
        let answer = wait(self.life().outbox.replay(deliveries));
        self.tell(format!("replayed {wanted}, {count} deliveries: {answer:?}"));
        if answer.is_err() && calm && !self.life().damaged {
            self.ledger().breach(format!("a replay was refused though nothing is wrong: {answer:?}"));
        }
    }

    /// The event under an id.
    pub(crate) fn find(&mut self, id: &str) -> Option<StoredEvent> {
        match wait(self.life().outbox.find(&EventId::parse(id).unwrap())) {
            Ok(found) => found,
            Err(error) => {
                self.tell(format!("event {id} cannot be read: {error}"));
                if self.calm() && !self.life().damaged {
                    self.ledger().breach(format!("event {id} cannot be read: {error}"));
                }
                None
            }
        }
    }

    /// Every event, newest first; `None` where the outbox cannot be read just now.
    pub(crate) fn list(&mut self, page: usize) -> Option<Vec<webhookd::outbox::EventSummary>> {
        let mut query = ListQuery { limit: page, ..ListQuery::default() };
        let mut events = Vec::new();
        loop {
            match wait(self.life().outbox.list(query.clone())) {
                Ok(page) => {
                    page.events.iter().for_each(|one| self.ledger().met(one.event_type.as_str(), one.place));
                    events.extend(page.events);
                    match page.next {
                        Some(cursor) => query.cursor = Some(cursor),
                        None => return Some(events),
                    }
                }
                Err(error) => {
                    if self.calm() && !self.life().damaged {
                        self.ledger().breach(format!("the events cannot be listed: {error}"));
                    }
                    return None;
                }
            }
        }
    }
}
