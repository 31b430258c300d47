//! Certificates of the listeners: put in force at the start and by a reload, and watched in between.
//!
//! Whoever renews certificates writes files and tells nobody, or moves a symlink (certbot, Kubernetes). So the files are looked
//! at every few seconds, through symlinks, off the runtime's threads: what stands there and holds takes the place of the one in
//! force, for the connections that come from then on. What does not hold (a key that does not fit yet, a file half written) is
//! told once and looked at again; the one in force stays. A file that hangs holds up nothing but the watching.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::clock::{MonoMs, SharedClock, UnixMs};
use crate::config::{Config, ListenerTls, ReadTls, TlsFiles, TlsNote, subject_of};
use crate::front::{Tls, TlsError, TlsSettings};
use crate::limits::{CERTIFICATE_POLL_MS, CERTIFICATE_WARN_MS};
use crate::observe::Metrics;
use crate::observe::certificates::{CertificateEnds, CertificateRefused, CertificateRenewed};

/// The table of the listener.
const API: &str = "api";
/// A certificate that ends soon is told of so often, in milliseconds.
const WARN_EVERY_MS: u64 = 24 * 3600 * 1000;

/// The certificate of the API's listener. What is here belongs to whoever owns the config in force.
#[derive(Debug)]
pub(super) struct Certificates {
    clock: SharedClock,
    metrics: Arc<Metrics>,
    /// `None`: the listener speaks plain HTTP.
    api: Option<Watched>,
}

/// A certificate in force and its files.
#[derive(Debug)]
struct Watched {
    tls: Arc<Tls>,
    current: Arc<ListenerTls>,
    /// What the files looked like when they were last read; `None`: not yet.
    seen: Option<Stamps>,
    /// What was told to be wrong with what stands in the files.
    trouble: Option<String>,
    next_look: MonoMs,
    looking: Option<JoinHandle<Looked>>,
    warned: Option<MonoMs>,
}

/// What shows that a file has changed, for each of the three.
type Stamps = [Option<Stamp>; 3];

/// Device, inode, length, and the times of the last change of content and of the inode, each in seconds and nanoseconds.
type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

/// One look at the files.
#[derive(Debug)]
struct Looked {
    files: TlsFiles,
    stamps: Stamps,
    /// What stands in them; `None`: what did the last time.
    read: Option<ReadTls>,
}

impl Certificates {
    pub(super) fn new(config: &Config, clock: &SharedClock, metrics: &Arc<Metrics>) -> Result<Self, TlsError> {
        let (clock, metrics) = (Arc::clone(clock), Arc::clone(metrics));
        let make = |current: &Arc<ListenerTls>| {
            let tls = Tls::new(API, TlsSettings::new(current)?, Arc::clone(&metrics));
            Ok::<_, TlsError>(Watched::new(tls, Arc::clone(current), clock.mono()))
        };
        let api = config.api.tls.as_ref().map(make).transpose()?;
        Ok(Self { clock, metrics, api })
    }

    /// TLS of the API's listener.
    pub(super) fn api(&self) -> Option<Arc<Tls>> {
        self.api.as_ref().map(|watched| Arc::clone(&watched.tls))
    }

    /// What a config needs; `None` where nothing about it is new. Nothing is changed yet.
    pub(super) fn prepare(&self, config: &Config) -> Result<Option<TlsSettings>, TlsError> {
        match (&self.api, &config.api.tls) {
            (Some(watched), Some(next)) if !watched.current.is_like(next) => TlsSettings::new(next).map(Some),
            _ => Ok(None),
        }
    }

    /// Puts in force what was prepared for this config.
    pub(super) fn adopt(&mut self, config: &Config, prepared: Option<TlsSettings>) {
        let (Some(watched), Some(next), Some(settings)) = (&mut self.api, &config.api.tls, prepared) else { return };
        watched.tls.adopt(settings);
        let tls = Arc::clone(&watched.tls);
        *watched = Watched::new(tls, Arc::clone(next), self.clock.mono());
    }

    /// Watches the files until another certificate of the API's listener has been put in force, and hands it out. It may be
    /// dropped at any point and called again.
    pub(super) async fn renewed(&mut self) -> Arc<ListenerTls> {
        let Some(watched) = &mut self.api else { return std::future::pending().await };
        loop {
            if let Some(looking) = &mut watched.looking {
                let looked = looking.await;
                watched.looking = None;
                // A look that panicked is a look that saw nothing.
                if let Some(renewed) = looked.ok().and_then(|looked| watched.take(looked, &self.metrics)) {
                    return renewed;
                }
            }
            self.clock.sleep_until(watched.next_look).await;
            watched.next_look = self.clock.mono().plus_ms(CERTIFICATE_POLL_MS);
            watched.warn(&self.clock);
            watched.look(self.clock.wall());
        }
    }
}

impl Watched {
    fn new(tls: Arc<Tls>, current: Arc<ListenerTls>, now: MonoMs) -> Self {
        // The first look reads the files, for they may have changed since the config was read.
        Self { tls, current, seen: None, trouble: None, next_look: now, looking: None, warned: None }
    }

    fn look(&mut self, now: UnixMs) {
        let files = self.current.files.clone();
        // What did not hold may do so by now though nothing was written: a certificate that was not valid yet.
        let known = self.seen.filter(|_| self.trouble.is_none());
        self.looking = Some(tokio::task::spawn_blocking(move || {
            // Before they are read: what is written meanwhile shows at the next look.
            let stamps = stamps(&files);
            let read = (known.as_ref() != Some(&stamps)).then(|| ListenerTls::read(files.clone(), now));
            Looked { files, stamps, read }
        }));
    }

    /// Puts in force what a look has found, if it is new and holds.
    fn take(&mut self, looked: Looked, metrics: &Metrics) -> Option<Arc<ListenerTls>> {
        let Looked { files, stamps, read } = looked;
        if files != self.current.files {
            return None;
        }
        self.seen = Some(stamps);
        let ReadTls { tls, lapsed, warnings } = read?;
        let next = match tls {
            Ok(next) => next,
            Err(notes) => {
                self.refuse(&lines(&notes), metrics);
                return None;
            }
        };
        if next.is_like(&self.current) {
            self.trouble = None;
            return None;
        }
        if !lapsed.is_empty() {
            self.refuse(&lines(&lapsed), metrics);
            return None;
        }
        let settings = match TlsSettings::new(&next) {
            Ok(settings) => settings,
            Err(error) => {
                self.refuse(&error.to_string(), metrics);
                return None;
            }
        };
        self.tls.adopt(settings);
        (self.trouble, self.warned) = (None, None);
        let next = Arc::new(next);
        self.current = Arc::clone(&next);
        let subject = next.chain.first().map(subject_of).unwrap_or_default();
        let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        CertificateRenewed { listener: API, subject: &subject, expires: next.expires, warnings: &warnings }.tell();
        Some(next)
    }

    fn refuse(&mut self, why: &str, metrics: &Metrics) {
        if self.trouble.as_deref() != Some(why) {
            CertificateRefused { listener: API, why }.tell(metrics);
            self.trouble = Some(why.to_owned());
        }
    }

    fn warn(&mut self, clock: &SharedClock) {
        let now = clock.mono();
        let silent = self.warned.is_some_and(|at| now.since(at) < WARN_EVERY_MS);
        let left_ms = self.current.expires.since(clock.wall());
        if left_ms <= CERTIFICATE_WARN_MS && !silent {
            CertificateEnds { listener: API, expires: self.current.expires, left_ms }.tell();
            self.warned = Some(now);
        }
    }
}

fn lines(notes: &[TlsNote]) -> String {
    notes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn stamps(files: &TlsFiles) -> Stamps {
    [Some(&files.cert), Some(&files.key), files.client_ca.as_ref()].map(|path| path.and_then(|path| stamp(path)))
}

/// Of the file that stands at the end of all symlinks.
fn stamp(path: &Path) -> Option<Stamp> {
    let meta = fs::metadata(path).ok()?;
    let times = ((meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec()));
    Some((meta.dev(), meta.ino(), meta.len(), times.0, times.1))
}

#[cfg(test)]
mod tests;
