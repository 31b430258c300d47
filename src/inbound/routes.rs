//! Paths and methods to sources.

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Body as HttpBody;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Method, Request, Version};

use super::{Inbound, accept};
use crate::config::Source;
use crate::front::Peer;
use crate::front::answer::Answer;
use crate::front::problem::{Problem, ProblemKind};
use crate::front::tally::RequestRefused;

/// Answers a request, whatever it is.
pub(super) async fn answer<B>(inbound: Arc<Inbound>, peer: Arc<Peer>, request: Request<B>) -> Answer
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let version = request.version();
    match dispatch(&inbound, &peer, request).await {
        Ok(answer) => answer,
        Err(problem) => {
            RequestRefused { kind: problem.kind }.tell(&inbound.metrics);
            let closes = problem.closes() && version < Version::HTTP_2;
            let mut answer = problem.into_response();
            if closes {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            answer
        }
    }
}

async fn dispatch<B>(inbound: &Inbound, _peer: &Peer, request: Request<B>) -> Result<Answer, Problem>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let source = source(inbound, request.uri().path())
        .ok_or_else(|| Problem::new(ProblemKind::NotFound, "no source is at this path"))?;
    if request.method() != Method::POST {
        let mut problem = Problem::new(ProblemKind::MethodNotAllowed, "webhooks are posted here");
        problem.allow = Some("POST");
        return Err(problem);
    }
    accept::accept(inbound, source, request).await
}

/// The source of `/in/{source}`.
fn source<'a>(inbound: &'a Inbound, path: &str) -> Option<&'a Arc<Source>> {
    inbound.config.sources.get(path.strip_prefix("/in/")?)
}
