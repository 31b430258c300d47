//! `webhookd verify`: whether the signature of a body holds.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use super::Stage;
use super::failure::{EXIT_FAILED, Failure, Outcome};
use super::judge::Verdict;
use super::key_args::{KeyArgs, body_on_stdin, header};
use super::screen::{Tone, escape};
use super::when::Moment;

/// Verify the signature of the body on stdin: exit code 0 if it holds, 1 if not
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct VerifyArgs {
    /// A header of the request, as `name: value`; may be given several times
    #[arg(long = "header", short = 'H', value_name = "HEADER", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,

    /// A file with the headers, one `name: value` a line, as `webhookd sign` prints them
    #[arg(long = "headers", value_name = "FILE")]
    header_file: Option<PathBuf>,

    /// Judge as of this moment: a time such as 2026-11-20T09:30:00Z, or a span before now such as 2h [default: now]
    #[arg(long, value_name = "WHEN", value_parser = Moment::parse)]
    at: Option<Moment>,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    key: KeyArgs,
}

const AFTER_HELP: &str = "\
Examples:
  webhookd sign --secret-file secret < body > headers
  webhookd verify --secret-file secret --headers headers < body
  webhookd verify --secret-file secret --at 2021-02-25T15:02:10Z --headers headers < body
  webhookd verify --secret-file secret --scheme github -H 'x-hub-signature-256: sha256=…' < body

A timestamp may be up to five minutes old or ahead; judge older requests with --at.";

pub(super) fn run(args: &VerifyArgs, stage: &mut Stage) -> Outcome {
    let judge = args.key.judge()?;
    let body = body_on_stdin()?;
    let mut headers = HeaderMap::new();
    let in_file = args.header_file.as_deref().map(headers_in).transpose()?.unwrap_or_default();
    for (name, value) in args.headers.iter().cloned().chain(in_file) {
        // A header that comes twice stays there twice: the scheme says what to make of it.
        headers.append(name, value);
    }
    let now = stage.clock.wall();
    let at = args.at.map_or(now, |at| at.past(now));
    let judged = judge.judge(&headers, &body, at, args.key.scheme.url.as_deref());
    if args.json {
        let result = match &judged {
            Ok(()) => serde_json::json!({"valid": true}),
            Err(Verdict { refusal, words }) => {
                serde_json::json!({"valid": false, "reason": refusal.as_str(), "detail": words})
            }
        };
        stage.screen.json(result.to_string().as_bytes())?;
        return judged.map_err(|_| Failure::silent(EXIT_FAILED));
    }
    match judged {
        Ok(()) => {
            let line = stage.screen.paint(Tone::Good, "the signature holds");
            Ok(stage.screen.line(&line)?)
        }
        Err(verdict) => Err(Failure::failed(format!("the signature does not hold: {}", escape(&verdict.words)))),
    }
}

fn headers_in(file: &Path) -> Result<Vec<(HeaderName, HeaderValue)>, Failure> {
    let shown = file.display();
    let text =
        fs::read_to_string(file).map_err(|error| Failure::usage(format!("{shown} could not be read: {error}")))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let parsed = lines.map(|(at, line)| {
        header(line).map_err(|why| Failure::usage(format!("line {} of {shown} is no header: {why}", at + 1)))
    });
    parsed.collect()
}

#[cfg(test)]
mod tests {
    use super::super::judge::{Judge, Told};
    use super::*;
    use crate::clock::UnixMs;
    use crate::signature::secret::Secret;
    use crate::signature::{Options, Refusal, Scheme, SchemeKind};

    #[test]
    fn a_signature_holds_for_its_body_and_its_time_alone() {
        let secret = Secret::new(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_vec());
        let schemes = vec![Scheme::new(SchemeKind::Standard, &secret, &Options::default()).unwrap()];
        let judge = Judge::new(SchemeKind::Standard, schemes, Told::default());
        let mut headers = HeaderMap::new();
        for text in [
            "webhook-id: msg_p5jXN8AQM9LWM0D4loKWxJek",
            "webhook-timestamp: 1614265330",
            "webhook-signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ] {
            let (name, value) = header(text).unwrap();
            headers.insert(name, value);
        }
        let judge = |body: &[u8], at| judge.judge(&headers, body, at, None);
        let at = UnixMs(1_614_265_330_000);
        assert_eq!(judge(br#"{"test": 2432232314}"#, at), Ok(()));
        assert_eq!(judge(br#"{"test": 2432232315}"#, at).unwrap_err().refusal, Refusal::Mismatch);
        let stale = judge(br#"{"test": 2432232314}"#, at.plus_ms(3_600_000)).unwrap_err();
        assert_eq!(stale.refusal, Refusal::Stale);
        assert!(stale.words.ends_with("it lies 1 h back"), "{}", stale.words);
    }
}
