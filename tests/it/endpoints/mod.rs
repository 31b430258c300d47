//! Endpoints that misbehave harm nobody else: lanes, breaker, pace, order, switching off and on, and being told of it.

mod breaker;
mod lanes;
mod order;
mod order_crash;
mod pace;
mod reports;
mod switch;

/// A batch of `count` events of a type, named `prefix-0`, `prefix-1` …, with their number as data.
fn batch(event_type: &str, prefix: &str, count: usize) -> String {
    let event = |n| format!(r#"{{"id":"{prefix}-{n}","type":"{event_type}","data":{n}}}"#);
    format!("[{}]", (0..count).map(event).collect::<Vec<_>>().join(","))
}

/// The same wait so many times.
fn waits(wait: &str, count: usize) -> String {
    format!("retry = [{}]", vec![format!("\"{wait}\""); count].join(", "))
}
