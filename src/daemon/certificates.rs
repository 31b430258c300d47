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

use super::StartError;
use super::table::Table;
use crate::api::ReloadError;
use crate::clock::{MonoMs, SharedClock, UnixMs};
use crate::config::{Config, ListenerTls, ReadTls, TlsFiles, TlsNote, subject_of};
use crate::front::{Tls, TlsSettings};
use crate::limits::{CERTIFICATE_POLL_MS, CERTIFICATE_WARN_MS};
use crate::observe::Metrics;
use crate::observe::certificates::{CertificateEnds, CertificateRefused, CertificateRenewed};

/// A certificate that ends soon is told of so often, in milliseconds.
const WARN_EVERY_MS: u64 = 24 * 3600 * 1000;

/// The certificates of the tables that are served. What is here belongs to whoever owns the config in force.
#[derive(Debug)]
pub(super) struct Certificates {
    clock: SharedClock,
    metrics: Arc<Metrics>,
    /// `None`: the listener speaks plain HTTP.
    api: Option<Watched>,
    inbound: Option<Watched>,
}

/// A certificate that was put in force because its files had changed.
#[derive(Debug)]
pub(super) struct Renewed {
    /// Whose.
    pub(super) table: Table,
    pub(super) tls: Arc<ListenerTls>,
}

/// A certificate in force and its files.
#[derive(Debug)]
struct Watched {
    table: Table,
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
    /// Those of the tables that are served.
    pub(super) fn new(
        config: &Config,
        served: &[Table],
        clock: &SharedClock,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, StartError> {
        let make = |table: Table| {
            let Some(current) = table.tls(config).filter(|_| served.contains(&table)) else { return Ok(None) };
            let settings =
                TlsSettings::new(current).map_err(|source| StartError::Tls { table: table.word(), source })?;
            let tls = Tls::new(table.word(), settings, Arc::clone(metrics));
            Ok::<_, StartError>(Some(Watched::new(table, tls, Arc::clone(current), clock.mono())))
        };
        let (api, inbound) = (make(Table::Api)?, make(Table::Inbound)?);
        Ok(Self { clock: Arc::clone(clock), metrics: Arc::clone(metrics), api, inbound })
    }

    /// TLS of a table's listeners.
    pub(super) fn of(&self, table: Table) -> Option<Arc<Tls>> {
        self.watched().find(|watched| watched.table == table).map(|watched| Arc::clone(&watched.tls))
    }

    /// What a config needs, for each table about which something is new. Nothing is changed yet.
    pub(super) fn prepare(&self, config: &Config) -> Result<Vec<(Table, TlsSettings)>, ReloadError> {
        let mut prepared = Vec::new();
        for Watched { table, current, .. } in self.watched() {
            if let Some(next) = table.tls(config).filter(|next| !current.is_like(next)) {
                let settings =
                    TlsSettings::new(next).map_err(|source| ReloadError::Tls { table: table.word(), source })?;
                prepared.push((*table, settings));
            }
        }
        Ok(prepared)
    }

    /// Puts in force what was prepared for this config.
    pub(super) fn adopt(&mut self, config: &Config, prepared: Vec<(Table, TlsSettings)>) {
        let now = self.clock.mono();
        for (table, settings) in prepared {
            let watched = [&mut self.api, &mut self.inbound].into_iter().flatten();
            let watched = watched.into_iter().find(|watched| watched.table == table);
            let (Some(watched), Some(next)) = (watched, table.tls(config)) else { continue };
            watched.tls.adopt(settings);
            let tls = Arc::clone(&watched.tls);
            *watched = Watched::new(table, tls, Arc::clone(next), now);
        }
    }

    /// Watches the files until another certificate has been put in force, and hands it out. It may be dropped at any point and
    /// called again.
    pub(super) async fn renewed(&mut self) -> Renewed {
        let Self { clock, metrics, api, inbound } = self;
        tokio::select! {
            renewed = watch(api, clock, metrics) => renewed,
            renewed = watch(inbound, clock, metrics) => renewed,
        }
    }

    fn watched(&self) -> impl Iterator<Item = &Watched> {
        [&self.api, &self.inbound].into_iter().flatten()
    }
}

/// Watches one; where there is none, for ever.
async fn watch(watched: &mut Option<Watched>, clock: &SharedClock, metrics: &Metrics) -> Renewed {
    match watched {
        Some(watched) => watched.renewed(clock, metrics).await,
        None => std::future::pending().await,
    }
}

impl Watched {
    fn new(table: Table, tls: Arc<Tls>, current: Arc<ListenerTls>, now: MonoMs) -> Self {
        // The first look reads the files, for they may have changed since the config was read.
        Self { table, tls, current, seen: None, trouble: None, next_look: now, looking: None, warned: None }
    }

    async fn renewed(&mut self, clock: &SharedClock, metrics: &Metrics) -> Renewed {
        loop {
            if let Some(looking) = &mut self.looking {
                let looked = looking.await;
                self.looking = None;
                // A look that panicked is a look that saw nothing.
                if let Some(tls) = looked.ok().and_then(|looked| self.take(looked, metrics)) {
                    return Renewed { table: self.table, tls };
                }
            }
            clock.sleep_until(self.next_look).await;
            self.next_look = clock.mono().plus_ms(CERTIFICATE_POLL_MS);
            self.warn(clock);
            self.look(clock.wall());
        }
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
        let listener = self.table.word();
        CertificateRenewed { listener, subject: &subject, expires: next.expires, warnings: &warnings }.tell();
        Some(next)
    }

    fn refuse(&mut self, why: &str, metrics: &Metrics) {
        if self.trouble.as_deref() != Some(why) {
            CertificateRefused { listener: self.table.word(), why }.tell(metrics);
            self.trouble = Some(why.to_owned());
        }
    }

    fn warn(&mut self, clock: &SharedClock) {
        let now = clock.mono();
        let silent = self.warned.is_some_and(|at| now.since(at) < WARN_EVERY_MS);
        let left_ms = self.current.expires.since(clock.wall());
        if left_ms <= CERTIFICATE_WARN_MS && !silent {
            CertificateEnds { listener: self.table.word(), expires: self.current.expires, left_ms }.tell();
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
