//! Paths and methods to resources, with the scope that each needs.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body as HttpBody;
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HeaderValue};
use hyper::{Method, Request, Version};
use tokio_util::task::TaskTracker;

use super::query::percent_decode;
use super::{Api, backfill, endpoints, events, guard, health, ingest, reload};
use crate::config::Scope;
use crate::front::Peer;
use crate::front::answer::Answer;
use crate::front::problem::{Problem, ProblemKind, quoted};
use crate::front::tally::RequestRefused;

/// A resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Healthz,
    Readyz,
    Metrics,
    Index,
    Events,
    Batch,
    Raw { event_type: String },
    Event { id: String },
    EventReplay { id: String },
    Endpoints,
    Endpoint { name: String },
    EndpointPause { name: String },
    EndpointResume { name: String },
    EndpointPing { name: String },
    EndpointReplay { name: String },
    Reload,
}

/// Who may use a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Anyone,
    Needs(Scope),
}

impl Route {
    /// The resource of a path; `None` where there is none.
    pub(super) fn of(path: &str) -> Result<Option<Self>, Problem> {
        let decode = |part: &str| {
            let decoded = percent_decode(part, false).map(std::borrow::Cow::into_owned);
            decoded.ok_or_else(|| Problem::new(ProblemKind::BadRequest, "the path is not percent-encoded UTF-8"))
        };
        // A type may have slashes of its own.
        if let Some(event_type) = path.strip_prefix("/v1/raw/").filter(|rest| !rest.is_empty()) {
            return Ok(Some(Self::Raw { event_type: decode(event_type)? }));
        }
        let mut parts = path.strip_prefix('/').unwrap_or(path).split('/');
        let parts = [parts.next(), parts.next(), parts.next(), parts.next(), parts.next()];
        if parts[2..].iter().flatten().any(|part| part.is_empty()) {
            return Ok(None);
        }
        Ok(Some(match parts {
            [Some(""), None, ..] => Self::Index,
            [Some("healthz"), None, ..] => Self::Healthz,
            [Some("readyz"), None, ..] => Self::Readyz,
            [Some("metrics"), None, ..] => Self::Metrics,
            [Some("v1"), Some("events"), None, ..] => Self::Events,
            [Some("v1"), Some("events"), Some("batch"), None, _] => Self::Batch,
            [Some("v1"), Some("events"), Some(id), None, _] => Self::Event { id: decode(id)? },
            [Some("v1"), Some("events"), Some(id), Some("replay"), None] => Self::EventReplay { id: decode(id)? },
            [Some("v1"), Some("reload"), None, ..] => Self::Reload,
            [Some("v1"), Some("endpoints"), None, ..] => Self::Endpoints,
            [Some("v1"), Some("endpoints"), Some(name), None, _] => Self::Endpoint { name: decode(name)? },
            [Some("v1"), Some("endpoints"), Some(name), Some(verb), None] => {
                let name = decode(name)?;
                match verb {
                    "pause" => Self::EndpointPause { name },
                    "resume" => Self::EndpointResume { name },
                    "ping" => Self::EndpointPing { name },
                    "replay" => Self::EndpointReplay { name },
                    _ => return Ok(None),
                }
            }
            _ => return Ok(None),
        }))
    }

    /// Who may `GET` (and `HEAD`) and who may `POST`; `None`: nobody.
    pub(super) fn access(&self) -> (Option<Access>, Option<Access>) {
        use Access::{Anyone, Needs};
        match self {
            Self::Healthz => (Some(Anyone), None),
            Self::Readyz | Self::Metrics | Self::Index => (Some(Needs(Scope::Read)), None),
            Self::Events => (Some(Needs(Scope::Read)), Some(Needs(Scope::Send))),
            // "batch" is an id like any other.
            Self::Batch => (Some(Needs(Scope::Read)), Some(Needs(Scope::Send))),
            Self::Raw { .. } => (None, Some(Needs(Scope::Send))),
            Self::Event { .. } | Self::Endpoints | Self::Endpoint { .. } => (Some(Needs(Scope::Read)), None),
            Self::EventReplay { .. }
            | Self::EndpointPause { .. }
            | Self::EndpointResume { .. }
            | Self::EndpointPing { .. }
            | Self::EndpointReplay { .. }
            | Self::Reload => (None, Some(Needs(Scope::Admin))),
        }
    }

    fn is_versioned(&self) -> bool {
        !matches!(self, Self::Healthz | Self::Readyz | Self::Metrics | Self::Index)
    }
}

/// Answers a request, whatever it is.
pub(super) async fn answer<B>(api: Arc<Api>, tracker: TaskTracker, _peer: Arc<Peer>, request: Request<B>) -> Answer
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let head_only = request.method() == Method::HEAD;
    let version = request.version();
    let mut answer = match dispatch(&api, &tracker, request).await {
        Ok(answer) => answer,
        Err(problem) => {
            RequestRefused { kind: problem.kind }.tell(&api.metrics);
            let closes = problem.closes() && version < Version::HTTP_2;
            let mut answer = problem.into_response();
            if closes {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            answer
        }
    };
    if head_only {
        let len = answer.body().size_hint().lower();
        answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(len));
        *answer.body_mut() = Full::default();
    }
    answer
}

async fn dispatch<B>(api: &Arc<Api>, tracker: &TaskTracker, request: Request<B>) -> Result<Answer, Problem>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    guard::admit(request.version(), request.uri(), request.headers())?;
    let path = request.uri().path();
    let Some(route) = Route::of(path)? else {
        let detail = format!("nothing is at {}; GET / names the paths there are", quoted(path));
        return Err(Problem::new(ProblemKind::NotFound, detail));
    };
    let posts = permit(api, &route, request.method(), &request)?;
    if route.is_versioned() {
        health::admit(api, posts)?;
    }
    match route {
        Route::Healthz => Ok(health::healthz(api).await),
        Route::Readyz => Ok(health::readyz(api)),
        Route::Metrics => Ok(health::metrics(api).await),
        Route::Index => Ok(health::index()),
        Route::Events if posts => ingest::post_event(api, request).await,
        Route::Events => events::list(api, request.uri().query()).await,
        Route::Batch if posts => ingest::post_batch(api, request).await,
        Route::Batch => events::show(api, "batch").await,
        Route::Raw { event_type } => ingest::post_raw(api, &event_type, request).await,
        Route::Event { id } => events::show(api, &id).await,
        Route::EventReplay { id } => events::replay(api, &id, request).await,
        Route::Endpoints => endpoints::list(api).await,
        Route::Endpoint { name } => endpoints::show(api, &name).await,
        Route::EndpointPause { name } => endpoints::pause(api, &name).await,
        Route::EndpointResume { name } => endpoints::resume(api, &name).await,
        Route::EndpointPing { name } => endpoints::ping(api, &name).await,
        Route::EndpointReplay { name } => backfill::replay(api, tracker, &name, request).await,
        Route::Reload => reload::reload(api).await,
    }
}

/// Whether the request may use its method here; `true` where that is `POST`.
fn permit<B>(api: &Api, route: &Route, method: &Method, request: &Request<B>) -> Result<bool, Problem> {
    let (get, post) = route.access();
    let (access, posts) = match *method {
        Method::GET | Method::HEAD => (get, false),
        Method::POST => (post, true),
        _ => (None, false),
    };
    let Some(access) = access else {
        let allow = match (get, post) {
            (Some(_), Some(_)) => "GET, HEAD, POST",
            (Some(_), None) => "GET, HEAD",
            _ => "POST",
        };
        let detail = format!("{method} is not allowed here; allowed are: {allow}");
        let mut problem = Problem::new(ProblemKind::MethodNotAllowed, detail);
        problem.allow = Some(allow);
        return Err(problem);
    };
    if let Access::Needs(scope) = access {
        api.tokens.permit(request.headers().get(AUTHORIZATION), scope)?;
    }
    Ok(posts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_resources() {
        let id = |id: &str| id.to_owned();
        let table = [
            ("/", Some(Route::Index)),
            ("/healthz", Some(Route::Healthz)),
            ("/readyz", Some(Route::Readyz)),
            ("/metrics", Some(Route::Metrics)),
            ("/v1/events", Some(Route::Events)),
            ("/v1/events/batch", Some(Route::Batch)),
            ("/v1/events/a%2Fb%3F", Some(Route::Event { id: id("a/b?") })),
            ("/v1/events/batch/replay", Some(Route::EventReplay { id: id("batch") })),
            ("/v1/raw/orders/create", Some(Route::Raw { event_type: id("orders/create") })),
            ("/v1/raw/orders%2Fcreate", Some(Route::Raw { event_type: id("orders/create") })),
            ("/v1/endpoints", Some(Route::Endpoints)),
            ("/v1/endpoints/billing", Some(Route::Endpoint { name: id("billing") })),
            ("/v1/endpoints/billing/pause", Some(Route::EndpointPause { name: id("billing") })),
            ("/v1/endpoints/billing/resume", Some(Route::EndpointResume { name: id("billing") })),
            ("/v1/endpoints/billing/ping", Some(Route::EndpointPing { name: id("billing") })),
            ("/v1/endpoints/billing/replay", Some(Route::EndpointReplay { name: id("billing") })),
            ("/v1/reload", Some(Route::Reload)),
            ("/v1/reload/x", None),
            ("/v1/endpoints/billing/delete", None),
            ("/v1/endpoints/billing/ping/x", None),
            ("/v1/events/", None),
            ("/v1/events//replay", None),
            ("/v1/events/a/b", None),
            ("/v1/events/a/replay/b", None),
            ("/v1/raw/", None),
            ("/v1/raw", None),
            ("/v1", None),
            ("/v2/events", None),
            ("/healthz/x", None),
            ("//", None),
            ("/v1/stream", None),
            ("*", None),
        ];
        for (path, expected) in table {
            assert_eq!(Route::of(path).unwrap(), expected, "{path}");
        }
        assert_eq!(Route::of("/v1/events/%zz").unwrap_err().kind, ProblemKind::BadRequest);
        assert_eq!(Route::of("/v1/raw/%ff").unwrap_err().kind, ProblemKind::BadRequest);
    }

    #[test]
    fn only_the_health_check_is_open_and_only_operators_change_things() {
        let access = |path: &str| Route::of(path).unwrap().unwrap().access();
        assert_eq!(access("/healthz").0, Some(Access::Anyone));
        for path in ["/", "/readyz", "/metrics", "/v1/events", "/v1/events/x", "/v1/endpoints", "/v1/endpoints/x"] {
            assert_eq!(access(path).0, Some(Access::Needs(Scope::Read)), "{path}");
        }
        for path in ["/v1/events", "/v1/events/batch", "/v1/raw/x"] {
            assert_eq!(access(path).1, Some(Access::Needs(Scope::Send)), "{path}");
        }
        for path in [
            "/v1/events/x/replay",
            "/v1/endpoints/x/pause",
            "/v1/endpoints/x/resume",
            "/v1/endpoints/x/ping",
            "/v1/reload",
        ] {
            assert_eq!(access(path), (None, Some(Access::Needs(Scope::Admin))), "{path}");
        }
    }
}
