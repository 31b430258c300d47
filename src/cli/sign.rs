//! `webhookd sign`: the headers that sign a body, and the whole request of a third party.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use clap::Args;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Response};
use serde_json::json;
use ulid::Ulid;
use url::Url;

use super::Stage;
use super::failure::{EXIT_FAILED, Failure, Outcome};
use super::json_text::{is_json, pretty};
use super::key_args::{KeyArgs, body_on_stdin, header};
use super::post::{Destination, POST_MS_MAX, TlsArgs, parse_url};
use super::screen::{Tone, escape, escape_lines};
use crate::clock::UnixMs;
use crate::limits;
use crate::model::text::EventId;
use crate::signature::{Scheme, SchemeKind, Signed, sign, twilio};

const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// Sign the body on stdin: print the headers to send with it, or post it as the vendor does
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct SignArgs {
    /// The value of webhook-id, or of the header that is the vendor's for it [default: a new one]
    #[arg(long, value_name = "ID", value_parser = EventId::parse)]
    id: Option<EventId>,

    /// The moment of signing, in seconds since 1970 [default: now]
    #[arg(long, value_name = "SECONDS")]
    timestamp: Option<u64>,

    /// Post the body, signed, to this URL, and print the answer
    #[arg(long, value_name = "URL", value_parser = parse_url)]
    post: Option<Url>,

    /// A header of the request, as `name: value`, in the place of one of ours with that name; may be given several times
    #[arg(long = "header", short = 'H', value_name = "HEADER", value_parser = header, requires = "post")]
    headers: Vec<(HeaderName, HeaderValue)>,

    /// The content type of the body [default: application/json where it is JSON, else what the vendor sends]
    #[arg(long, value_name = "TYPE", requires = "post")]
    content_type: Option<HeaderValue>,

    /// Print the headers, or the answer, as one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    key: KeyArgs,

    #[command(flatten)]
    tls: TlsArgs,
}

const AFTER_HELP: &str = "\
Examples:
  webhookd sign --secret-file secret --id msg_1 < body.json
  webhookd sign --secret-file secret --scheme github < body.json
  webhookd sign --secret-file secret --scheme hmac --signature-header x-sig --algorithm sha512 < body.json
  webhookd sign --secret-file secret --scheme stripe --post http://127.0.0.1:8401/in/stripe < event.json
  webhookd sign --secret-file secret --scheme github --post http://127.0.0.1:8401/in/github -H 'x-github-event: push' < push.json
  webhookd sign --secret-file secret --scheme twilio --post http://127.0.0.1:8401/in/sms < form

With --post the request has what the vendor sends along: a time, an id, and github's event \"ping\" unless -H says another. \
twilio signs the URL: that of --post, or --url where the receiver knows itself under a public one. The exit code is 0 for an \
answer 2xx, else 1.";

pub(super) async fn run(args: &SignArgs, stage: &mut Stage) -> Outcome {
    let schemes = args.key.schemes(true)?;
    let kind = args.key.scheme.kind();
    if kind == SchemeKind::Twilio && args.key.scheme.url.is_none() && args.post.is_none() {
        return Err(Failure::usage("twilio signs the URL that is called: give it with --url"));
    }
    let to = args.post.clone().map(|url| Destination::new(url, &args.tls, limits::CLI_ANSWER_BYTES_MAX, POST_MS_MAX));
    let to = to.transpose()?;
    let body = body_on_stdin()?;
    let now = stage.clock.wall();
    let id = match &args.id {
        Some(id) => id.clone(),
        None => {
            EventId::parse(&format!("msg_{}", Ulid::from_parts(now.0, fastrand::u128(..)))).map_err(Failure::failed)?
        }
    };
    if let Some(to) = to {
        return post(args, &schemes, &to, (&id, now), body, stage).await;
    }
    let url = args.key.scheme.url.as_deref().unwrap_or_default();
    let signed = Signed { id: &id, timestamp_secs: args.timestamp.unwrap_or(now.secs()), body: &body, url };
    let headers = headers(&schemes, &args.key, &signed);
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    if args.json {
        let object = headers.iter().map(|(name, value)| (name.as_str(), text(value))).collect::<BTreeMap<_, _>>();
        let text = serde_json::to_string(&object).map_err(Failure::failed)?;
        return Ok(stage.screen.json(text.as_bytes())?);
    }
    for (name, value) in headers {
        stage.screen.line(&format!("{name}: {}", escape(&text(&value))))?;
    }
    Ok(())
}

/// Posts the body as the vendor does, and tells the answer.
async fn post(
    args: &SignArgs,
    schemes: &[Scheme],
    to: &Destination,
    (id, now): (&EventId, UnixMs),
    body: Vec<u8>,
    stage: &mut Stage,
) -> Outcome {
    let kind = args.key.scheme.kind();
    let content_type = content_type(args, &body);
    let mut called = to.url().clone();
    let mut signed_url = args.key.scheme.url.clone().unwrap_or_else(|| called.to_string());
    if kind == SchemeKind::Twilio && !is_form(&content_type) {
        // The hash of such a body stands in the query, of the URL that is signed and of the one that is called.
        if !is_hashed(&called) {
            called = hashed(called.as_str(), &body)?;
        }
        if !Url::parse(&signed_url).is_ok_and(|url| is_hashed(&url)) {
            signed_url = hashed_text(&signed_url, &body);
        }
    }
    let signed = Signed { id, timestamp_secs: args.timestamp.unwrap_or(now.secs()), body: &body, url: &signed_url };
    let mut request = HeaderMap::new();
    request.insert(USER_AGENT, HeaderValue::from_static(concat!("webhookd-cli/", env!("CARGO_PKG_VERSION"))));
    request.insert(CONTENT_TYPE, content_type);
    request.extend(beside(kind, id));
    request.extend(headers(schemes, &args.key, &signed));
    for (name, _) in &args.headers {
        request.remove(name);
    }
    for (name, value) in &args.headers {
        request.append(name, value.clone());
    }
    let begin = stage.clock.mono();
    let (head, answer) = to.send(&called, Method::POST, request, Bytes::from(body)).await.map_err(Failure::failed)?;
    let took_ms = stage.clock.mono().since(begin);
    tell(&called, &head, &answer, took_ms, args.json, stage)?;
    if head.status().is_success() { Ok(()) } else { Err(Failure::silent(EXIT_FAILED)) }
}

fn tell(url: &Url, head: &Response<()>, body: &[u8], ms: u64, as_json: bool, stage: &mut Stage) -> Outcome {
    let status = head.status();
    let content_type = head.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let text = str::from_utf8(body);
    if as_json {
        let told = json!({
            "url": url.as_str(),
            "status": status.as_u16(),
            "duration_ms": ms,
            "content_type": content_type,
            "body": text.ok(),
            "body_base64": text.is_err().then(|| STANDARD.encode(body)),
        });
        return Ok(stage.screen.json(told.to_string().as_bytes())?);
    }
    let tone = if status.is_success() { Tone::Good } else { Tone::Bad };
    let line = stage.screen.paint(tone, &format!("answered {status} in {ms} ms"));
    stage.screen.line(&line)?;
    match text {
        Ok(text) => {
            let laid_out = if is_json(text) { pretty(text) } else { text.to_owned() };
            for line in escape_lines(&laid_out).lines() {
                stage.screen.line(line)?;
            }
            Ok(())
        }
        Err(_) => Ok(stage.screen.line(&format!("({} bytes that are no text)", body.len()))?),
    }
}

/// Everything that a request needs for its signature to hold.
fn headers(schemes: &[Scheme], key: &KeyArgs, signed: &Signed<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let standard = key.scheme.kind() == SchemeKind::Standard;
    let mut headers = Vec::new();
    if (standard || key.scheme.id_header().is_some_and(|name| name.eq_ignore_ascii_case("webhook-id")))
        && let Ok(id) = HeaderValue::from_str(signed.id.as_str())
    {
        headers.push((HeaderName::from_static("webhook-id"), id));
    }
    if standard || key.scheme.timestamp_header().is_some_and(|name| name.eq_ignore_ascii_case("webhook-timestamp")) {
        headers.push((HeaderName::from_static("webhook-timestamp"), signed.timestamp_secs.into()));
    }
    headers.extend(sign(schemes, signed));
    headers
}

/// What the vendor sends beside the signature, so that a source without a word about it knows the request's type and id.
fn beside(kind: SchemeKind, id: &EventId) -> Vec<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_static;
    let own = match kind {
        SchemeKind::Github => Some(name("x-github-delivery")),
        SchemeKind::Shopify => Some(name("x-shopify-webhook-id")),
        SchemeKind::Gitlab => Some(name("x-gitlab-event-uuid")),
        SchemeKind::Twilio => Some(name("i-twilio-idempotency-token")),
        _ => None,
    };
    let event = (kind == SchemeKind::Github).then(|| (name("x-github-event"), HeaderValue::from_static("ping")));
    own.zip(HeaderValue::from_str(id.as_str()).ok()).into_iter().chain(event).collect()
}

fn content_type(args: &SignArgs, body: &[u8]) -> HeaderValue {
    if let Some(given) = &args.content_type {
        return given.clone();
    }
    if let Some((_, given)) = args.headers.iter().find(|(name, _)| *name == CONTENT_TYPE) {
        return given.clone();
    }
    match args.key.scheme.kind() {
        _ if str::from_utf8(body).is_ok_and(is_json) => HeaderValue::from_static("application/json"),
        SchemeKind::Twilio | SchemeKind::Slack | SchemeKind::Github => FORM,
        _ => HeaderValue::from_static("application/octet-stream"),
    }
}

fn is_form(content_type: &HeaderValue) -> bool {
    let text = content_type.to_str().unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(FORM.to_str().unwrap_or_default())
}

fn is_hashed(url: &Url) -> bool {
    url.query_pairs().any(|(name, _)| name == "bodySHA256")
}

/// The URL as text with the hash of the body in its query.
fn hashed_text(url: &str, body: &[u8]) -> String {
    twilio::url_with_body_hash(url, body)
}

fn hashed(url: &str, body: &[u8]) -> Result<Url, Failure> {
    Url::parse(&hashed_text(url, body)).map_err(Failure::failed)
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
        let key = key(&["--scheme", "standard"]);
        let body = br#"{"test": 2432232314}"#;
        let id = EventId::parse("msg_p5jXN8AQM9LWM0D4loKWxJek").unwrap();
        let signed = Signed { id: &id, timestamp_secs: 1_614_265_330, body, url: "" };
        let expected = [
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ];
        let headers = headers(&[scheme], &key, &signed);
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
        assert_eq!(headers.collect::<Vec<_>>(), expected);
    }

    /// `sign` with these options beside a secret.
    fn args(options: &[&str]) -> SignArgs {
        #[derive(Debug, clap::Parser)]
        struct Typed {
            #[command(flatten)]
            args: SignArgs,
        }
        <Typed as clap::Parser>::try_parse_from([&["sign", "--secret", "x"], options].concat()).unwrap().args
    }

    fn key(options: &[&str]) -> KeyArgs {
        args(options).key
    }

    #[test]
    fn a_template_brings_the_headers_that_it_names() {
        let options = ["--scheme", "hmac", "--signature-header", "x-sig", "--content", "{id}.{timestamp}.{body}"];
        let id = EventId::parse("evt_1").unwrap();
        let signed = Signed { id: &id, timestamp_secs: 7, body: b"{}", url: "" };
        let names = |more: &[&str]| {
            let key = key(&[&options[..], more].concat());
            let headers = headers(&key.schemes(true).unwrap(), &key, &signed);
            headers.into_iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(&[]), ["webhook-id", "webhook-timestamp", "x-sig"]);
        assert_eq!(names(&["--timestamp-header", "x-at", "--id-header", "x-id"]), ["x-sig", "x-at", "x-id"]);
    }

    #[test]
    fn the_content_type_is_the_bodys_or_the_vendors() {
        let of = |options: &[&str], body: &[u8]| {
            let args = args(&[&["--post", "http://a/"], options].concat());
            content_type(&args, body).to_str().unwrap().to_owned()
        };
        assert_eq!(of(&[], b"{}"), "application/json");
        assert_eq!(of(&["--scheme", "twilio"], b"a=b"), "application/x-www-form-urlencoded");
        assert_eq!(of(&["--scheme", "twilio"], b"{}"), "application/json");
        assert_eq!(of(&["--scheme", "stripe"], b"\xff"), "application/octet-stream");
        assert_eq!(of(&["--content-type", "text/x"], b"{}"), "text/x");
        assert_eq!(of(&["-H", "content-type: text/y"], b"{}"), "text/y");
        assert!(is_form(&"Application/X-www-form-urlencoded; charset=utf-8".parse().unwrap()));
        assert!(!is_form(&"application/json".parse().unwrap()));
    }
}
