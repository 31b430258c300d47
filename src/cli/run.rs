//! `webhookd run`: the daemon, in the foreground.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::failure::{EXIT_USAGE, Failure, Outcome};
use super::logging::{self, LogFormat};
use super::{block_on_all_threads, tell};
use crate::clock::SystemClock;
use crate::config::{Config, ConfigErrors, process_env};
use crate::daemon::{self, Ended, StartError};
use crate::systemd::Service;
use crate::systemd::notify::Notice;

/// Run the daemon in the foreground
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct RunArgs {
    /// The config file
    #[arg(long, value_name = "FILE", default_value = "webhookd.toml")]
    config: PathBuf,

    /// What log lines look like; how much is logged is up to WEBHOOKD_LOG or RUST_LOG (error, warn, info, debug, trace)
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "human")]
    log: LogFormat,

    /// Let the system write core dumps and debuggers attach; both show secrets and payloads
    #[arg(long)]
    core_dumps: bool,
}

const AFTER_HELP: &str = "\
Examples:
  webhookd run --config /etc/webhookd/webhookd.toml
  webhookd run --config webhookd.toml --log json

SIGTERM and Ctrl-C stop it: it takes no more events, lets attempts under way end, and exits with 0. A second one stops it \
at once; nothing that was accepted is lost either way. SIGHUP makes it read its config anew, as `webhookd reload` does; a \
config with faults changes nothing. Exit codes: 1 it could not start, was \
stopped at once, or failed; 2 the config is wrong, or a socket that systemd hands over.

systemd is told how things stand (Type=notify, WatchdogSec=), and sockets with FileDescriptorName=api or inbound take the \
place of `[api] listen` or `[inbound] listen`.";

pub(super) fn run(args: &RunArgs) -> Outcome {
    logging::start(args.log)?;
    daemon::make_files_private();
    if !args.core_dumps
        && let Err(error) = daemon::forbid_core_dumps()
    {
        tracing::warn!(%error, "the system does not let core dumps be turned off: one would hold secrets and payloads");
    }
    // Before there is a second thread, which might look at the environment.
    let (service, taken) = Service::take();
    let refuse = |why: &str| service.notifier.tell(&[Notice::Status(&format!("the start failed: {why}"))]);
    if let Err(error) = taken {
        refuse(&error.to_string());
        return Err(Failure::usage(error));
    }
    let now = SystemClock::shared().wall();
    let config = Config::load_to_run(&args.config, &process_env, now).map_err(|errors| {
        refuse(errors.lines().next().as_deref().unwrap_or("the config is wrong"));
        tell(&errors.to_string());
        Failure::silent(EXIT_USAGE)
    })?;
    for lapsed in config.lapsed.iter().flat_map(ConfigErrors::lines) {
        tracing::error!("{lapsed}");
    }
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    daemon::raise_open_files();
    block_on_all_threads(async {
        match daemon::run_until_signalled(Arc::new(config), args.config.clone(), service).await {
            Ok(Ended::InOrder) => Ok(()),
            Ok(Ended::AtOnce) => {
                Err(Failure::failed("stopped at once; what was under way is pending at the next start"))
            }
            Ok(Ended::Broken) => {
                Err(Failure::failed("a part of webhookd failed; what was accepted is pending at the next start"))
            }
            // A new start would meet the same.
            Err(error @ StartError::Handed(_)) => Err(Failure::usage(error)),
            Err(error) => Err(Failure::from(anyhow::Error::new(error))),
        }
    })
}
