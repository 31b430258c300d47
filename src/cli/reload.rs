//! `webhookd reload`: asks the daemon to read its config anew.

use clap::Args;

use super::api_args::ApiArgs;
use super::client::{self, ApiError, Problem};
use super::failure::{EXIT_FAILED, Failure, Outcome};
use super::screen::{Tone, escape};
use super::view::Reloaded;
use super::{Stage, tell};

/// Have the daemon read its config anew, without dropping a delivery
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct ReloadArgs {
    /// Print the daemon's answer as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    api: ApiArgs,
}

const AFTER_HELP: &str = "\
Examples:
  webhookd reload
  webhookd reload --token-file admin.token --json

The daemon reads the file that it was started with, and the secret and certificate files that it names. A config with faults \
is refused as a whole: each fault is printed as `webhookd check` does, and the config in force stays. Deliveries to an endpoint that is \
gone are kept, and go on when it returns. Certificates count at once, and a changed file is found without this command. `api.listen` and \
`inbound.listen`, their `tls` where there was none or is none any more, the first source of all, and `storage.dir` need a restart. Until then the daemon answers at its old address, \
and this command is to be given that. SIGHUP does the same; what comes of that is in the log. Exit codes: 0 done; 1 refused.";

pub(super) async fn run(args: &ReloadArgs, stage: &mut Stage) -> Outcome {
    let api = args.api.connect()?;
    let answer = match api.post(&client::path(&["v1", "reload"], &[]), "").await {
        Ok(answer) => answer,
        Err(ApiError::Refused(problem)) if problem.is_faulty() && !problem.errors.is_empty() => {
            return refused(&problem);
        }
        Err(error) => return Err(error.into()),
    };
    if args.json {
        return Ok(stage.screen.json(&answer.body)?);
    }
    let reloaded: Reloaded = answer.decode()?;
    for (tone, line) in told(&reloaded) {
        let line = stage.screen.paint(tone, &escape(&line));
        stage.screen.line(&line)?;
    }
    Ok(())
}

/// The faults on stderr, one a line, as `check` prints them; then how many they are.
fn refused(problem: &Problem) -> Outcome {
    for fault in &problem.errors {
        tell(&fault.detail);
    }
    let summary = problem.detail.as_deref().unwrap_or_default();
    if summary.is_empty() {
        return Err(Failure::silent(EXIT_FAILED));
    }
    Err(Failure::failed(summary))
}

fn told(reloaded: &Reloaded) -> Vec<(Tone, String)> {
    let Reloaded { endpoints, sources, settings, needs_restart, warnings } = reloaded;
    let mut lines: Vec<_> = [("endpoints", endpoints), ("sources", sources)]
        .into_iter()
        .flat_map(|(of, names)| {
            [(of, "added", &names.added), (of, "changed", &names.changed), (of, "removed", &names.removed)]
        })
        .filter(|(_, _, names)| !names.is_empty())
        .map(|(of, what, names)| (Tone::Plain, format!("{of} {what}: {}", names.join(", "))))
        .collect();
    if !settings.is_empty() {
        lines.push((Tone::Plain, format!("settings changed: {}", settings.join(", "))));
    }
    let first = if lines.is_empty() { "reloaded; nothing has changed" } else { "reloaded" };
    lines.insert(0, (Tone::Good, first.to_owned()));
    if !needs_restart.is_empty() {
        let keys = needs_restart.join(", ");
        lines.push((Tone::Warn, format!("keeps its old value until webhookd is restarted: {keys}")));
    }
    lines.extend(warnings.iter().map(|warning| (Tone::Warn, format!("warning: {warning}"))));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(answer: &str) -> Vec<String> {
        told(&serde_json::from_str(answer).unwrap()).into_iter().map(|(_, line)| line).collect()
    }

    #[test]
    fn what_changed_is_told_and_what_did_not_is_left_out() {
        let answer = r#"{"endpoints":{"added":["a","b"],"changed":[],"removed":["c"]},
            "sources":{"added":[],"changed":["github"],"removed":[]},"settings":["api.token"],
            "needs_restart":["api.listen","storage.dir"],"warnings":["mind this"],"more":1}"#;
        let expected = [
            "reloaded",
            "endpoints added: a, b",
            "endpoints removed: c",
            "sources changed: github",
            "settings changed: api.token",
            "keeps its old value until webhookd is restarted: api.listen, storage.dir",
            "warning: mind this",
        ];
        assert_eq!(lines(answer), expected);
        assert_eq!(lines(r#"{"endpoints":{}}"#), ["reloaded; nothing has changed"]);
    }
}
