//! `webhookd demo`: a real daemon, a receiver that plays three services, and a short story told from what happens.
//!
//! Nothing leaves this machine: daemon and receiver listen on loopback, and the data folder is a temporary one that is
//! removed at the end.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::client::{Address, Api};
use super::failure::{Failure, Outcome};
use super::judge::{Judge, Told};
use super::listen::verify_with;
use super::receiver::{Hit, Manner, Receiver, Service, Verify};
use super::{Stage, block_on_all_threads};
use crate::config::Config;
use crate::daemon::{self, Daemon, DaemonOptions};
use crate::signature::secret::Secret;
use crate::signature::standard::KeyPair;
use crate::signature::{Options, Scheme, SchemeKind};

mod story;

use story::Story;

/// The port of the API, if nothing else has it: what the other commands try when they are told nothing.
const API_PORT: u16 = 8400;
/// Requests that wait for being told.
const HITS_MAX: usize = 256;
/// How long the daemon may take to end, in milliseconds.
const STOP_MS_MAX: u64 = 3_000;

/// Watch a delivery, a retry and a dead letter, on this machine alone
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct DemoArgs {
    /// End after the story; exit code 1 if it did not go as it should
    #[arg(long)]
    once: bool,
}

const AFTER_HELP: &str = "\
Examples:
  webhookd demo
  webhookd demo --once

It runs a daemon, a receiver and some traffic in a temporary folder, on loopback addresses, and tells what happens. Without \
--once it stays up until Ctrl-C, for trying the other commands on it.";

/// The keys that the daemon signs with and the receiver verifies with.
struct Keys {
    shop: Secret,
    billing: KeyPair,
    legacy: Secret,
}

pub(super) fn run(args: &DemoArgs, stage: &mut Stage) -> Outcome {
    daemon::make_files_private();
    // Its secrets are made up, and it runs as well where the system refuses.
    let _ = daemon::forbid_core_dumps();
    let folder = tempfile::Builder::new().prefix("webhookd-demo-").tempdir();
    let folder = folder.context("no temporary folder could be made")?;
    daemon::raise_open_files();
    let outcome = block_on_all_threads(perform(args, folder.path(), stage));
    // Only now does nothing write there any more.
    let removed = folder.close().context("the temporary folder could not be removed");
    outcome.and(removed.map_err(Failure::from))
}

async fn perform(args: &DemoArgs, folder: &Path, stage: &mut Stage) -> Outcome {
    let mut interrupt = signal(SignalKind::interrupt()).context("signals could not be watched")?;
    let mut terminate = signal(SignalKind::terminate()).context("signals could not be watched")?;
    let keys = Keys {
        shop: Secret::generate().map_err(Failure::failed)?,
        billing: KeyPair::generate().map_err(Failure::failed)?,
        legacy: Secret::generate().map_err(Failure::failed)?,
    };
    let receiver = Receiver::bind((Ipv4Addr::LOCALHOST, 0).into()).await;
    let receiver = receiver.context("the receiver could not listen on 127.0.0.1")?;
    let receiver_address = receiver.address();
    let mended = Arc::new(AtomicBool::new(false));
    let (service, hits) = receiving(&keys, &mended, stage)?;
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(receiver.serve(service, stop.clone()));

    let api_port = if args.once { 0 } else { free_api_port().await };
    let config = config(&keys, receiver_address, api_port, folder)?;
    let options = DaemonOptions { clock: Arc::clone(&stage.clock), ..DaemonOptions::default() };
    let daemon =
        Daemon::start(Arc::new(config), options).await.map_err(|error| Failure::from(anyhow::Error::new(error)))?;
    let address = Address::parse(daemon.api_address()).map_err(Failure::failed)?;

    let mut story = Story::new(stage, Api::new(address, None), hits, mended);
    let told = tokio::select! {
        told = story.tell(receiver_address, folder, !args.once) => told,
        () = either(&mut interrupt, &mut terminate) => Err(Failure::failed("stopped before the end of the story")),
    };
    let told = match told {
        Ok(()) if !args.once => tokio::select! {
            told = story.go_on() => told,
            () = either(&mut interrupt, &mut terminate) => Ok(()),
        },
        told => told,
    };
    daemon.stop(STOP_MS_MAX).await;
    stop.cancel();
    tasks.join_all().await;
    told
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

/// The usual port where it is free, else any.
async fn free_api_port() -> u16 {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, API_PORT)).await {
        Ok(_) => API_PORT,
        Err(_) => 0,
    }
}

/// The receiver's part: `/shop` works, `/billing` fails twice for each webhook, `/legacy` fails until it is mended.
fn receiving(keys: &Keys, mended: &Arc<AtomicBool>, stage: &Stage) -> Result<(Service, mpsc::Receiver<Hit>), Failure> {
    let (sender, hits) = mpsc::channel(HITS_MAX);
    let verifier = |secret: &Secret| {
        let scheme = Scheme::new(SchemeKind::Standard, secret, &Options::default()).map_err(Failure::failed)?;
        Ok::<_, Failure>(verify_with(Judge::new(SchemeKind::Standard, vec![scheme], Told::default()), None))
    };
    let shop = verifier(&keys.shop)?;
    let billing = verifier(&Secret::new(keys.billing.public.clone().into_bytes()))?;
    let legacy = verifier(&keys.legacy)?;
    let verify: Verify = Arc::new(move |uri, headers, body, now| {
        let judge = match uri.path() {
            "/shop" => &shop,
            "/billing" => &billing,
            _ => &legacy,
        };
        judge(uri, headers, body, now)
    });
    let mended = Arc::clone(mended);
    let manners = Arc::new(move |path: &str| match path {
        "/billing" => Manner { fail_first: 2, ..Manner::default() },
        "/legacy" if !mended.load(Ordering::Relaxed) => Manner { status: Some(500), ..Manner::default() },
        _ => Manner::default(),
    });
    let clock = Arc::clone(&stage.clock);
    let service = Service { manners, verify: Some(verify), forward: None, clock, hits: sender };
    Ok((service, hits))
}

/// The daemon's config: the same text that a user could write, with waits short enough to watch.
fn config(keys: &Keys, receiver: SocketAddr, api_port: u16, folder: &Path) -> Result<Config, Failure> {
    let dir = folder.join("data");
    fs::create_dir(&dir).context("the data folder could not be made")?;
    let dir = toml::Value::from(dir.to_string_lossy().into_owned());
    let text = |secret| str::from_utf8(Secret::expose(secret)).context("a secret that was made up is text");
    let (shop, billing, legacy) = (text(&keys.shop)?, text(&keys.billing.private)?, text(&keys.legacy)?);
    let toml = Zeroizing::new(format!(
        r#"
[api]
listen = "127.0.0.1:{api_port}"
[storage]
dir = {dir}
[delivery]
allow_networks = ["127.0.0.0/8"]
jitter = 0.0
timeout = "5s"
[endpoint.shop]
url = "http://{receiver}/shop"
events = ["order.*"]
secret = "{shop}"
[endpoint.billing]
url = "http://{receiver}/billing"
events = ["invoice.*"]
secret = "{billing}"
retry = ["200ms", "400ms", "800ms"]
[endpoint.legacy]
url = "http://{receiver}/legacy"
events = ["report.*"]
secret = "{legacy}"
retry = ["100ms", "200ms", "300ms", "400ms"]
"#
    ));
    Config::parse(&toml, "the demo's config", folder, &|_| None).map_err(Failure::failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demos_config_is_right_and_stays_on_this_machine() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys {
            shop: Secret::generate().unwrap(),
            billing: KeyPair::generate().unwrap(),
            legacy: Secret::generate().unwrap(),
        };
        let config = config(&keys, "127.0.0.1:9".parse().unwrap(), 0, folder.path()).unwrap();
        assert_eq!(config.endpoints.len(), 3);
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
        for endpoint in config.endpoints.values() {
            assert_eq!(endpoint.url.host_str(), Some("127.0.0.1"));
            assert_eq!(endpoint.signing.len(), 1);
        }
        assert_eq!(config.api.listen.to_string(), "http://127.0.0.1:0");
        assert!(config.storage.dir.starts_with(folder.path()));
    }
}
