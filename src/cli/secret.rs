//! `webhookd secret new`: a fresh secret.

use clap::{Args, Subcommand};

use super::Stage;
use super::failure::{Failure, Outcome};
use crate::signature::secret::Secret;
use crate::signature::standard::KeyPair;

/// Make signing secrets
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct SecretArgs {
    #[command(subcommand)]
    command: SecretCommand,
}

const AFTER_HELP: &str = "\
Examples:
  webhookd secret new
  webhookd secret new --ed25519";

#[derive(Debug, Subcommand)]
enum SecretCommand {
    /// Print a new secret: whsec_… for HMAC-SHA256, which sender and receiver share
    New(NewArgs),
}

#[derive(Debug, Args)]
struct NewArgs {
    /// Print an Ed25519 pair instead: whsk_… signs and stays here, whpk_… is for everyone who verifies
    #[arg(long)]
    ed25519: bool,

    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &SecretArgs, stage: &mut Stage) -> Outcome {
    let SecretCommand::New(args) = &args.command;
    if args.ed25519 {
        let pair = KeyPair::generate().map_err(Failure::failed)?;
        let private = text(&pair.private)?;
        if args.json {
            let object = serde_json::json!({"private": private, "public": pair.public});
            return Ok(stage.screen.json(object.to_string().as_bytes())?);
        }
        stage.screen.line(private)?;
        return Ok(stage.screen.line(&pair.public)?);
    }
    let secret = Secret::generate().map_err(Failure::failed)?;
    let secret = text(&secret)?;
    if args.json {
        return Ok(stage.screen.json(serde_json::json!({ "secret": secret }).to_string().as_bytes())?);
    }
    Ok(stage.screen.line(secret)?)
}

/// The one place that shows a secret: it was made for that.
fn text(secret: &Secret) -> Result<&str, Failure> {
    str::from_utf8(secret.expose()).map_err(Failure::failed)
}
