//! What happens to the certificates of listeners, told once.

use super::Metrics;
use crate::clock::UnixMs;

/// A listener's certificate files changed, and what stands in them is in force.
#[derive(Debug)]
pub struct CertificateRenewed<'a> {
    /// The listener's table.
    pub listener: &'static str,
    /// Whom the certificate is of.
    pub subject: &'a str,
    /// Until when it holds.
    pub expires: UnixMs,
    /// What is worth a word about it.
    pub warnings: &'a [String],
}

impl CertificateRenewed<'_> {
    /// Tells it.
    pub fn tell(&self) {
        let Self { listener, subject, expires, warnings } = self;
        tracing::info!(listener, subject, %expires, "the certificate files have changed: new connections get the new certificate");
        for warning in *warnings {
            tracing::warn!("{listener}.tls.{warning}");
        }
    }
}

/// A listener's certificate files changed, and what stands in them does not hold; the certificate before stays in force.
#[derive(Debug)]
pub struct CertificateRefused<'a> {
    /// The listener's table.
    pub listener: &'static str,
    /// What is wrong.
    pub why: &'a str,
}

impl CertificateRefused<'_> {
    /// Tells it.
    pub fn tell(&self, metrics: &Metrics) {
        let Self { listener, why } = self;
        metrics.tls_certificates_refused.with_label_values(&[listener]).inc();
        tracing::warn!(
            listener,
            why,
            "the certificate files have changed and are not put in force; the certificate before stays, and they are looked \
             at again"
        );
    }
}

/// A listener's certificate ends soon, or has ended.
#[derive(Debug)]
pub struct CertificateEnds {
    /// The listener's table.
    pub listener: &'static str,
    /// When.
    pub expires: UnixMs,
    /// The time until then, in milliseconds; 0: it is past.
    pub left_ms: u64,
}

impl CertificateEnds {
    /// Tells it.
    pub fn tell(&self) {
        let Self { listener, expires, left_ms } = self;
        if *left_ms == 0 {
            tracing::error!(listener, %expires, "the certificate has expired: clients refuse it; renew it");
            return;
        }
        let days = left_ms / (24 * 3600 * 1000);
        tracing::warn!(listener, %expires, days, "the certificate expires soon; renew it");
    }
}
