//! The outbox alone against a bare log that appends and calls `fdatasync`, in one run.
//!
//! `cargo bench --bench outbox`: for 1, 64 and 1,024 producers, durable 1 KiB events a second through the outbox (ids given, so
//! that each is looked up) and through the log, both with group commit, and the ratio of the two.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use webhookd::clock::SystemClock;
use webhookd::config::Durability;
use webhookd::limits::GENERATION_BYTES_MAX;
use webhookd::model::event::{Content, Event, Fingerprint, NewEvent};
use webhookd::model::roster::Roster;
use webhookd::model::text::{EndpointName, EventId, EventType};
use webhookd::observe::Metrics;
use webhookd::outbox::{Opened, Outbox, OutboxOptions, RealDisk};

const RUN: Duration = Duration::from_secs(4);
const BODY_BYTES: usize = 1024;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let dir = std::env::var_os("WEBHOOKD_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    println!("{:>9}  {:>12}  {:>12}  {:>6}", "producers", "outbox/s", "log/s", "ratio");
    for producers in [1, 64, 1024] {
        let outbox = runtime.block_on(outbox(&dir.join(format!("webhookd-bench-{}", std::process::id())), producers));
        let log = runtime.block_on(log(&dir.join(format!("webhookd-bench-{}.log", std::process::id())), producers));
        println!("{producers:>9}  {outbox:>12.0}  {log:>12.0}  {:>6.2}", outbox / log);
    }
}

/// Events a second that `producers` tasks get acknowledged, each with one event under way.
async fn rate<F>(producers: usize, one: impl Fn(usize, usize) -> F + Clone + Send + 'static) -> f64
where
    F: Future<Output = ()> + Send + 'static,
{
    let started = Instant::now();
    let tasks: Vec<_> = (0..producers)
        .map(|producer| {
            let one = one.clone();
            let mut set = tokio::task::JoinSet::new();
            set.spawn(async move {
                let mut count = 0;
                while started.elapsed() < RUN {
                    one(producer, count).await;
                    count += 1;
                }
                count
            });
            set
        })
        .collect();
    let mut total = 0;
    for mut set in tasks {
        while let Some(count) = set.join_next().await {
            total += count.expect("a producer ends");
        }
    }
    total as f64 / started.elapsed().as_secs_f64()
}

async fn outbox(dir: &std::path::Path, producers: usize) -> f64 {
    let _ = std::fs::remove_dir_all(dir);
    let options = OutboxOptions {
        dir: dir.to_path_buf(),
        retention_ms: 3_600_000,
        size_bytes_max: u64::MAX,
        durability: Durability::Fsync,
        generation_bytes: GENERATION_BYTES_MAX,
        free_bytes_min: None,
        disk: RealDisk::shared(),
    };
    let (clock, roster) = (SystemClock::shared(), Roster::shared());
    let target = roster.number(&EndpointName::parse("bench").expect("a valid name"));
    let Opened { outbox, mut news, .. } =
        Outbox::open(options, Arc::clone(&clock), roster, Metrics::shared(), |_| {}).expect("the outbox opens");
    let mut drain = tokio::task::JoinSet::new();
    drain.spawn(async move { while news.recv().await.is_some() {} });
    let body = Bytes::from(vec![b'x'; BODY_BYTES]);
    let store = outbox.clone();
    let result = rate(producers, move |producer, count| {
        let (outbox, body, at) = (store.clone(), body.clone(), clock.wall());
        async move {
            let event = Event {
                id: EventId::parse(&format!("bench_{producer}_{count}")).expect("a valid id"),
                event_type: EventType::parse("bench.event").expect("a valid type"),
                key: None,
                at,
                timestamp: None,
                deliver_at: None,
                content: Content { content_type: "application/json".into(), json: true, body },
                traceparent: None,
                cloud_attributes: None,
                headers: Vec::new(),
            };
            let new = NewEvent {
                event: Arc::new(event),
                id_given: true,
                idempotency_key: None,
                fingerprint: Fingerprint([0; 16]),
                targets: vec![target],
            };
            outbox.accept(vec![new]).await.expect("the outbox accepts");
        }
    })
    .await;
    outbox.close().await;
    drop(outbox);
    let _ = std::fs::remove_dir_all(dir);
    result
}

async fn log(path: &std::path::Path, producers: usize) -> f64 {
    let (queue, mut waiting) = mpsc::channel::<(Bytes, oneshot::Sender<()>)>(16_384);
    let mut file = std::fs::File::create(path).expect("the log opens");
    let writer = std::thread::spawn(move || {
        let mut buffer = Vec::new();
        while let Some(first) = waiting.blocking_recv() {
            buffer.clear();
            let mut replies = Vec::new();
            let mut next = Some(first);
            while let Some((body, reply)) = next {
                buffer.extend_from_slice(&body);
                replies.push(reply);
                next = if replies.len() < 4096 { waiting.try_recv().ok() } else { None };
            }
            file.write_all(&buffer).and_then(|()| file.sync_data()).expect("the log is written");
            for reply in replies {
                let _ = reply.send(());
            }
        }
    });
    let body = Bytes::from(vec![b'x'; BODY_BYTES]);
    let result = rate(producers, move |_, _| {
        let (queue, body) = (queue.clone(), body.clone());
        async move {
            let (reply, answer) = oneshot::channel();
            queue.send((body, reply)).await.expect("the log takes it");
            answer.await.expect("the log answers");
        }
    })
    .await;
    writer.join().expect("the log ends");
    let _ = std::fs::remove_file(path);
    result
}
