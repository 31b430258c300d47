//! `webhookd sign`: the headers that sign a body.

use std::collections::BTreeMap;

use clap::Args;
use hyper::header::{HeaderName, HeaderValue};
use ulid::Ulid;

use super::Stage;
use super::failure::{Failure, Outcome};
use super::key_args::{KeyArgs, body_on_stdin};
use super::screen::escape;
use crate::model::text::EventId;
use crate::signature::{Scheme, SchemeKind, Signed, sign};

/// Sign the body on stdin, and print the headers to send with it
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct SignArgs {
    /// The value of webhook-id [default: a new one]
    #[arg(long, value_name = "ID", value_parser = EventId::parse)]
    id: Option<EventId>,

    /// The moment of signing, in seconds since 1970 [default: now]
    #[arg(long, value_name = "SECONDS")]
    timestamp: Option<u64>,

    /// Print the headers as one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    key: KeyArgs,
}

const AFTER_HELP: &str = "\
Examples:
  webhookd sign --secret-file secret --id msg_1 < body.json
  webhookd sign --secret-file secret --scheme github < body.json
  webhookd sign --secret-file secret --scheme hmac --signature-header x-sig --algorithm sha512 < body.json";

pub(super) fn run(args: &SignArgs, stage: &mut Stage) -> Outcome {
    let schemes = args.key.schemes(true)?;
    let kind = args.key.kind();
    if kind == SchemeKind::Twilio && args.key.url.is_none() {
        return Err(Failure::usage("twilio signs the URL that is called: give it with --url"));
    }
    let body = body_on_stdin()?;
    let now = stage.clock.wall();
    let id = match &args.id {
        Some(id) => id.clone(),
        None => {
            EventId::parse(&format!("msg_{}", Ulid::from_parts(now.0, fastrand::u128(..)))).map_err(Failure::failed)?
        }
    };
    let timestamp_secs = args.timestamp.unwrap_or(now.secs());
    let signed = Signed { id: &id, timestamp_secs, body: &body, url: args.key.url.as_deref().unwrap_or_default() };
    let headers = headers(&schemes, kind, &signed);
    if args.json {
        let object = headers.into_iter().collect::<BTreeMap<_, _>>();
        let text = serde_json::to_string(&object).map_err(Failure::failed)?;
        return Ok(stage.screen.json(text.as_bytes())?);
    }
    for (name, value) in headers {
        stage.screen.line(&format!("{name}: {}", escape(&value)))?;
    }
    Ok(())
}

/// Everything that a request needs for its signature to hold.
fn headers(schemes: &[Scheme], kind: SchemeKind, signed: &Signed<'_>) -> Vec<(String, String)> {
    let text = |(name, value): (HeaderName, HeaderValue)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let mut headers = Vec::new();
    if kind == SchemeKind::Standard {
        headers.push(("webhook-id".to_owned(), signed.id.to_string()));
        headers.push(("webhook-timestamp".to_owned(), signed.timestamp_secs.to_string()));
    }
    headers.extend(sign(schemes, signed).into_iter().map(text));
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::Options;
    use crate::signature::secret::Secret;

    /// The vector of the Standard Webhooks specification.
    #[test]
    fn the_headers_are_those_of_the_specification() {
        let secret = Secret::new(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_vec());
        let scheme = Scheme::for_signing(SchemeKind::Standard, &secret, &Options::default()).unwrap();
        let body = br#"{"test": 2432232314}"#;
        let id = EventId::parse("msg_p5jXN8AQM9LWM0D4loKWxJek").unwrap();
        let signed = Signed { id: &id, timestamp_secs: 1_614_265_330, body, url: "" };
        let expected = [
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(headers(&[scheme], SchemeKind::Standard, &signed), expected);
    }
}
