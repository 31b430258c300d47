//! An endpoint is down while events pile up, comes back, and drains.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use crate::harness::daemon::{Daemon, Settings};
use crate::harness::full_speed;
use crate::harness::shape::{Keys, Shape};
use crate::harness::times::Times;
use crate::outage::Outage;
use crate::sequence::Sequence;
use crate::{Failure, Options, table};

/// How long the pile may take to be accepted.
const PILE_MAX: Duration = Duration::from_secs(600);
/// How long the first delivery may take once the endpoint is back.
const FIRST_MAX: Duration = Duration::from_secs(60);
/// How long nothing may come while it drains.
const STALL_MAX: Duration = Duration::from_secs(60);
/// How long it may take to drain.
const DRAIN_MAX: Duration = Duration::from_secs(1200);
/// Waits of 10 s in the schedule of retries: it outlasts the longest time that the endpoint may be down.
const RETRIES: usize = 90;
/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(5);
/// The moments after the first delivery of which a row is told, in milliseconds.
const ROWS_MS: [u64; 12] = [10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000];

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    let rules = "breaker = { failures = 20, cooldown = \"1s\", max_cooldown = \"5s\" }";
    println!(
        "\nrecovery: {} events of {} bytes for an endpoint that is down, order = \"{}\", {rules}, retry = [\"5s\", \"10s\", …]; \
         once back it takes {} ms to answer",
        options.events,
        options.bytes,
        options.order,
        options.answer.as_millis()
    );
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let times = Times::new(options.events);
    let keys = Keys::new(options.keys.first().copied().unwrap_or(1), options.connections);
    let looked_at = if options.order == "strict" { Keys::new(1, options.connections) } else { keys };
    let sequence = Sequence::new(looked_at, Arc::clone(&times));
    let outage = Outage::new(options.answer, Arc::clone(&sequence));
    let _serving = outage.serve(listener);
    let retry = format!("retry = [\"5s\", {}\"24h\"]", "\"10s\", ".repeat(RETRIES));
    let lines = format!("order = \"{}\"\n{rules}\n{retry}", options.order);
    let daemon = Daemon::on_empty_folder(&options.dir, &Settings::default().endpoint("sink", &address, &lines)).await?;

    let shape = Shape::new(options.bytes).with_keys(keys);
    let begin = Instant::now();
    full_speed::post(&daemon.address, options.connections, PILE_MAX, &shape, &times).await?;
    let (took, accepted) = (begin.elapsed().as_secs_f64(), times.accepted());
    println!(
        "accepted {accepted} in {took:.1} s, {:.0} events/s, {} refused; daemon's memory {}",
        accepted as f64 / took,
        times.refused(),
        daemon.memory()
    );
    let processor_secs = daemon.processor_secs();
    tokio::time::sleep(options.down).await;
    let (asked, when) = outage.knocks(begin);
    println!(
        "requests while it was down for {:.1} s: {asked}; seconds after the first event was sent:{when}",
        begin.elapsed().as_secs_f64()
    );
    println!(
        "processor time in the last {} s of that, while nothing came: {:.2} s; daemon's memory {}",
        options.down.as_secs(),
        daemon.processor_secs() - processor_secs,
        daemon.memory()
    );

    outage.comes_back();
    let back = Instant::now();
    while times.received() == 0 {
        if back.elapsed() > FIRST_MAX {
            return Err(format!("nothing was delivered within {} s of coming back", FIRST_MAX.as_secs()).into());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let first = Instant::now();
    println!("back: the first delivery came after {:.2} s", (first - back).as_secs_f64());
    let all = drain(&times, &outage, first).await;
    println!(
        "{} {} of {accepted}: {:.1} s after it came back, {:.1} s after the first, {:.0} events/s",
        if all { "drained" } else { "NOT drained, only" },
        times.received(),
        back.elapsed().as_secs_f64(),
        first.elapsed().as_secs_f64(),
        times.received() as f64 / first.elapsed().as_secs_f64()
    );
    println!(
        "most requests under way at the endpoint {}, most connections {}; {} more than once; {} overtaken within their {}; \
         daemon's memory {}",
        outage.in_flight_max(),
        outage.connections_max(),
        times.repeats(),
        sequence.overtaken(),
        if options.order == "strict" { "producer" } else { "key" },
        daemon.memory()
    );
    Ok(())
}

/// Looks on until all is received, or nothing comes any more; returns whether all came.
async fn drain(times: &Times, outage: &Outage, first: Instant) -> bool {
    table::head(&["ms after the first delivery", "received", "most under way so far", "most connections so far"]);
    let mut rows = ROWS_MS.iter().map(|ms| Duration::from_millis(*ms)).peekable();
    let mut moved = (Instant::now(), 0);
    loop {
        let received = times.received();
        let all = received >= times.accepted();
        if received != moved.1 {
            moved = (Instant::now(), received);
        }
        let over = all || moved.0.elapsed() > STALL_MAX || first.elapsed() > DRAIN_MAX;
        if over || rows.next_if(|at| first.elapsed() >= *at).is_some() {
            let cells = [received, outage.in_flight_max(), outage.connections_max()].map(|n| n.to_string());
            table::row(&first.elapsed().as_millis().to_string(), &cells);
        }
        if over {
            return all;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
