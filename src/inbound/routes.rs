//! Paths and methods to sources; refusals, answered and told.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Body as HttpBody;
use hyper::{Method, Request, Version};

use super::refused::Refused;
use super::served::Served;
use super::{Inbound, accept, client, handshake};
use crate::front::Peer;
use crate::front::answer::Answer;
use crate::front::problem::{Problem, ProblemKind};
use crate::model::text::SourceName;
use crate::observe::inbound::{RequestRefused, SourceMissing};

/// Answers a request, whatever it is.
pub(super) async fn answer<B>(inbound: Arc<Inbound>, peer: Arc<Peer>, request: Request<B>) -> Answer
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let version = request.version();
    let name = request.uri().path().strip_prefix("/in/");
    let Some(served) = name.and_then(|name| inbound.sources.get(name)) else {
        let name = name.and_then(|name| SourceName::parse(name).ok());
        SourceMissing { name: name.as_ref(), peer: &*peer }.tell(&inbound.lines);
        return Problem::new(ProblemKind::NotFound, "no source is at this path").into_response();
    };
    let client = client::address(peer.origin, request.headers(), &served.source.trusted_proxies);
    match serve(&inbound, served, &peer, client, request).await {
        Ok(answer) => answer,
        Err(refused) => refuse(&inbound, served, client, &peer, refused, version),
    }
}

async fn serve<B>(
    inbound: &Inbound,
    served: &Served,
    peer: &Peer,
    client: Option<IpAddr>,
    request: Request<B>,
) -> Result<Answer, Refused>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let source = &served.source;
    let asked = match *request.method() {
        Method::POST => Asked::Take,
        Method::OPTIONS => Asked::Consent,
        Method::GET if source.verify_token.is_some() => Asked::Subscribe,
        _ => return Err(handshake::method_not_allowed(source).into()),
    };
    if !source.admits(client) {
        let detail = "requests from this address are not taken here";
        return Err(Problem::new(ProblemKind::AddressRefused, detail).into());
    }
    match asked {
        Asked::Take => accept::accept(inbound, served, peer, request).await,
        Asked::Consent => Ok(handshake::consent(source, request.headers())),
        Asked::Subscribe => Ok(handshake::subscribe(source, request.uri().query())?),
    }
}

/// What is asked of a source, by its method.
enum Asked {
    /// To take an event.
    Take,
    /// Whether it consents to be sent some.
    Consent,
    /// To answer a challenge.
    Subscribe,
}

fn refuse(
    inbound: &Inbound,
    served: &Served,
    client: Option<IpAddr>,
    peer: &Peer,
    refused: Refused,
    version: Version,
) -> Answer {
    let Refused { problem, reason } = refused;
    let (source, status) = (&served.source.name, problem.kind.status().as_u16());
    RequestRefused { source, reason, status, client, peer }.tell(&inbound.lines);
    problem.into_response_to(version)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::path::Path;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http_body_util::{BodyExt, Full};
    use hyper::body::Frame;
    use hyper::header::CONNECTION;
    use serde_json::Value;

    use super::super::Parts;
    use super::*;
    use crate::clock::{ManualClock, ManualHandle, UnixMs};
    use crate::config::Config;
    use crate::front::Origin;
    use crate::front::body::Holdings;
    use crate::intake::readiness::Readiness;
    use crate::model::roster::Roster;
    use crate::observe::Metrics;

    /// Sources of a daemon that opens its storage still.
    fn inbound(lines: &str) -> Arc<Inbound> {
        let config = Config::parse(lines, "webhookd.toml", Path::new("/"), &|_| None).unwrap();
        Arc::new(Inbound::new(Parts {
            config: Arc::new(config),
            roster: Roster::shared(),
            clock: Arc::new(ManualHandle(ManualClock::at(UnixMs(1_700_000_000_000)))),
            readiness: Arc::new(Readiness::default()),
            metrics: Metrics::shared(),
        }))
    }

    const OPEN: &str = "[source.open]\nverify = { scheme = \"none\" }\n";

    async fn post<B>(inbound: &Arc<Inbound>, body: B) -> (Answer, Value)
    where
        B: HttpBody<Data = Bytes> + Unpin,
    {
        let peer = Arc::new(Peer::new(Origin::Tcp("192.0.2.7:4000".parse().unwrap())));
        let request = Request::post("/in/open").body(body).unwrap();
        let (head, body) = answer(Arc::clone(inbound), peer, request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let problem = serde_json::from_slice(&body).unwrap();
        (Answer::from_parts(head, Full::new(body)), problem)
    }

    fn counted(inbound: &Inbound, source: &str, reason: &str) -> u64 {
        inbound.metrics.inbound_refused.with_label_values(&[source, reason]).get()
    }

    #[tokio::test]
    async fn while_the_storage_opens_the_sender_keeps_what_it_has() {
        let inbound = inbound(OPEN);
        let (answer, problem) = post(&inbound, Full::<Bytes>::default()).await;
        assert_eq!((answer.status().as_u16(), &problem["type"]), (503, &Value::from("urn:webhookd:problem:not-ready")));
        assert_eq!(answer.headers()["retry-after"], "2");
        assert_eq!(counted(&inbound, "open", "not-ready"), 1);
    }

    /// A body that never ends.
    struct Never;

    impl HttpBody for Never {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_given_up() {
        let inbound = inbound(OPEN);
        let (answer, problem) = post(&inbound, Never).await;
        assert_eq!(answer.status(), 408);
        assert_eq!(problem["type"], "urn:webhookd:problem:request-timeout");
        assert_eq!(answer.headers()[CONNECTION], "close");
        assert_eq!(counted(&inbound, "open", "request-timeout"), 1);
    }

    #[tokio::test]
    async fn bodies_past_what_all_may_hold_are_kept_by_their_senders() {
        let mut inbound = inbound(OPEN);
        Arc::get_mut(&mut inbound).unwrap().holdings = Holdings::new("inbound", 8);
        let (answer, problem) = post(&inbound, Full::from("123456789")).await;
        assert_eq!((answer.status().as_u16(), &problem["type"]), (503, &Value::from("urn:webhookd:problem:busy")));
        assert_eq!(answer.headers()["retry-after"], "1");
        assert_eq!(counted(&inbound, "open", "busy"), 1);
    }

    #[test]
    fn every_label_is_there_from_the_start() {
        let inbound = inbound(OPEN);
        let text = inbound.metrics.text();
        for (name, labels) in [
            ("accepted_total", "source=\"open\""),
            ("duplicates_total", "source=\"open\""),
            ("untyped_total", "source=\"open\""),
            ("ack_seconds_count", "source=\"open\""),
            ("refused_total", "reason=\"mismatch\",source=\"open\""),
            ("refused_total", "reason=\"storage-full\",source=\"open\""),
            ("refused_total", "reason=\"not-found\",source=\"\""),
        ] {
            assert!(text.contains(&format!("webhookd_inbound_{name}{{{labels}}} 0")), "{name} {labels}\n{text}");
        }
        let refusals = text.lines().filter(|line| line.starts_with("webhookd_inbound_refused_total{")).count();
        assert_eq!(refusals, super::super::refused::words().count() + 1);
    }

    #[test]
    fn a_reload_keeps_what_a_source_has_taken_of_its_rate() {
        let lines = |rate: &str| format!("{OPEN}rate_limit = {rate}\n");
        let config =
            |rate: &str| Arc::new(Config::parse(&lines(rate), "webhookd.toml", Path::new("/"), &|_| None).unwrap());
        let takes =
            |inbound: &Inbound| inbound.sources["open"].pace.as_ref().unwrap().take(inbound.clock.mono()).is_ok();
        let first = inbound(&lines("{ rate = \"1/h\", burst = 1 }"));
        assert!(takes(&first) && !takes(&first));
        let same = first.with_config(config("{ rate = \"1/h\", burst = 1 }"));
        assert!(!takes(&same));
        let other = same.with_config(config("{ rate = \"2/h\", burst = 1 }"));
        assert!(takes(&other));
    }
}
