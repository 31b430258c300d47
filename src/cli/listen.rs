//! `webhookd listen`: shows every request it gets, checks signatures, misbehaves on demand, and passes on to an app.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use hyper::Uri;
use hyper::header::{HOST, HeaderMap};
use serde_json::{Map, Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::Stage;
use super::failure::{Failure, Outcome};
use super::forward::{Forward, Forwarded};
use super::json_text::{is_json, pretty};
use super::judge::Judge;
use super::key_args::{SchemeArgs, secret_in};
use super::post::{Destination, TlsArgs, parse_url};
use super::receiver::{Hit, Manner, Receiver, Service, Verify};
use super::screen::{Screen, Tone, escape, escape_lines};
use super::when::parse_span_ms;
use crate::limits;
use crate::signature::secret::Secret;

/// Requests that wait for being shown; when more come, they wait for their answer.
const HITS_MAX: usize = 256;

/// Headers that say nothing about the webhook.
const DULL: [&str; 6] = ["host", "accept", "accept-encoding", "connection", "content-length", "transfer-encoding"];
/// Headers whose values are secrets.
const SECRET: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "x-gitlab-token"];

/// Receive webhooks and show them; misbehave on demand, or pass them on to an app
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct ListenArgs {
    /// The port; 0 takes any free one and says which
    #[arg(long, value_name = "PORT", default_value_t = 8402)]
    port: u16,

    /// The address; the default can be reached from this machine alone
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,

    /// Pass each request on to this URL, and its answer back; what the URL has no query for, the request's does
    #[arg(long, value_name = "URL", value_parser = parse_url)]
    forward: Option<Url>,

    /// Check signatures with this secret, or with the one in @FILE; what does not hold is answered 401, and not passed on
    #[arg(long, value_name = "SECRET")]
    verify: Option<String>,

    /// Answer 500 to the first N attempts of each webhook-id, then 200
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    fail: u32,

    /// Always answer this status; with --fail, it is the status of the failures
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(200..=599))]
    status: Option<u16>,

    /// Wait so long before answering, such as 250ms or 20s
    #[arg(long, value_name = "SPAN", value_parser = parse_span_ms, default_value = "0s", hide_default_value = true)]
    delay: u64,

    /// Print each request as one line of JSON, after a line with the address
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    scheme: SchemeArgs,

    #[command(flatten)]
    tls: TlsArgs,
}

const AFTER_HELP: &str = "\
Examples:
  webhookd listen
  webhookd listen --port 9000 --verify @secret
  webhookd listen --fail 2
  webhookd listen --status 503 --delay 2s
  webhookd listen --forward http://127.0.0.1:3000/hooks
  webhookd listen --forward http://127.0.0.1:3000/hooks --verify @secret --scheme github
  webhookd listen --verify @token --scheme twilio --url https://hooks.example.com/sms

--forward passes on what is not refused here: method, headers and body as they came, without what belongs to the connection. \
The sender gets the app's status, content-type and body; an app that is down makes a 502, one without an answer in 30 s a 504.

Let the daemon deliver here with `url = \"http://127.0.0.1:8402/\"` and `allow_networks = [\"127.0.0.0/8\"]` in an \
endpoint. Requests without a webhook-id count as one for --fail. Ctrl-C ends it, with a summary.";

pub(super) async fn run(args: &ListenArgs, stage: &mut Stage) -> Outcome {
    let verify = verifier(args)?;
    let forward = forward(args, stage)?;
    let address = SocketAddr::new(args.host, args.port);
    let receiver = Receiver::bind(address).await;
    let receiver = receiver.map_err(|error| Failure::failed(format!("cannot listen on {address}: {error}")))?;
    let (hits, mut shown) = mpsc::channel(HITS_MAX);
    let manner = Manner { fail_first: args.fail, status: args.status, delay_ms: args.delay };
    let clock = Arc::clone(&stage.clock);
    let service = Service { manners: Arc::new(move |_| manner), verify, forward, clock, hits };
    let url = format!("http://{}", receiver.address());
    let screen = &mut stage.screen;
    let greeting = match args.json {
        true => json!({ "listening": url }).to_string(),
        false => match &args.forward {
            Some(to) => format!("listening on {url}, forwarding to {to}  (Ctrl-C ends)"),
            None => format!("listening on {url}  (Ctrl-C ends)"),
        },
    };
    screen.line(&greeting)?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals could not be watched")?;
    let mut terminate = signal(SignalKind::terminate()).context("signals could not be watched")?;
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(receiver.serve(service, stop.clone()));
    let mut summary = Summary::default();
    let ended = loop {
        tokio::select! {
            Some(hit) = shown.recv() => {
                summary.count(&hit);
                let said = match args.json {
                    true => screen.line(&as_json(&hit)).map_err(Failure::from),
                    false => show(screen, &hit, args.scheme.secret_header()),
                };
                if said.is_err() { break said; }
            }
            _ = interrupt.recv() => break Ok(()),
            _ = terminate.recv() => break Ok(()),
        }
    };
    stop.cancel();
    shown.close();
    tasks.join_all().await;
    ended?;
    if args.json { Ok(()) } else { Ok(screen.line(&summary.words())?) }
}

/// Reads `--verify` and what belongs to it.
fn verifier(args: &ListenArgs) -> Result<Option<Verify>, Failure> {
    let Some(given) = &args.verify else {
        return if args.scheme.is_empty() {
            Ok(None)
        } else {
            Err(Failure::usage("--scheme and its options say how to check signatures: give the secret with --verify"))
        };
    };
    let secret = match given.strip_prefix('@') {
        Some(file) => secret_in(Path::new(file))?,
        None => Secret::new(given.as_bytes().to_vec()),
    };
    let judge = args.scheme.judge(vec![args.scheme.with(&secret, false)?]);
    Ok(Some(verify_with(judge, args.scheme.url.clone())))
}

/// Reads `--forward` and what belongs to it.
fn forward(args: &ListenArgs, stage: &Stage) -> Result<Option<Forward>, Failure> {
    let Some(url) = &args.forward else { return Ok(None) };
    if args.status.is_some() && args.fail == 0 {
        return Err(Failure::usage(
            "with --forward the app says the status; --status is for the failures of --fail then",
        ));
    }
    let to = Destination::new(url.clone(), &args.tls, limits::LISTEN_ANSWER_BYTES_MAX, limits::LISTEN_ANSWER_MS_MAX)?;
    Ok(Some(Forward::new(to, Arc::clone(&stage.clock))))
}

/// A judge of signatures that tells its reasons in words. `url` is the public one, without a query.
pub(super) fn verify_with(judge: Judge, url: Option<String>) -> Verify {
    Arc::new(move |uri, headers, body, now| {
        let called = called(url.as_deref(), uri, headers);
        judge.judge(headers, body, now, called.as_deref()).map_err(|verdict| verdict.words)
    })
}

/// The URL that the sender called, as far as it is known here.
fn called(public: Option<&str>, uri: &Uri, headers: &HeaderMap) -> Option<String> {
    match (public, uri.query()) {
        (Some(url), Some(query)) if !url.contains('?') => Some(format!("{url}?{query}")),
        (Some(url), _) => Some(url.to_owned()),
        (None, _) => Some(format!("http://{}{}", headers.get(HOST)?.to_str().ok()?, uri.path_and_query()?)),
    }
}

fn show(screen: &mut Screen, hit: &Hit, secret_header: Option<&str>) -> Outcome {
    let moment = hit.at.to_string();
    let time = moment.split_once('T').map_or(moment.as_str(), |(_, time)| time);
    let (time, from) = (screen.paint(Tone::Faint, time), screen.paint(Tone::Faint, &format!("from {}", hit.from)));
    let request = screen.paint(Tone::Strong, &escape(&format!("{} {}", hit.method, hit.target)));
    let tone = if hit.answered.is_success() { Tone::Good } else { Tone::Bad };
    let answered = screen.paint(tone, &format!("answered {}", hit.answered.as_u16()));
    let again = if hit.attempt > 1 { format!("  no. {} with this id", hit.attempt) } else { String::new() };
    screen.line(&format!("{time}  {request}  {from}  {answered}{again}"))?;
    for (name, value) in hit.headers.iter().filter(|(name, _)| !DULL.contains(&name.as_str())) {
        let value = if SECRET.contains(&name.as_str())
            || secret_header.is_some_and(|secret| name.as_str().eq_ignore_ascii_case(secret))
        {
            "(not shown)".into()
        } else {
            escape(&String::from_utf8_lossy(value.as_bytes())).into_owned()
        };
        let line = screen.paint(Tone::Faint, &format!("  {name}: {value}"));
        screen.line(&line)?;
    }
    match &hit.signature {
        None => {}
        Some(Ok(())) => {
            let line = screen.paint(Tone::Good, "  the signature holds");
            screen.line(&line)?;
        }
        Some(Err(why)) => {
            let line = screen.paint(Tone::Bad, &format!("  the signature does not hold: {}", escape(why)));
            screen.line(&line)?;
        }
    }
    for line in body_in_lines(&hit.body) {
        screen.line(&format!("  {line}"))?;
    }
    if let Some(forwarded) = &hit.forwarded {
        let (tone, words) = passed_on(forwarded);
        let line = screen.paint(tone, &format!("  {}", escape(&words)));
        screen.line(&line)?;
    }
    Ok(screen.line("")?)
}

/// What became of a request that was passed on.
fn passed_on(forwarded: &Forwarded) -> (Tone, String) {
    let Forwarded { url, duration_ms, outcome } = forwarded;
    match outcome {
        Ok(status) => {
            let tone = if status.is_success() { Tone::Good } else { Tone::Bad };
            (tone, format!("forwarded to {url}, answered {} in {duration_ms} ms", status.as_u16()))
        }
        Err(why) => (Tone::Bad, format!("not forwarded to {url}: {why}")),
    }
}

/// The body for reading, safe to print, up to a limit.
fn body_in_lines(body: &[u8]) -> Vec<String> {
    let Ok(text) = str::from_utf8(body) else {
        let start = body.iter().take(32).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
        return vec![format!(
            "({} bytes that are no text: {start}{})",
            body.len(),
            if body.len() > 32 { " …" } else { "" }
        )];
    };
    let shown = &text[..text.floor_char_boundary(limits::LISTEN_SHOWN_BYTES_MAX)];
    let whole = shown.len() == text.len();
    let laid_out = if is_json(text) { pretty(shown) } else { shown.to_owned() };
    let mut lines = escape_lines(&laid_out).lines().map(str::to_owned).collect::<Vec<_>>();
    if !whole {
        lines.push(format!("… and {} bytes more", text.len() - shown.len()));
    }
    lines
}

/// One request as a line of JSON; the body as text where it is text, else in base64.
fn as_json(hit: &Hit) -> String {
    let mut headers = Map::new();
    for name in hit.headers.keys() {
        let values = hit.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        headers.insert(name.to_string(), Value::from(values.collect::<Vec<_>>().join(", ")));
    }
    let (body, body_base64) = match str::from_utf8(&hit.body) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(STANDARD.encode(&hit.body))),
    };
    let signature = hit.signature.as_ref().map(|judged| match judged {
        Ok(()) => json!({"valid": true}),
        Err(why) => json!({"valid": false, "reason": why}),
    });
    let forwarded = hit.forwarded.as_ref().map(|Forwarded { url, duration_ms, outcome }| {
        let (status, error) = match outcome {
            Ok(status) => (Some(status.as_u16()), None),
            Err(why) => (None, Some(why)),
        };
        json!({"url": url, "status": status, "error": error, "duration_ms": duration_ms})
    });
    let line = json!({
        "at": hit.at.to_string(),
        "from": hit.from.to_string(),
        "method": hit.method.as_str(),
        "target": hit.target,
        "headers": headers,
        "body": body,
        "body_base64": body_base64,
        "attempt": hit.attempt,
        "signature": signature,
        "forwarded": forwarded,
        "answered": hit.answered.as_u16(),
    });
    super::screen::escape_json(&line.to_string()).into_owned()
}

#[derive(Debug, Default)]
struct Summary {
    requests: u64,
    successes: u64,
    refused: u64,
    forwarded: u64,
}

impl Summary {
    fn count(&mut self, hit: &Hit) {
        self.requests += 1;
        self.successes += u64::from(hit.answered.is_success());
        self.refused += u64::from(matches!(hit.signature, Some(Err(_))));
        self.forwarded += u64::from(hit.forwarded.as_ref().is_some_and(|forwarded| forwarded.outcome.is_ok()));
    }

    fn words(&self) -> String {
        let refused = match self.refused {
            0 => String::new(),
            n => format!(", {n} with a signature that does not hold"),
        };
        let forwarded = match self.forwarded {
            0 => String::new(),
            n => format!(", {n} forwarded"),
        };
        let Self { requests, successes, .. } = self;
        format!("{requests} requests, {successes} answered with success{forwarded}{refused}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_laid_out_and_cannot_drive_the_terminal() {
        assert_eq!(
            body_in_lines(br#"{"p":1.10,"t":"a\u001b[2J"}"#),
            ["{", "  \"p\": 1.10,", "  \"t\": \"a\\u001b[2J\"", "}"]
        );
        assert_eq!(body_in_lines(b"plain\x1b[2J\ntext"), ["plain\\u{1b}[2J", "text"]);
        assert_eq!(body_in_lines(b"\xff\x00"), ["(2 bytes that are no text: ff 00)"]);
        assert!(body_in_lines(b"").is_empty());
    }

    #[test]
    fn a_long_body_is_cut_and_says_so() {
        let long = "é".repeat(limits::LISTEN_SHOWN_BYTES_MAX);
        let lines = body_in_lines(long.as_bytes());
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1], format!("… and {} bytes more", limits::LISTEN_SHOWN_BYTES_MAX));
    }

    /// `listen` with these options.
    fn args(options: &[&str]) -> ListenArgs {
        #[derive(Debug, clap::Parser)]
        struct Typed {
            #[command(flatten)]
            args: ListenArgs,
        }
        <Typed as clap::Parser>::try_parse_from([&["listen"], options].concat()).unwrap().args
    }

    #[test]
    fn a_secret_that_is_none_or_is_missing_is_said_at_the_start() {
        let code = |options: &[&str]| verifier(&args(options)).err().map(|failure| failure.code());
        assert_eq!(code(&["--verify", "nonsense"]), Some(2));
        assert_eq!(code(&["--verify", "@/nonexistent/secret"]), Some(2));
        assert_eq!(code(&["--verify", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]), None);
        assert_eq!(code(&["--scheme", "github"]), Some(2));
        assert_eq!(code(&["--verify", "x", "--scheme", "github"]), None);
        assert_eq!(code(&["--verify", "x", "--scheme", "hmac"]), Some(2), "no header is named");
        assert_eq!(code(&[]), None);
    }

    #[test]
    fn the_called_url_is_the_public_one_or_the_one_of_the_request() {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "127.0.0.1:8402".parse().unwrap());
        let uri: Uri = "/sms?a=b".parse().unwrap();
        let of = |public| called(public, &uri, &headers).unwrap();
        assert_eq!(of(None), "http://127.0.0.1:8402/sms?a=b");
        assert_eq!(of(Some("https://hooks.example.com/sms")), "https://hooks.example.com/sms?a=b");
        assert_eq!(of(Some("https://hooks.example.com/sms?x=y")), "https://hooks.example.com/sms?x=y");
        assert_eq!(called(None, &uri, &HeaderMap::new()), None);
    }
}
