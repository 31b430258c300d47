//! How many events a second go in and out, and how long it takes: `cargo bench --bench throughput`.
//!
//! The real daemon runs as a process of its own with `durability = "fsync"`; producers and sink are in this process, on
//! the same machine and the same processors. Two runs:
//!
//! - **full speed**: so many keep-alive connections, each posting its next event once the last one is acknowledged;
//! - **fixed rate**: events at set moments, 1,000 a second, whether or not the daemon keeps up. Latencies count from the
//!   moment an event was due, so a stall is not hidden by the producer waiting with it.
//!
//! Environment: `BENCH_SECONDS` (10), `BENCH_CONNECTIONS` (64), `BENCH_RATE` (1000), `BENCH_BYTES` (1024), `BENCH_DIR`
//! (where the data folder goes; by default below `target/`, so on the disk that holds the sources).
#![allow(clippy::unwrap_used, reason = "a benchmark may unwrap")]
#![allow(clippy::disallowed_methods, reason = "a benchmark lives on the machine's clock and owns its runtime")]

use std::convert::Infallible;
use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

mod machine;

type Failure = Box<dyn Error + Send + Sync>;

/// Most events of one run: the room for their times is set aside beforehand.
const EVENTS_MAX: usize = 4_000_000;
/// How long the backlog may take to drain after a run.
const DRAIN_MAX: Duration = Duration::from_secs(60);

struct Options {
    time: Duration,
    connections: usize,
    rate: usize,
    bytes: usize,
    dir: PathBuf,
}

impl Options {
    fn read() -> Self {
        let number = |name: &str, default: usize, most: usize| {
            let value = std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
            value.clamp(1, most)
        };
        let dir = std::env::var_os("BENCH_DIR").map_or_else(|| env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from);
        Self {
            time: Duration::from_secs(number("BENCH_SECONDS", 10, 300) as u64),
            connections: number("BENCH_CONNECTIONS", 64, 4096),
            rate: number("BENCH_RATE", 1000, 1_000_000),
            bytes: number("BENCH_BYTES", 1024, 512 * 1024),
            dir,
        }
    }
}

fn main() -> Result<(), Failure> {
    let options = Options::read();
    println!("{}", machine::machine(&options.dir));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let run = Run::start(&options).await?;
        run.full_speed(&options).await?;
        drop(run);
        let run = Run::start(&options).await?;
        run.fixed_rate(&options).await?;
        Ok(())
    })
}

/// When each event was acknowledged and received, in microseconds since the origin; 0: not yet.
struct Times {
    origin: Instant,
    acknowledged: Vec<AtomicU32>,
    received: Vec<AtomicU32>,
    accepted_count: AtomicUsize,
    received_count: AtomicUsize,
    repeats: AtomicUsize,
    refused: AtomicUsize,
}

impl Times {
    fn new() -> Arc<Self> {
        let column = || std::iter::repeat_with(|| AtomicU32::new(0)).take(EVENTS_MAX).collect();
        Arc::new(Self {
            origin: Instant::now(),
            acknowledged: column(),
            received: column(),
            accepted_count: AtomicUsize::new(0),
            received_count: AtomicUsize::new(0),
            repeats: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
        })
    }

    /// Microseconds since the origin, at least 1.
    fn now(&self) -> u32 {
        u32::try_from(self.origin.elapsed().as_micros()).expect("a benchmark takes less than an hour").max(1)
    }
}

/// A daemon, a sink, and the times of one run.
struct Run {
    daemon: Child,
    address: String,
    times: Arc<Times>,
    folder: PathBuf,
    _sink: JoinSet<()>,
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Run {
    async fn start(options: &Options) -> Result<Self, Failure> {
        let times = Times::new();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let sink_address = listener.local_addr()?;
        let mut sink = JoinSet::new();
        sink.spawn(serve_sink(listener, Arc::clone(&times)));

        let folder = options.dir.join(format!("bench-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.join("data"))?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = format!("127.0.0.1:{port}");
        let config = format!(
            r#"
[api]
listen = "{address}"
[storage]
dir = "{}"
durability = "fsync"
[delivery]
allow_networks = ["127.0.0.0/8"]
[endpoint.sink]
url = "http://{sink_address}/"
secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"#,
            folder.join("data").display()
        );
        std::fs::write(folder.join("webhookd.toml"), config)?;
        let log = std::fs::File::create(folder.join("log"))?;
        let daemon = Command::new(env!("CARGO_BIN_EXE_webhookd"))
            .args(["run", "--config"])
            .arg(folder.join("webhookd.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let mut run = Self { daemon, address, times, folder, _sink: sink };
        let deadline = Instant::now() + Duration::from_secs(20);
        while !run.ready().await {
            if run.daemon.try_wait()?.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(run.folder.join("log")).unwrap_or_default();
                return Err(format!("the daemon did not become ready:\n{log}").into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(run)
    }

    async fn ready(&self) -> bool {
        let Ok(mut producer) = Producer::connect(&self.address).await else { return false };
        let request = Request::get("/readyz").header("host", "bench").body(Full::new(Bytes::new()));
        producer.exchange(request.expect("a well-formed request")).await.is_ok_and(|status| status == 200)
    }

    /// Every connection posts its next event once the last one is acknowledged.
    async fn full_speed(&self, options: &Options) -> Result<(), Failure> {
        let payload = payload(options.bytes);
        let next = Arc::new(AtomicUsize::new(0));
        let begin = Instant::now();
        let end = begin + options.time;
        let mut producers = JoinSet::new();
        for _ in 0..options.connections {
            let (times, next, payload) = (Arc::clone(&self.times), Arc::clone(&next), Arc::clone(&payload));
            let mut producer = Producer::connect(&self.address).await?;
            producers.spawn(async move {
                let mut latencies = Vec::new();
                while Instant::now() < end {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= EVENTS_MAX {
                        break;
                    }
                    let sent = times.now();
                    if producer.post(n, &payload, &times).await? {
                        latencies.push(times.acknowledged[n].load(Ordering::Relaxed).saturating_sub(sent));
                    }
                }
                Ok::<_, Failure>(latencies)
            });
        }
        let latencies = join(producers).await?;
        let took = begin.elapsed();
        let received = self.times.received_count.load(Ordering::Relaxed);
        let accepted = self.times.accepted_count.load(Ordering::Relaxed);
        let all = self.drain(begin).await;
        println!(
            "full speed: {} connections, {} bytes, {:.1} s",
            options.connections,
            options.bytes,
            took.as_secs_f64()
        );
        println!("  accepted            {:>9.0} events/s   ({accepted} in all)", accepted as f64 / took.as_secs_f64());
        println!("  delivered meanwhile {:>9.0} events/s   ({received} in all)", received as f64 / took.as_secs_f64());
        match all {
            Some(all) => {
                let rate = accepted as f64 / all.as_secs_f64();
                println!(
                    "  accepted + delivered{rate:>9.0} events/s   (the last one received after {:.1} s)",
                    all.as_secs_f64()
                );
            }
            None => println!("  the backlog did not drain within {} s", DRAIN_MAX.as_secs()),
        }
        self.report(latencies, "202 after sending");
        Ok(())
    }

    /// Events at set moments.
    async fn fixed_rate(&self, options: &Options) -> Result<(), Failure> {
        let payload = payload(options.bytes);
        let count = usize::try_from(options.time.as_secs()).unwrap_or(1).saturating_mul(options.rate).min(EVENTS_MAX);
        let begin = Instant::now() + Duration::from_millis(50);
        let rate = options.rate as f64;
        let due = move |n: usize| begin + Duration::from_secs_f64(n as f64 / rate);
        let mut producers = JoinSet::new();
        let mut queues = Vec::new();
        for _ in 0..options.connections {
            let (queue, mut turns) = mpsc::channel::<usize>(1024);
            queues.push(queue);
            let (times, payload) = (Arc::clone(&self.times), Arc::clone(&payload));
            let mut producer = Producer::connect(&self.address).await?;
            producers.spawn(async move {
                let mut latencies = Vec::new();
                while let Some(n) = turns.recv().await {
                    if producer.post(n, &payload, &times).await? {
                        let due = u32::try_from((due(n) - times.origin).as_micros()).unwrap_or(u32::MAX);
                        latencies.push(times.acknowledged[n].load(Ordering::Relaxed).saturating_sub(due));
                    }
                }
                Ok::<_, Failure>(latencies)
            });
        }
        // A thread of its own keeps the time: the runtime's timer is a millisecond coarse, and waiting in a busy loop would
        // take the processor that is to be measured.
        let pacer = std::thread::spawn(move || {
            for n in 0..count {
                std::thread::sleep(due(n).saturating_duration_since(Instant::now()));
                if queues[n % queues.len()].blocking_send(n).is_err() {
                    return;
                }
            }
        });
        let latencies = join(producers).await?;
        pacer.join().map_err(|_| "the pacer panicked")?;
        let all = self.drain(begin).await;
        println!("fixed rate: {} events/s for {} s, {} bytes", options.rate, options.time.as_secs(), options.bytes);
        if all.is_none() {
            println!("  the backlog did not drain within {} s", DRAIN_MAX.as_secs());
        }
        self.report(latencies, "202 after due");
        Ok(())
    }

    /// Waits until everything accepted was received; `None` if that takes too long.
    async fn drain(&self, begin: Instant) -> Option<Duration> {
        let deadline = Instant::now() + DRAIN_MAX;
        while self.times.received_count.load(Ordering::Relaxed) < self.times.accepted_count.load(Ordering::Relaxed) {
            if Instant::now() > deadline {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Some(begin.elapsed())
    }

    fn report(&self, latencies: Vec<u32>, name: &str) {
        println!("  {name:<20}{}", quantiles(latencies));
        let times = &self.times;
        let pairs = times.acknowledged.iter().zip(&times.received);
        let pairs = pairs.map(|(a, r)| (a.load(Ordering::Relaxed), r.load(Ordering::Relaxed)));
        let waits = pairs.filter(|(a, r)| *a > 0 && *r > 0).map(|(a, r)| r.saturating_sub(a));
        println!("  {:<20}{}", "received after 202", quantiles(waits.collect()));
        let refused = times.refused.load(Ordering::Relaxed);
        let repeats = times.repeats.load(Ordering::Relaxed);
        println!(
            "  refused {refused}, received more than once {repeats}, daemon's memory {}",
            machine::Memory::of(self.daemon.id())
        );
    }
}

async fn join(mut producers: JoinSet<Result<Vec<u32>, Failure>>) -> Result<Vec<u32>, Failure> {
    let mut all = Vec::new();
    while let Some(latencies) = producers.join_next().await {
        all.extend(latencies??);
    }
    Ok(all)
}

/// `data` that makes an event's body about so long.
fn payload(bytes: usize) -> Arc<str> {
    let filler = bytes.saturating_sub(r#"{"id":"b-0000000","type":"bench.run","data":{"text":""}}"#.len());
    "x".repeat(filler).into()
}

/// One keep-alive connection.
struct Producer {
    sender: SendRequest<Full<Bytes>>,
    address: String,
    body: String,
    _connection: JoinSet<()>,
}

impl Producer {
    async fn connect(address: &str) -> Result<Self, Failure> {
        let (sender, connection) = Self::dial(address).await?;
        Ok(Self { sender, address: address.to_owned(), body: String::new(), _connection: connection })
    }

    async fn dial(address: &str) -> Result<(SendRequest<Full<Bytes>>, JoinSet<()>), Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let _ = connection.await;
        });
        Ok((sender, tasks))
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<u16, Failure> {
        if self.sender.ready().await.is_err() {
            (self.sender, self._connection) = Self::dial(&self.address).await?;
        }
        let answer = self.sender.send_request(request).await?;
        let status = answer.status().as_u16();
        answer.into_body().collect().await?;
        Ok(status)
    }

    /// Posts event `n`; true if it was accepted.
    async fn post(&mut self, n: usize, payload: &str, times: &Times) -> Result<bool, Failure> {
        self.body.clear();
        write!(self.body, r#"{{"id":"b-{n:07}","type":"bench.run","data":{{"text":"{payload}"}}}}"#)?;
        let request = Request::post("/v1/events").header("host", "bench").header("content-type", "application/json");
        let status = self.exchange(request.body(Full::new(Bytes::copy_from_slice(self.body.as_bytes())))?).await?;
        match status {
            202 => {
                times.acknowledged[n].store(times.now(), Ordering::Relaxed);
                times.accepted_count.fetch_add(1, Ordering::Relaxed);
                Ok(true)
            }
            503 => {
                times.refused.fetch_add(1, Ordering::Relaxed);
                Ok(false)
            }
            other => Err(format!("event {n} was answered {other}").into()),
        }
    }
}

async fn serve_sink(listener: TcpListener, times: Arc<Times>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let times = Arc::clone(&times);
        let service = service_fn(move |request| take(Arc::clone(&times), request));
        connections.spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        while connections.try_join_next().is_some() {}
    }
}

async fn take(times: Arc<Times>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let id = request.headers().get("webhook-id").and_then(|value| value.to_str().ok());
    let n = id.and_then(|id| id.strip_prefix("b-")).and_then(|n| n.parse::<usize>().ok());
    let _ = request.into_body().collect().await;
    if let Some(slot) = n.and_then(|n| times.received.get(n)) {
        if slot.compare_exchange(0, times.now(), Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            times.received_count.fetch_add(1, Ordering::Relaxed);
        } else {
            times.repeats.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(Response::new(Full::new(Bytes::new())))
}

/// "p50 … p99 … max", from microseconds.
fn quantiles(mut micros: Vec<u32>) -> String {
    if micros.is_empty() {
        return "no events".to_owned();
    }
    micros.sort_unstable();
    let at = |share: f64| f64::from(micros[((micros.len() - 1) as f64 * share) as usize]) / 1000.0;
    format!("p50 {:.2} ms   p99 {:.2} ms   p99.9 {:.2} ms   max {:.2} ms", at(0.5), at(0.99), at(0.999), at(1.0))
}
