//! `webhookd run`: the daemon, in the foreground.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::failure::{EXIT_USAGE, Failure, Outcome};
use super::logging::{self, LogFormat};
use super::{block_on_all_threads, tell};
use crate::config::{Config, process_env};
use crate::daemon::{self, Ended};

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
}

const AFTER_HELP: &str = "\
Examples:
  webhookd run --config /etc/webhookd/webhookd.toml
  webhookd run --config webhookd.toml --log json

SIGTERM and Ctrl-C stop it: it takes no more events, lets attempts under way end, and exits with 0. A second one stops it \
at once; nothing that was accepted is lost either way. SIGHUP makes it read its config anew, as `webhookd reload` does; a \
config with faults changes nothing. Exit codes: 1 it could not start, was \
stopped at once, or failed; 2 the config is wrong.";

pub(super) fn run(args: &RunArgs) -> Outcome {
    logging::start(args.log)?;
    let config = Config::load(&args.config, &process_env).map_err(|errors| {
        tell(&errors.to_string());
        Failure::silent(EXIT_USAGE)
    })?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    daemon::raise_open_files();
    block_on_all_threads(async {
        match daemon::run_until_signalled(Arc::new(config), args.config.clone()).await {
            Ok(Ended::InOrder) => Ok(()),
            Ok(Ended::AtOnce) => {
                Err(Failure::failed("stopped at once; what was under way is pending at the next start"))
            }
            Ok(Ended::Broken) => {
                Err(Failure::failed("a part of webhookd failed; what was accepted is pending at the next start"))
            }
            Err(error) => Err(Failure::from(anyhow::Error::new(error))),
        }
    })
}
