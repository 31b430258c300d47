//! Every metric of the daemon, with its name, unit and labels. Labels come from closed sets: names of endpoints and sources of
//! the config, words of enums.

use std::sync::Arc;

use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::clock::UnixMs;
use crate::model::text::{EndpointName, SourceName};

/// Buckets for what takes from a fraction of a millisecond to half a minute, in seconds.
const SECONDS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Buckets from acceptance to delivery: as above, and on into the days that a retry schedule spans.
const SECONDS_LONG: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0, 3600.0, 21_600.0, 86_400.0, 345_600.0];
/// Buckets for the number of events in a commit.
const BATCH: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0];

/// The metrics. One for each daemon, shared by its parts.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Events accepted, by the way they came in: `json`, `batch`, `raw`, `cloudevents`, `ping`, `inbound`.
    pub events_accepted: IntCounterVec,
    /// Events that were known already, and not stored again.
    pub events_duplicate: IntCounter,
    /// Requests that were refused, by reason.
    pub requests_refused: IntCounterVec,
    /// Refusals that the audit log has told in one line with others.
    pub audit_held_back: IntCounter,
    /// Inbound events that were stored, by source.
    pub inbound_accepted: IntCounterVec,
    /// Inbound events that were known already, by source.
    pub inbound_duplicates: IntCounterVec,
    /// Inbound requests that were refused, by source and reason. A path that names no source counts for the source "".
    pub inbound_refused: IntCounterVec,
    /// Inbound events stored without the type that their source's config looks for, by source.
    pub inbound_untyped: IntCounterVec,
    /// Time from an inbound request's last body byte to its answer, in seconds, by source.
    pub inbound_ack_seconds: HistogramVec,
    /// Connections that are open, by listener.
    pub connections: IntGaugeVec,
    /// Connections that found no place, by listener and the key of the config that was met.
    pub connections_refused: IntCounterVec,
    /// Connections that were closed before their clients closed them, by listener and reason.
    pub connections_cut: IntCounterVec,
    /// Connections of proxies that did not begin with a PROXY header, by listener and reason.
    pub proxy_headers_refused: IntCounterVec,
    /// Time from a request's last body byte to its 202, in seconds.
    pub accept_seconds: Histogram,
    /// Attempts by endpoint and outcome: `success` or the word of the error.
    pub attempts: IntCounterVec,
    /// Duration of an attempt by endpoint, in seconds.
    pub attempt_seconds: HistogramVec,
    /// Time from acceptance (or from `deliver_at`) to delivery by endpoint, in seconds.
    pub accepted_to_delivered_seconds: HistogramVec,
    /// Deliveries that ended, by endpoint and state: `delivered` or `dead`.
    pub deliveries_finished: IntCounterVec,
    /// Deliveries that are not finished, by endpoint.
    pub deliveries_pending: IntGaugeVec,
    /// Requests under way, by endpoint.
    pub deliveries_in_flight: IntGaugeVec,
    /// Age of the oldest event with an unfinished delivery, in seconds.
    pub oldest_pending_seconds: IntGauge,
    /// Whether an endpoint is active: 1, or paused or disabled: 0.
    pub endpoint_active: IntGaugeVec,
    /// Whether an endpoint's breaker is open: 1, or not: 0.
    pub breaker_open: IntGaugeVec,
    /// How often an endpoint's breaker has opened.
    pub breakers_opened: IntCounterVec,
    /// Deliveries that wait for endpoints that the config does not name.
    pub deliveries_orphaned: IntGauge,
    /// Operational events stored, by type.
    pub operational_events: IntCounterVec,
    /// Operational events that could not be stored.
    pub operational_events_lost: IntCounter,
    /// Events in a commit.
    pub commit_events: Histogram,
    /// Duration of a commit with its fsync, in seconds.
    pub commit_seconds: Histogram,
    /// Commits that failed.
    pub commits_failed: IntCounter,
    /// Generations found damaged.
    pub generations_damaged: IntCounter,
    /// Damaged generations that lie set aside.
    pub outbox_damaged: IntGauge,
    /// Blob files of the storage engine; there must be none, for it never syncs them.
    pub outbox_blobs: IntGauge,
    /// Free bytes of the data folder's file system.
    pub outbox_free_bytes: IntGauge,
    /// 1 for the reason for which new events are refused, else 0.
    outbox_refusing: IntGaugeVec,
    /// 1 while room for events runs out, else 0.
    pub storage_low: IntGauge,
    /// Outcomes that wait in memory for a disk that refuses them.
    pub settlements_owed: IntGauge,
    /// Generations of the outbox on disk.
    pub outbox_generations: IntGauge,
    /// Bytes of the outbox on disk.
    pub outbox_disk_bytes: IntGauge,
    /// 1 while the daemon is ready, else 0.
    pub ready: IntGauge,
    /// Reloads of the config by outcome: `applied` or `refused`.
    pub config_reloads: IntCounterVec,
    /// TLS handshakes that came to nothing, by listener and reason.
    pub tls_handshakes_failed: IntCounterVec,
    /// Certificates of listeners whose files changed and were not put in force, by listener.
    pub tls_certificates_refused: IntCounterVec,
    /// When a listener's certificate expires, in seconds since the epoch.
    tls_certificate_expiry_timestamp_seconds: IntGaugeVec,
    /// When the config in force was loaded, in seconds since the epoch.
    config_loaded_timestamp_seconds: IntGauge,
}

struct Registrar(Registry);

impl Registrar {
    fn add<C: prometheus::core::Collector + Clone + 'static>(&self, metric: prometheus::Result<C>) -> C {
        let metric = metric.expect("metric names and labels are constants that follow the rules");
        self.0.register(Box::new(metric.clone())).expect("each metric is registered once");
        metric
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add(IntCounter::new(name, help))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.add(IntGauge::new(name, help))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        self.add(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        self.add(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels))
    }
}

impl Metrics {
    /// All metrics at zero.
    #[must_use]
    pub fn shared() -> Arc<Self> {
        let to = Registrar(Registry::new());
        let build = to.gauges("webhookd_build_info", "The version that runs.", &["version"]);
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let (endpoint, source) = (&["endpoint"], &["source"]);
        let config_reloads =
            to.counters("webhookd_config_reloads_total", "Reloads of the config: applied or refused.", &["outcome"]);
        // Both are there before the first, so that an alert can see the step.
        for outcome in ["applied", "refused"] {
            config_reloads.with_label_values(&[outcome]);
        }
        Arc::new(Self {
            events_accepted: to.counters(
                "webhookd_events_accepted_total",
                "Events accepted and durable, by the way they came in.",
                &["via"],
            ),
            events_duplicate: to
                .counter("webhookd_events_duplicate_total", "Events that were known already and not stored again."),
            requests_refused: to.counters(
                "webhookd_requests_refused_total",
                "Requests answered with an error, by the problem's name.",
                &["reason"],
            ),
            audit_held_back: to.counter(
                "webhookd_audit_held_back_total",
                "Refused requests that the audit log has not told one by one: there were too many a second.",
            ),
            inbound_accepted: to.counters(
                "webhookd_inbound_accepted_total",
                "Events of third parties accepted and durable, by source.",
                source,
            ),
            inbound_duplicates: to.counters(
                "webhookd_inbound_duplicates_total",
                "Events of third parties that were known already: acknowledged and not stored again.",
                source,
            ),
            inbound_refused: to.counters(
                "webhookd_inbound_refused_total",
                "Requests of third parties refused, by what was wrong with the signature, or by the problem's name.",
                &["source", "reason"],
            ),
            inbound_untyped: to.counters(
                "webhookd_inbound_untyped_total",
                "Events of third parties stored as SOURCE.unknown: no type stands where event_type looks for it.",
                source,
            ),
            inbound_ack_seconds: to.histograms(
                "webhookd_inbound_ack_seconds",
                "Time from the last body byte of a third party's request to its answer.",
                source,
                SECONDS,
            ),
            connections: to.gauges("webhookd_connections", "Connections that are open.", &["listener"]),
            connections_refused: to.counters(
                "webhookd_connections_refused_total",
                "Connections turned away, by the limit that was met: max_connections, max_connections_per_address.",
                &["listener", "reason"],
            ),
            connections_cut: to.counters(
                "webhookd_connections_cut_total",
                "Connections closed by webhookd for what their clients did or did not do, by reason.",
                &["listener", "reason"],
            ),
            proxy_headers_refused: to.counters(
                "webhookd_proxy_headers_refused_total",
                "Connections of proxies that were closed because they did not begin with a PROXY header, by reason.",
                &["listener", "reason"],
            ),
            accept_seconds: to.histogram(
                "webhookd_accept_seconds",
                "Time from a request's last body byte to its answer.",
                SECONDS,
            ),
            attempts: to.counters(
                "webhookd_attempts_total",
                "Requests made to endpoints, by outcome: success or the kind of error.",
                &["endpoint", "outcome"],
            ),
            attempt_seconds: to.histograms("webhookd_attempt_seconds", "Duration of an attempt.", endpoint, SECONDS),
            accepted_to_delivered_seconds: to.histograms(
                "webhookd_accepted_to_delivered_seconds",
                "Time from acceptance to delivery.",
                endpoint,
                SECONDS_LONG,
            ),
            deliveries_finished: to.counters(
                "webhookd_deliveries_finished_total",
                "Deliveries that ended, by state: delivered or dead.",
                &["endpoint", "state"],
            ),
            deliveries_pending: to.gauges(
                "webhookd_deliveries_pending",
                "Deliveries that are neither delivered nor dead.",
                endpoint,
            ),
            deliveries_in_flight: to.gauges("webhookd_deliveries_in_flight", "Requests under way.", endpoint),
            oldest_pending_seconds: to
                .gauge("webhookd_oldest_pending_seconds", "Age of the oldest event that has an unfinished delivery."),
            endpoint_active: to.gauges(
                "webhookd_endpoint_active",
                "1 for an endpoint that is delivered to, 0 for one paused or disabled.",
                endpoint,
            ),
            breaker_open: to.gauges(
                "webhookd_breaker_open",
                "1 for an endpoint whose breaker is open: nothing but probes goes to it.",
                endpoint,
            ),
            breakers_opened: to.counters(
                "webhookd_breaker_opened_total",
                "How often an endpoint's breaker has opened.",
                endpoint,
            ),
            deliveries_orphaned: to.gauge(
                "webhookd_deliveries_orphaned",
                "Deliveries that wait for endpoints that the config does not name.",
            ),
            operational_events: to.counters(
                "webhookd_operational_events_total",
                "Operational events (webhookd.*) stored for those who subscribe to them.",
                &["type"],
            ),
            operational_events_lost: to
                .counter("webhookd_operational_events_lost_total", "Operational events that could not be stored."),
            commit_events: to.histogram("webhookd_commit_events", "Events written in one commit.", BATCH),
            commit_seconds: to.histogram("webhookd_commit_seconds", "Duration of a commit with its fsync.", SECONDS),
            commits_failed: to.counter("webhookd_commits_failed_total", "Commits that could not be written or synced."),
            generations_damaged: to
                .counter("webhookd_generations_damaged_total", "Generations of the outbox found damaged."),
            outbox_damaged: to.gauge(
                "webhookd_outbox_damaged_generations",
                "Damaged generations that lie set aside in the data folder.",
            ),
            outbox_blobs: to.gauge(
                "webhookd_outbox_blob_files",
                "Blob files of the storage engine: there must be none, for they are never synced.",
            ),
            outbox_free_bytes: to
                .gauge("webhookd_outbox_free_bytes", "Free bytes of the file system that holds the data folder."),
            outbox_refusing: to.gauges(
                "webhookd_outbox_refusing",
                "1 where new events are refused, by reason: max_size, min_free, failing.",
                &["reason"],
            ),
            storage_low: to.gauge(
                "webhookd_storage_low",
                "1 while max_size or min_free is near, so that events are refused before long, else 0.",
            ),
            settlements_owed: to
                .gauge("webhookd_settlements_owed", "Outcomes of attempts that wait for a disk that refuses them."),
            outbox_generations: to.gauge("webhookd_outbox_generations", "Generations of the outbox on disk."),
            outbox_disk_bytes: to.gauge("webhookd_outbox_disk_bytes", "Bytes of the outbox on disk."),
            ready: to.gauge("webhookd_ready", "1 while the daemon takes events, else 0."),
            tls_handshakes_failed: to.counters(
                "webhookd_tls_handshakes_failed_total",
                "TLS handshakes that came to nothing, by listener and reason.",
                &["listener", "reason"],
            ),
            tls_certificates_refused: to.counters(
                "webhookd_tls_certificates_refused_total",
                "Changed certificate files that were not put in force because something in them is wrong.",
                &["listener"],
            ),
            tls_certificate_expiry_timestamp_seconds: to.gauges(
                "webhookd_tls_certificate_expiry_timestamp_seconds",
                "When the certificate of a listener expires, since the epoch.",
                &["listener"],
            ),
            config_reloads,
            config_loaded_timestamp_seconds: to.gauge(
                "webhookd_config_loaded_timestamp_seconds",
                "When the config in force was loaded, since the epoch.",
            ),
            registry: to.0,
        })
    }

    /// Shows no more gauges of an endpoint that the config does not name any more. What was counted stays.
    pub fn forget_endpoint(&self, name: &EndpointName) {
        let gauges = [&self.deliveries_pending, &self.deliveries_in_flight, &self.endpoint_active, &self.breaker_open];
        for gauge in gauges {
            // It fails where the endpoint was never shown.
            let _ = gauge.remove_label_values(&[name.as_str()]);
        }
    }

    /// Shows all of a source at zero, so that an alert can see the first step.
    pub fn know_source(&self, name: &SourceName, reasons: impl Iterator<Item = &'static str>) {
        let source = &[name.as_str()];
        for counter in [&self.inbound_accepted, &self.inbound_duplicates, &self.inbound_untyped] {
            counter.with_label_values(source);
        }
        self.inbound_ack_seconds.with_label_values(source);
        for reason in reasons {
            self.inbound_refused.with_label_values(&[name.as_str(), reason]);
        }
    }

    /// Tells why new events are refused; `None`: they are taken.
    pub fn set_outbox_refusing(&self, reason: Option<&str>) {
        for one in ["max_size", "min_free", "failing"] {
            self.outbox_refusing.with_label_values(&[one]).set(i64::from(reason == Some(one)));
        }
    }

    /// Tells when the config in force was loaded.
    pub fn config_loaded(&self, at: UnixMs) {
        self.config_loaded_timestamp_seconds.set(i64::try_from(at.secs()).unwrap_or(i64::MAX));
    }

    /// Tells when the certificate expires that a listener serves.
    pub fn tls_certificate_expires(&self, listener: &str, at: UnixMs) {
        let seconds = i64::try_from(at.secs()).unwrap_or(i64::MAX);
        self.tls_certificate_expiry_timestamp_seconds.with_label_values(&[listener]).set(seconds);
    }

    /// The metrics in Prometheus' text exposition format, version 0.0.4.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = Vec::with_capacity(16 * 1024);
        match TextEncoder::new().encode(&self.registry.gather(), &mut out) {
            Ok(()) => String::from_utf8(out).unwrap_or_default(),
            Err(error) => {
                tracing::error!(%error, "the metrics could not be rendered");
                String::new()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_convention() {
        let metrics = Metrics::shared();
        metrics.attempts.with_label_values(&["billing", "success"]).inc();
        let text = metrics.text();
        assert!(text.contains("webhookd_attempts_total{endpoint=\"billing\",outcome=\"success\"} 1"), "{text}");
        for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
            let mut words = line.split(' ').skip(2);
            let (name, kind) = (words.next().unwrap(), words.next().unwrap());
            assert!(name.starts_with("webhookd_"), "{name}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        }
    }
}
