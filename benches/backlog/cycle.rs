//! Events go through while a fixed number is always live.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::harness::Failure;
use crate::harness::daemon::Daemon;
use crate::harness::pile::Pile;
use crate::harness::shape::Shape;
use crate::receiver::{self, Received};
use crate::watch::{self, Watch};
use crate::{Options, Setting};

/// So that generations go while the scene runs.
const RETENTION_SECS: u64 = 10;
/// Rows of the table.
const ROWS: usize = 10;

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    let (events, live) = (options.cycle, options.live.min(options.cycle));
    println!(
        "\ncycle: {events} events of {} bytes, {live} of them always live, retention {RETENTION_SECS} s",
        options.bytes
    );
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let sink = listener.local_addr()?.to_string();
    let received = Received::new(events, true);
    let _sink = receiver::serve(listener, Arc::clone(&received));
    let setting = Setting { sink, retry_secs: 5, retention_secs: RETENTION_SECS, jitter: 0.0 };
    let daemon = Daemon::on_empty_folder(&options.dir, &setting.settings()).await?;
    let load = Pile::new(events, options.batch, Shape::new(options.bytes));
    let mut watch = Watch::new(&daemon, events.div_ceil(ROWS));

    let posting = async {
        let (turns, fresh) = (Arc::clone(&received), std::sync::atomic::AtomicUsize::new(0));
        let fresh = Arc::new(fresh);
        // The first `live` events give no turn; each one after them gives one.
        let accepted = move |count: usize| {
            let before = fresh.fetch_add(count, std::sync::atomic::Ordering::Relaxed);
            turns.allow((before + count).saturating_sub(live) - before.saturating_sub(live));
        };
        let through = Arc::clone(&received);
        let hold = move |accepted: usize| accepted.saturating_sub(through.count()) > live + live / 10;
        let posted = load.post(&daemon.address, options.connections, accepted, hold).await;
        received.release();
        posted
    };
    let (posted, (took, all)) = tokio::join!(posting, watch.until(events, || received.count()));
    posted?;
    let usage = watch::settled(&daemon, Duration::from_secs(RETENTION_SECS + 15)).await;
    println!(
        "{:.0} events/s over {:.0} s; most memory {} MiB, most disk {} MiB; after retention {} MiB on disk in {} generations, \
         memory {} MiB",
        received.count() as f64 / took.as_secs_f64(),
        took.as_secs_f64(),
        watch.resident_mib_max(),
        watch.disk_mib_max(),
        usage.bytes >> 20,
        usage.generations,
        daemon.memory().resident_kib / 1024,
    );
    println!(
        "received {} of {} accepted{}, {} more than once; {} requests refused with 503",
        received.count(),
        load.accepted(),
        if all { "" } else { " (and no more came)" },
        received.repeats(),
        load.refused()
    );
    Ok(())
}
