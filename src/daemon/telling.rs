//! What systemd is told of the daemon, in order: what it is doing, that it is ready, each reload, that it is alive, that it
//! stops.
//!
//! Everything goes through [`Teller`], so that nothing is told of a daemon that stops but that.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::clock::SharedClock;
use crate::dispatch::{Control, Pulse, Silent};
use crate::intake::readiness::{Phase, Readiness};
use crate::limits::{NOTIFY_REFRESH_MS, OPENING_EXTENDED_MS_MAX, OPENING_EXTENSION_MS};
use crate::observe::life::{PartSilent, PartsAnswerAgain};
use crate::systemd::notify::{Notice, Notifier};
use crate::systemd::watchdog::Watchdog;

/// The one who tells. Cloning it is cheap.
#[derive(Clone, Debug)]
pub(super) struct Teller {
    notifier: Notifier,
    told: Arc<Mutex<Told>>,
}

#[derive(Debug, Default)]
struct Told {
    /// The daemon stops: nothing else is to be told.
    stopping: bool,
    /// A reload is under way.
    reloading: bool,
    /// Why the last reload was refused, until one is not.
    refused: Option<String>,
    /// What was told last, without what only the moment knows.
    status: String,
}

impl Teller {
    pub(super) fn new(notifier: Notifier) -> Self {
        Self { notifier, told: Arc::default() }
    }

    pub(super) fn notifier(&self) -> Notifier {
        self.notifier.clone()
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on telling that the storage is opened for as long as that takes, within bounds, so that systemd waits.
    pub(super) async fn opening(&self, clock: &SharedClock) -> Infallible {
        let begin = clock.mono();
        loop {
            let opening_s = clock.mono().since(begin) / 1000;
            let status = if opening_s == 0 {
                "opening the outbox".to_owned()
            } else {
                format!("opening the outbox, for {opening_s} s now")
            };
            if clock.mono().since(begin) < OPENING_EXTENDED_MS_MAX {
                self.notifier.tell(&[Notice::Status(&status), Notice::ExtendTimeout(OPENING_EXTENSION_MS)]);
            } else {
                self.notifier.tell(&[Notice::Status(&status)]);
            }
            clock.sleep_until(clock.mono().plus_ms(OPENING_EXTENSION_MS / 3)).await;
        }
    }

    /// The start is complete.
    pub(super) fn ready(&self, endpoints: usize, pending: u64) {
        let status = in_words(Phase::Ready, &Pulse { endpoints, pending, ..Pulse::default() }, None);
        self.notifier.tell(&[Notice::Ready, Notice::Status(&status)]);
        self.told().status = status;
    }

    /// A reload begins.
    pub(super) fn reloading(&self) {
        let mut told = self.told();
        told.reloading = true;
        if !told.stopping {
            self.notifier.tell(&[Notice::Reloading, Notice::Status("reloading the config")]);
        }
    }

    /// A reload has ended; `fault` is the first one of a config that was refused.
    pub(super) fn reloaded(&self, fault: Option<&str>) {
        let mut told = self.told();
        told.reloading = false;
        told.refused = fault.map(str::to_owned);
        if told.stopping {
            return;
        }
        let status = match fault {
            Some(fault) => format!("ready; {}", refused(fault)),
            None => "ready, with the config reloaded".to_owned(),
        };
        // The state that follows soon says the rest.
        self.notifier.tell(&[Notice::Ready, Notice::Status(&status)]);
        told.status = status;
    }

    /// The stop begins.
    pub(super) fn stopping(&self) {
        let mut told = self.told();
        told.stopping = true;
        let status = "draining: no new events are taken, requests and attempts under way may finish";
        self.notifier.tell(&[Notice::Stopping, Notice::Status(status)]);
    }

    /// Tells how the daemon does, and that it is alive where somebody watches.
    fn alive(&self, phase: Phase, pulse: &Pulse, watched: bool) {
        let mut told = self.told();
        if told.reloading && !told.stopping {
            // The status says so already.
            if watched {
                self.notifier.tell(&[Notice::Watchdog]);
            }
            return;
        }
        let status = if told.stopping {
            in_words(Phase::Draining, pulse, None)
        } else {
            in_words(phase, pulse, told.refused.as_deref())
        };
        match (watched, told.status == status) {
            (true, true) => self.notifier.tell(&[Notice::Watchdog]),
            (true, false) => self.notifier.tell(&[Notice::Watchdog, Notice::Status(&status)]),
            (false, true) => {}
            (false, false) => self.notifier.tell(&[Notice::Status(&status)]),
        }
        told.status = status;
    }

    /// Tells who does not answer; that the daemon is alive is not told.
    fn silent(&self, silent: Silent) {
        let mut told = self.told();
        let status = format!("hanging: {silent}");
        self.notifier.tell(&[Notice::Status(&status)]);
        told.status = status;
    }
}

/// Who asks the parts whether they live, for as long as the daemon does.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) teller: Teller,
    pub(super) watchdog: Option<Watchdog>,
    pub(super) control: Control,
    pub(super) readiness: Arc<Readiness>,
    pub(super) clock: SharedClock,
}

impl Watch {
    /// Asks and tells until `end` is cancelled. Where nobody listens there is nothing to do.
    pub(super) async fn run(self, end: CancellationToken) {
        if !self.teller.notifier.is_heard() {
            return;
        }
        let round_ms = self.watchdog.map_or(NOTIFY_REFRESH_MS, Watchdog::ping_ms);
        let answer_ms = self.watchdog.map_or(NOTIFY_REFRESH_MS, Watchdog::answer_ms);
        let mut hangs = false;
        loop {
            let begin = self.clock.mono();
            let pulse = tokio::select! {
                biased;
                () = end.cancelled() => return,
                pulse = self.control.pulse(answer_ms) => pulse,
            };
            match pulse {
                Ok(pulse) => {
                    if std::mem::take(&mut hangs) {
                        PartsAnswerAgain.tell();
                    }
                    self.teller.alive(self.readiness.phase(), &pulse, self.watchdog.is_some());
                }
                Err(silent) => {
                    if !std::mem::replace(&mut hangs, true) {
                        let killed = self.watchdog.is_some();
                        PartSilent { part: &silent.to_string(), within_ms: answer_ms, killed }.tell();
                    }
                    self.teller.silent(silent);
                }
            }
            tokio::select! {
                biased;
                () = end.cancelled() => return,
                () = self.clock.sleep_until(begin.plus_ms(round_ms)) => {}
            }
        }
    }
}

fn refused(fault: &str) -> String {
    format!("the last reload was refused, the config before it is in force: {fault}")
}

/// The daemon in one line.
fn in_words(phase: Phase, pulse: &Pulse, fault: Option<&str>) -> String {
    let Pulse { endpoints, pending, in_flight, breakers_open } = *pulse;
    let plural = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    let mut text = match phase {
        Phase::Opening => return "opening the outbox".to_owned(),
        Phase::Draining => {
            return format!(
                "draining: {} under way, {pending} pending for the next start",
                plural(in_flight, "attempt")
            );
        }
        Phase::Ready => "ready".to_owned(),
        Phase::Full => "out of room, new events are refused".to_owned(),
        Phase::Failing => "the disk refuses, so new events are refused".to_owned(),
    };
    // A string takes everything.
    let _ = write!(text, ": {}, {pending} pending", plural(endpoints, "endpoint"));
    if breakers_open > 0 {
        let _ = write!(text, ", {} open", plural(breakers_open, "breaker"));
    }
    if let Some(fault) = fault {
        let _ = write!(text, "; {}", refused(fault));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::time::Duration;

    use super::*;
    use crate::clock::{ManualClock, ManualHandle, UnixMs};

    /// A teller, and the socket at which systemd would listen.
    fn teller() -> (Teller, UnixDatagram, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        (Teller::new(Notifier::from_env(&|_| Some(path.clone().into()))), socket, dir)
    }

    fn next(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 1024];
        let len = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..len].to_vec()).unwrap()
    }

    #[tokio::test]
    async fn opening_asks_for_more_time_again_and_again_but_not_without_end() {
        let (teller, socket, _dir) = teller();
        let manual = ManualClock::at(UnixMs(1_700_000_000_000));
        let clock: SharedClock = Arc::new(ManualHandle(Arc::clone(&manual)));
        let mut opening = std::pin::pin!(teller.opening(&clock));
        let mut asked_for_ms = 0;
        let mut step = async || {
            tokio::select! {
                biased;
                never = &mut opening => match never {},
                () = std::future::ready(()) => next(&socket),
            }
        };
        let first = step().await;
        assert_eq!(first, "STATUS=opening the outbox\nEXTEND_TIMEOUT_USEC=30000000\n");
        loop {
            manual.advance_ms(OPENING_EXTENSION_MS / 3);
            asked_for_ms += OPENING_EXTENSION_MS / 3;
            let told = step().await;
            assert!(told.starts_with("STATUS=opening the outbox, for "), "{told}");
            if !told.contains("EXTEND_TIMEOUT_USEC=30000000\n") {
                break;
            }
        }
        assert_eq!(asked_for_ms, OPENING_EXTENDED_MS_MAX);
    }

    #[test]
    fn nothing_but_the_drain_is_told_of_a_daemon_that_stops() {
        let (teller, socket, _dir) = teller();
        teller.ready(1, 2);
        assert_eq!(next(&socket), "READY=1\nSTATUS=ready: 1 endpoint, 2 pending\n");
        teller.reloading();
        assert!(next(&socket).starts_with("RELOADING=1\n"));
        teller.alive(Phase::Ready, &Pulse::default(), true);
        assert_eq!(next(&socket), "WATCHDOG=1\n", "the status still says that it reloads");
        teller.stopping();
        assert!(next(&socket).starts_with("STOPPING=1\n"));
        // What was under way ends now.
        teller.reloaded(Some("a fault"));
        teller.reloading();
        let pulse = Pulse { endpoints: 1, pending: 2, in_flight: 2, breakers_open: 0 };
        teller.alive(Phase::Ready, &pulse, true);
        let expected = "WATCHDOG=1\nSTATUS=draining: 2 attempts under way, 2 pending for the next start\n";
        assert_eq!(next(&socket), expected);
        teller.alive(Phase::Draining, &pulse, true);
        assert_eq!(next(&socket), "WATCHDOG=1\n", "what has not changed is not told again");
        teller.silent(Silent::Both);
        assert!(next(&socket).starts_with("STATUS=hanging: neither"));
    }

    #[test]
    fn the_state_of_the_daemon_is_one_line() {
        let pulse = Pulse { endpoints: 3, pending: 120, in_flight: 1, breakers_open: 1 };
        assert_eq!(in_words(Phase::Ready, &pulse, None), "ready: 3 endpoints, 120 pending, 1 breaker open");
        let quiet = Pulse { endpoints: 1, ..Pulse::default() };
        assert_eq!(in_words(Phase::Ready, &quiet, None), "ready: 1 endpoint, 0 pending");
        assert_eq!(
            in_words(Phase::Draining, &pulse, None),
            "draining: 1 attempt under way, 120 pending for the next start"
        );
        assert!(in_words(Phase::Full, &pulse, None).starts_with("out of room, new events are refused: 3 endpoints"));
        let faulty = in_words(Phase::Ready, &quiet, Some("a.toml:1:1: no"));
        assert!(faulty.starts_with("ready: ") && faulty.ends_with("in force: a.toml:1:1: no"), "{faulty}");
    }
}
