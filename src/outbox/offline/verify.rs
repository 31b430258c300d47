//! Reads everything that is in a generation, and tells what does not fit together.

use std::collections::BTreeSet;

use super::check::{EXPORT, Fault, START};
use super::histories::Histories;
use crate::model::delivery::{DeliveryRef, Fallen, Standing, Waiting};
use crate::outbox::carve::Carved;
use crate::outbox::generation::{Generation, State};
use crate::outbox::keys;
use crate::outbox::news::Recovered;
use crate::outbox::{ReadError, ids};

/// Faults of one generation that are told one by one.
const SHOWN_MAX: usize = 5;
/// Every kind of record in a generation.
const KINDS: [u8; 7] = [keys::NAME, keys::BODY, keys::HEADS, keys::STATES, keys::ATTEMPTS, keys::SEAL, keys::DONE];

/// What a generation holds.
#[derive(Debug, Default)]
pub(super) struct Verified {
    pub(super) events: u64,
    pub(super) delivered: u64,
    pub(super) dead: u64,
    pub(super) attempts: u64,
    /// Events without their body in a generation where that is known.
    pub(super) without_body: u64,
    /// Under what its events are found.
    pub(super) hashes: Vec<u64>,
    /// What is pending, and what is dead.
    pub(super) deliveries: Vec<Recovered>,
    pub(super) faults: Vec<Fault>,
    more: u64,
}

impl Verified {
    /// How many deliveries are pending.
    pub(super) fn pending(&self) -> u64 {
        self.deliveries.iter().filter(|one| one.waits()).count() as u64
    }

    /// Nothing of it could be read.
    pub(super) fn nothing(fault: Fault) -> Self {
        Self { faults: vec![fault], ..Self::default() }
    }

    fn fault(&mut self, what: String, remedy: &str) {
        if self.faults.len() < SHOWN_MAX {
            self.faults.push(Fault { what, remedy: remedy.to_owned() });
        } else {
            self.more += 1;
        }
    }

    fn unreadable(&mut self, error: &ReadError) {
        self.fault(error.to_string(), START);
    }
}

/// Reads every event with its body, every state and every attempt.
pub(super) fn verify(generation: &Generation) -> Verified {
    let mut verified = Verified::default();
    let (mut histories, read) = Histories::read(generation);
    if let Err(error) = read {
        verified.unreadable(&error);
    }
    let mut packs = BTreeSet::new();
    let scanned = generation.scan_heads(|seq, row| {
        verified.events += 1;
        let head = match generation.head_of(row) {
            Ok(head) => head,
            Err(error) => return verified.unreadable(&error),
        };
        verified.hashes.extend(ids::of(row.id, row.idempotency_key));
        let (accepted_at, event) = (head.event.at, generation.place(seq));
        for past in histories.take(seq, &head) {
            verified.attempts += past.packs.len() as u64;
            packs.extend(past.packs);
            let (delivery, key) = (DeliveryRef { event, endpoint: past.endpoint }, row.key_hash());
            let State { standing, progress, died_at } = past.state;
            match standing {
                Standing::Delivered => verified.delivered += 1,
                Standing::Dead(_) => {
                    verified.dead += 1;
                    verified.deliveries.push(Recovered::Dead(Fallen { delivery, died_at, key }));
                }
                Standing::Pending { next_at } => {
                    let waiting = Waiting { delivery, accepted_at, next_at, progress, key };
                    verified.deliveries.push(Recovered::Waiting(waiting));
                }
            }
        }
        match generation.event(head) {
            Ok(_) => {}
            Err(ReadError::Lost(_)) => verified.without_body += 1,
            Err(error) => verified.unreadable(&error),
        }
    });
    if let Err(error) = scanned {
        verified.unreadable(&error);
    }
    verify_attempts(generation, &packs, &mut verified);
    if histories.len() > 0 && !generation.rescued() && verified.faults.is_empty() {
        let what = format!("it tells of deliveries of {} events that are not there", histories.len());
        verified.fault(what, EXPORT);
    }
    match generation.done() {
        // Of one that was rescued the start does not believe it.
        Ok(Some(_))
            if !generation.sealed().is_ok_and(|seal| seal.is_some_and(|seal| seal.rescued))
                && verified.pending() > 0 =>
        {
            let pending = verified.pending();
            let what =
                format!("it is marked as finished, and {pending} deliveries in it are pending: nobody would make them");
            verified.fault(what, EXPORT);
        }
        Ok(_) => {}
        Err(error) => verified.unreadable(&error),
    }
    if verified.more > 0 {
        let what = format!("and {} more such faults", verified.more);
        verified.faults.push(Fault { what, remedy: START.to_owned() });
    }
    verified
}

fn verify_attempts(generation: &Generation, packs: &BTreeSet<u32>, verified: &mut Verified) {
    let mut gone = 0;
    for pack in packs {
        match generation.each_attempt(*pack, |_| {}) {
            Ok(there) => gone += u64::from(!there && !generation.rescued()),
            Err(error) => verified.unreadable(&error),
        }
    }
    if gone > 0 {
        verified.fault(format!("{gone} packs of attempts are missing"), START);
    }
}

/// Holds the records of an open generation against those that were carved out of its file. Returns how many it has.
pub(super) fn compare(generation: &Generation, carved: &Carved, verified: &mut Verified) -> u64 {
    let (mut records, mut unlike, mut lost) = (0, 0, 0);
    for kind in KINDS {
        let (mut of_kind, mut last) = (0, 0);
        let scanned = generation.scan_records(kind, |key, value| {
            of_kind += 1;
            last = keys::number(&key).unwrap_or(0);
            let same = carved.get(&key).is_ok_and(|found| found.as_ref() == Some(&value));
            unlike += u64::from(!same);
        });
        if let Err(error) = scanned {
            verified.unreadable(&error);
        }
        records += of_kind;
        // Behind its last one there may be what is left of a commit that never finished. Other kinds are removed at times.
        if matches!(kind, keys::NAME | keys::HEADS | keys::STATES | keys::ATTEMPTS) {
            let there = carved.numbers(kind).into_iter().filter(|number| of_kind > 0 && *number <= last).count() as u64;
            lost += there.saturating_sub(of_kind);
        }
    }
    if unlike > 0 {
        let what = format!("{unlike} of its records are damaged in the file, or cannot be found in it");
        verified.fault(what, EXPORT);
    }
    if lost > 0 {
        verified.fault(format!("the storage engine has lost {lost} records that its file still has"), EXPORT);
    }
    records
}
