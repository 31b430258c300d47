//! The test kit: a real daemon as its own process, a real receiver, a small client. Nothing of webhookd is replaced.

mod client;
pub(crate) mod command;
mod daemon;
mod receiver;
mod signature;
mod tmpfs;

use std::future::Future;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

pub(crate) use client::{Client, Reply};
pub(crate) use daemon::{Daemon, Setup, binary, free_port};
pub(crate) use receiver::{Act, Answer, Received, Receiver};
pub(crate) use signature::{ed25519_fits, hmac_fits};
pub(crate) use tmpfs::Tmpfs;

/// How long a test waits for something that ought to come soon. Generous: the machine may be busy with other tests.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A Standard Webhooks secret for tests.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Another one.
pub(crate) const SECRET_NEXT: &str = "whsec_c2Vjb25kLXNlY3JldC1mb3Itcm90YXRpb24tMDE=";

/// The runtime under receivers and clients.
pub(crate) fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).enable_all().build().expect("a runtime can be built")
    })
}

/// Runs a future to its end from a plain test thread.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    runtime().block_on(future)
}

/// Asks again and again until `ask` has an answer; panics with `what` after [`SOON`].
#[track_caller]
pub(crate) fn eventually<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    within(SOON, what, ask)
}

/// Asks again and again until `ask` has an answer; panics with `what` after `limit`.
#[track_caller]
pub(crate) fn within<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Watches for `span` that `wrong` stays false.
#[track_caller]
pub(crate) fn never(span: Duration, what: &str, mut wrong: impl FnMut() -> bool) {
    let start = Instant::now();
    while start.elapsed() < span {
        assert!(!wrong(), "this must not happen: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
