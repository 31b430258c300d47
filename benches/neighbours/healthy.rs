//! One endpoint that is well, alone and beside neighbours that are not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use crate::harness::daemon::{Daemon, Settings};
use crate::harness::fixed_rate::{self, Pace};
use crate::harness::shape::Shape;
use crate::harness::sink;
use crate::harness::times::Times;
use crate::misdeed::{Misdeed, Neighbours};
use crate::{Failure, Options, table};

/// How long what was accepted may take to be received after a run.
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// What each run measures; times in milliseconds.
const COLUMNS: [&str; 10] = [
    "received after due: p50",
    "p99",
    "p99.9",
    "longest",
    "received after its 202: p50",
    "p99",
    "202 after due: p50",
    "p99",
    "daemon's processor time, s",
    "its most memory, MiB",
];
/// The columns of which the ratio is told.
const RATIOS: [usize; 4] = [0, 1, 2, 5];

type Figures = [f64; COLUMNS.len()];

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    println!(
        "\nhealthy: {} events/s of {} bytes for {} s to an endpoint that is well; {} neighbours get {} events/s each, {}",
        options.rate,
        options.bytes,
        options.healthy_time.as_secs(),
        options.neighbours,
        options.neighbour_rate,
        if options.breaker { "all as by default" } else { "all as by default but breaker = \"off\"" },
    );
    let mut head = vec!["run"];
    head.extend(COLUMNS);
    table::head(&head);
    let (mut alone, mut beside, mut told) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        let figures = one(options, None).await?;
        row(&format!("alone {round}"), &figures);
        alone.push(figures);
        let neighbours = Neighbours::start(options.neighbours).await?;
        let mut requests = Requests::default();
        let figures = one(options, Some((&neighbours, &mut requests))).await?;
        row(&format!("beside them {round}"), &figures);
        beside.push(figures);
        told.push((neighbours, requests));
    }
    let (alone, beside) = (table::medians(&alone), table::medians(&beside));
    row("alone, median", &alone);
    row("beside them, median", &beside);
    let ratio = |column: usize| {
        if RATIOS.contains(&column) { format!("{:.2}", beside[column] / alone[column]) } else { String::new() }
    };
    table::row("ratio", &std::array::from_fn::<_, { COLUMNS.len() }, _>(ratio));
    for (round, (neighbours, requests)) in told.iter().enumerate() {
        requests.print(round + 1, neighbours, options);
    }
    Ok(())
}

fn row(name: &str, figures: &Figures) {
    let cell = |column: usize| match column {
        0..8 => format!("{:.2}", figures[column]),
        8 => format!("{:.1}", figures[column]),
        _ => format!("{:.0}", figures[column]),
    };
    table::row(name, &std::array::from_fn::<_, { COLUMNS.len() }, _>(cell));
}

async fn one(options: &Options, beside: Option<(&Neighbours, &mut Requests)>) -> Result<Figures, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut settings =
        Settings::default().endpoint("healthy", &listener.local_addr()?.to_string(), "events = [\"bench.run\"]");
    let rules = if options.breaker { "" } else { "breaker = \"off\"\n" };
    for (name, address) in beside.iter().flat_map(|(neighbours, _)| &neighbours.endpoints) {
        settings = settings.endpoint(name, address, &format!("events = [\"bench.neighbour\"]\n{rules}"));
    }
    let daemon = Daemon::on_empty_folder(&options.dir, &settings).await?;
    let shape = Shape::new(options.bytes);
    let others = shape.clone().named("n", "bench.neighbour");
    let begin = Instant::now() + Duration::from_millis(50);
    let pace = Pace::new(begin, options.rate, options.healthy_time);
    let neighbour_pace = Pace::new(begin, options.neighbour_rate, options.healthy_time);
    let (times, neighbour_times) = (Times::new(pace.count()), Times::new(neighbour_pace.count()));
    let _sink = sink::serve(listener, {
        let times = Arc::clone(&times);
        move |n| {
            times.receive(n);
            std::future::ready(())
        }
    });

    let processor_secs = daemon.processor_secs();
    let posting = fixed_rate::post(&daemon.address, options.connections, pace, &shape, &times);
    let acknowledged = if beside.is_some() {
        let connections = options.connections.min(8);
        let others = fixed_rate::post(&daemon.address, connections, neighbour_pace, &others, &neighbour_times);
        tokio::try_join!(posting, others)?.0
    } else {
        posting.await?
    };
    times.drained(DRAIN_MAX).await;
    let processor_secs = daemon.processor_secs() - processor_secs;
    let memory = daemon.memory();
    if let Some((neighbours, requests)) = beside {
        *requests = Requests::of(&daemon.metrics().await?, neighbours);
    }
    let (posted, accepted, received) = (pace.count(), times.accepted(), times.received());
    if received < posted || times.repeats() > 0 {
        let repeats = times.repeats();
        println!("of {posted} events {accepted} were accepted, {received} received, {repeats} more than once");
    }
    let (delays, waits) = (times.delays(|n| pace.due(n)), times.waits());
    Ok([
        delays.at(0.5),
        delays.at(0.99),
        delays.at(0.999),
        delays.at(1.0),
        waits.at(0.5),
        waits.at(0.99),
        acknowledged.at(0.5),
        acknowledged.at(0.99),
        processor_secs,
        (memory.peak_kib / 1024) as f64,
    ])
}

/// What was asked of the neighbours in one run.
#[derive(Default)]
struct Requests {
    received: BTreeMap<&'static str, usize>,
    /// Attempts that have ended, by misdeed and outcome, as the daemon counts them.
    ended: BTreeMap<&'static str, BTreeMap<String, usize>>,
}

impl Requests {
    fn of(metrics: &str, neighbours: &Neighbours) -> Self {
        let mut requests = Self::default();
        for misdeed in Misdeed::ALL {
            requests.received.insert(misdeed.word(), neighbours.requests(misdeed));
        }
        for line in metrics.lines() {
            let Some(rest) = line.strip_prefix("webhookd_attempts_total{endpoint=\"") else { continue };
            let misdeed = Misdeed::ALL.into_iter().find(|misdeed| rest.starts_with(misdeed.word()));
            let outcome = rest.split_once("outcome=\"").and_then(|(_, rest)| rest.split_once("\"} "));
            if let (Some(misdeed), Some((outcome, count))) = (misdeed, outcome) {
                let outcomes = requests.ended.entry(misdeed.word()).or_default();
                *outcomes.entry(outcome.to_owned()).or_default() += count.trim().parse::<usize>().unwrap_or(0);
            }
        }
        requests
    }

    fn print(&self, round: usize, neighbours: &Neighbours, options: &Options) {
        println!("\nrequests to the neighbours, beside them {round}");
        table::head(&["neighbours", "how many", "events for them", "requests they saw", "attempts that have ended"]);
        let events = options.neighbour_rate * usize::try_from(options.healthy_time.as_secs()).unwrap_or(0);
        for misdeed in Misdeed::ALL {
            let (word, count) = (misdeed.word(), neighbours.count(misdeed));
            let saw = match misdeed {
                Misdeed::Refuse => "none can".to_owned(),
                _ => self.received.get(word).map_or_else(String::new, usize::to_string),
            };
            let outcomes = self.ended.get(word).into_iter().flatten();
            let outcomes: Vec<_> = outcomes.map(|(outcome, count)| format!("{count} {outcome}")).collect();
            table::row(word, &[count.to_string(), (count * events).to_string(), saw, outcomes.join(", ")]);
        }
    }
}
