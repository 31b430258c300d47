//! A line to import, as `crate::fuzzing` sees it.

use std::sync::Arc;

use super::endpoint_line;
use super::line::{self, Line, Names};
use crate::model::roster::Roster;
use crate::outbox::generation::Head;

/// A line that is taken is exported so that it is taken as the same once more.
pub(in crate::outbox) fn import_line(text: &str) {
    // Lines end at line breaks.
    if text.contains(['\n', '\r']) {
        return;
    }
    let roster = Roster::shared();
    let mut names = Names::new(Arc::clone(&roster));
    let mut written = Vec::new();
    match line::read(text, &mut names) {
        Err(what) => assert!(!what.is_empty()),
        Ok(Line::WithoutBody) => {}
        Ok(Line::Endpoint(name, record)) => {
            endpoint_line::write(&mut written, &name, &record).expect("what is kept can be written");
            match read_again(&written, &mut names) {
                Line::Endpoint(name_again, again) => assert_eq!((name, record), (name_again, again)),
                other => panic!("an endpoint became {other:?}"),
            }
        }
        Ok(Line::Event(new, deliveries)) => {
            line::write_event(&mut written, &Head::of(&new), Some(&new.event), &deliveries, &roster)
                .expect("what was read can be written");
            match read_again(&written, &mut names) {
                Line::Event(again, deliveries_again) => {
                    assert_eq!((&new.event, deliveries), (&again.event, deliveries_again));
                    assert_eq!((&new.idempotency_key, new.fingerprint), (&again.idempotency_key, again.fingerprint));
                    assert_eq!(new.targets, again.targets);
                }
                other => panic!("an event became {other:?}"),
            }
        }
    }
}

fn read_again(written: &[u8], names: &mut Names) -> Line {
    assert!(!written.contains(&b'\n'), "a line has a line break within it");
    let text = str::from_utf8(written).expect("JSON is UTF-8");
    line::read(text, names).unwrap_or_else(|what| panic!("what was exported is not taken: {what}: {text}"))
}
