//! `webhookd check`: whether a config is right, without starting anything.

use std::path::PathBuf;

use clap::Args;

use super::failure::{EXIT_USAGE, Failure, Outcome};
use super::screen::{Tone, escape_lines};
use super::{Stage, tell};
use crate::config::{Config, process_env};

/// Check a config file: every error with its line and the key to mend
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct CheckArgs {
    /// The config file
    #[arg(long, value_name = "FILE", default_value = "webhookd.toml")]
    config: PathBuf,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  webhookd check --config /etc/webhookd/webhookd.toml

The secret and certificate files that the config names are read as well. Exit codes: 0 the config is right, 2 it is not.";

pub(super) fn run(args: &CheckArgs, stage: &mut Stage) -> Outcome {
    let checked = Config::load(&args.config, &process_env);
    if args.json {
        let (errors, warnings) = match &checked {
            Ok(config) => (Vec::new(), config.warnings.clone()),
            Err(errors) => (errors.errors().to_vec(), Vec::new()),
        };
        let errors = errors.iter().map(|error| {
            serde_json::json!({"line": error.line, "column": error.column, "key": error.key, "message": error.message})
        });
        let result = serde_json::json!({
            "file": args.config.display().to_string(),
            "valid": checked.is_ok(),
            "errors": errors.collect::<Vec<_>>(),
            "warnings": warnings,
        });
        stage.screen.json(result.to_string().as_bytes())?;
        return checked.map(drop).map_err(|_| Failure::silent(EXIT_USAGE));
    }
    match checked {
        Ok(config) => {
            let fine = format!("{} is right", args.config.display());
            let fine = stage.screen.paint(Tone::Good, &escape_lines(&fine));
            stage.screen.line(&fine)?;
            Ok(stage.screen.line(&escape_lines(&config.summary()))?)
        }
        Err(errors) => {
            // On stderr, one a line, as compilers do; editors know how to jump to them.
            tell(&errors.to_string());
            let count = errors.errors().len();
            Err(Failure::usage(format!("{count} {} to mend", if count == 1 { "fault" } else { "faults" })))
        }
    }
}
