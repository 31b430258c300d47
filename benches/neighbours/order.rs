//! What each kind of order costs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use crate::harness::daemon::{Daemon, Settings};
use crate::harness::shape::{Keys, Shape};
use crate::harness::times::Times;
use crate::harness::{full_speed, sink};
use crate::sequence::Sequence;
use crate::{EVENTS_MAX, Failure, Options, table};

/// How long the backlog may take to drain after a run.
const DRAIN_MAX: Duration = Duration::from_secs(300);
/// What each run measures.
const COLUMNS: [&str; 10] = [
    "accepted/s",
    "delivered meanwhile/s",
    "accepted, signed, delivered/s",
    "202, p99, ms",
    "processor time an event, µs",
    "most memory, MiB",
    "events",
    "more than once",
    "refused",
    "overtaken within their key",
];

type Figures = [f64; COLUMNS.len()];

/// The throughput among the columns.
const THROUGHPUT: usize = 2;
const OVERTAKEN: usize = 9;

/// An order that is measured.
struct Way {
    order: &'static str,
    /// The keys that the events have.
    keys: Keys,
    /// The keys within which the sink looks for order.
    looked_at: Keys,
}

impl Way {
    fn name(&self) -> String {
        match self.order {
            "key" => format!("key, {} keys", self.keys.count()),
            order => order.to_owned(),
        }
    }
}

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    println!(
        "\norder: {} connections at full speed for {} s, {} bytes, one endpoint with max_in_flight as by default",
        options.connections,
        options.order_time.as_secs(),
        options.bytes
    );
    let keys = |count: usize| Keys::new(count, options.connections);
    let few = keys(options.keys.first().copied().unwrap_or(1));
    let mut ways = vec![Way { order: "none", keys: few, looked_at: few }];
    ways.extend(options.keys.iter().map(|count| Way { order: "key", keys: keys(*count), looked_at: keys(*count) }));
    // All that a producer posts is accepted in that order, whatever its key.
    ways.push(Way { order: "strict", keys: few, looked_at: keys(1) });

    let mut head = vec!["order"];
    head.extend(COLUMNS);
    head.push("of \"none\"");
    table::head(&head);
    let mut runs: Vec<Vec<Figures>> = ways.iter().map(|_| Vec::new()).collect();
    for round in 0..options.rounds {
        for (way, runs_of_way) in ways.iter().zip(&mut runs) {
            runs_of_way.push(one(options, way).await?);
            row(&way.name(), &runs_of_way[round], "");
        }
    }
    let medians: Vec<Figures> = runs.iter().map(|runs| table::medians(runs)).collect();
    for (way, figures) in ways.iter().zip(&medians) {
        let ratio = figures[THROUGHPUT] / medians[0][THROUGHPUT];
        row(&format!("{}, median", way.name()), figures, &format!("{ratio:.2}"));
    }
    let ordered = ways.iter().zip(&runs).filter(|(way, _)| way.order != "none");
    let overtaken: f64 = ordered.flat_map(|(_, runs)| runs).map(|figures| figures[OVERTAKEN]).sum();
    println!("out of order where order was asked for: {overtaken}");
    Ok(())
}

fn row(name: &str, figures: &Figures, ratio: &str) {
    let cell = |(column, figure): (usize, &f64)| match column {
        3 | 4 => format!("{figure:.1}"),
        _ => format!("{figure:.0}"),
    };
    let mut cells: Vec<_> = figures.iter().enumerate().map(cell).collect();
    cells.push(ratio.to_owned());
    table::row(name, &cells);
}

async fn one(options: &Options, way: &Way) -> Result<Figures, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let times = Times::new(EVENTS_MAX);
    let sequence = Sequence::new(way.looked_at, Arc::clone(&times));
    let _sink = sink::serve(listener, {
        let sequence = Arc::clone(&sequence);
        move |n| {
            sequence.receive(n);
            std::future::ready(())
        }
    });
    let settings = Settings::default().endpoint("sink", &address, &format!("order = \"{}\"", way.order));
    let daemon = Daemon::on_empty_folder(&options.dir, &settings).await?;
    let shape = Shape::new(options.bytes).with_keys(way.keys);
    let processor_secs = daemon.processor_secs();
    let begin = Instant::now();
    let latencies = full_speed::post(&daemon.address, options.connections, options.order_time, &shape, &times).await?;
    let took = begin.elapsed();
    let (accepted, received) = (times.accepted() as f64, times.received() as f64);
    if !times.drained(DRAIN_MAX).await {
        println!(
            "order {}: {} of {accepted} were not received within {} s",
            way.name(),
            accepted - times.received() as f64,
            DRAIN_MAX.as_secs()
        );
    }
    let all = begin.elapsed();
    Ok([
        accepted / took.as_secs_f64(),
        received / took.as_secs_f64(),
        times.received() as f64 / all.as_secs_f64(),
        latencies.at(0.99),
        (daemon.processor_secs() - processor_secs) * 1e6 / accepted,
        (daemon.memory().peak_kib / 1024) as f64,
        accepted,
        times.repeats() as f64,
        times.refused() as f64,
        sequence.overtaken() as f64,
    ])
}
