//! `webhookd endpoint pause|resume|ping NAME`.

use clap::{Args, Subcommand};

use super::Stage;
use super::api_args::ApiArgs;
use super::client::{self, Api, ApiError};
use super::endpoints::state_in_words;
use super::failure::{Failure, Outcome};
use super::screen::escape;
use super::view::{Accepted, EndpointDetail};
use crate::model::text::EndpointName;

/// Hold an endpoint, let it go again, or send it a test event
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct EndpointArgs {
    #[command(subcommand)]
    command: EndpointCommand,
}

const AFTER_HELP: &str = "\
Examples:
  webhookd endpoint pause billing
  webhookd endpoint resume billing
  webhookd endpoint ping billing";

#[derive(Debug, Subcommand)]
enum EndpointCommand {
    /// Hold it: its deliveries wait until it is resumed
    Pause(NameArgs),
    /// Let it go again, also after it was disabled
    Resume(NameArgs),
    /// Send it a test event, whatever it subscribes to
    Ping(NameArgs),
}

#[derive(Debug, Args)]
struct NameArgs {
    /// The endpoint, as in [endpoint.NAME]
    #[arg(value_name = "NAME", value_parser = EndpointName::parse)]
    name: EndpointName,

    /// Print the daemon's answer as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    api: ApiArgs,
}

pub(super) async fn run(args: &EndpointArgs, stage: &mut Stage) -> Outcome {
    let (args, verb) = match &args.command {
        EndpointCommand::Pause(args) => (args, "pause"),
        EndpointCommand::Resume(args) => (args, "resume"),
        EndpointCommand::Ping(args) => (args, "ping"),
    };
    let api = args.api.connect()?;
    let path = client::path(&["v1", "endpoints", args.name.as_str(), verb], &[]);
    let answer = api.post(&path, "").await?;
    if args.json {
        return Ok(stage.screen.json(&answer.body)?);
    }
    let name = &args.name;
    let line = if verb == "ping" {
        let accepted: Accepted = answer.decode()?;
        let id = escape(&accepted.id);
        format!("{id} goes to {name}; see what came of it with `webhookd event {id}`")
    } else {
        format!("{name} is {}", state_of(&api, &answer, name).await?)
    };
    Ok(stage.screen.line(&line)?)
}

/// The endpoint's state after the command.
async fn state_of(api: &Api, answer: &client::Answer, name: &EndpointName) -> Result<String, Failure> {
    if let Ok(endpoint) = answer.decode::<EndpointDetail>() {
        return Ok(state_in_words(&endpoint));
    }
    let answer = api.get(&client::path(&["v1", "endpoints", name.as_str()], &[])).await?;
    let endpoint: Result<EndpointDetail, ApiError> = answer.decode();
    Ok(state_in_words(&endpoint?))
}
