//! Paths and methods to sources; refusals, answered and told.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Body as HttpBody;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Method, Request, Version};

use super::refused::Refused;
use super::served::Served;
use super::{Inbound, accept, client, handshake};
use crate::front::Peer;
use crate::front::answer::Answer;
use crate::front::problem::{Problem, ProblemKind};
use crate::observe::inbound::RequestRefused;

/// Answers a request, whatever it is.
pub(super) async fn answer<B>(inbound: Arc<Inbound>, peer: Arc<Peer>, request: Request<B>) -> Answer
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let version = request.version();
    let served = request.uri().path().strip_prefix("/in/").and_then(|name| inbound.sources.get(name));
    let Some(served) = served else {
        let refused = Problem::new(ProblemKind::NotFound, "no source is at this path").into();
        return refuse(&inbound, None, None, &peer, refused, version);
    };
    let client = client::address(peer.origin, request.headers(), &served.source.trusted_proxies);
    match serve(&inbound, served, client, request).await {
        Ok(answer) => answer,
        Err(refused) => refuse(&inbound, Some(served), client, &peer, refused, version),
    }
}

async fn serve<B>(
    inbound: &Inbound,
    served: &Served,
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
        Asked::Take => accept::accept(inbound, served, request).await,
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
    served: Option<&Served>,
    client: Option<IpAddr>,
    peer: &Peer,
    refused: Refused,
    version: Version,
) -> Answer {
    let Refused { problem, reason } = refused;
    let (source, status) = (served.map(|served| &served.source.name), problem.kind.status().as_u16());
    RequestRefused { source, reason, status, client, peer }.tell(&inbound.lines);
    let closes = problem.closes() && version < Version::HTTP_2;
    let mut answer = problem.into_response();
    if closes {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}
