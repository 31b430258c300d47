//! Paths and methods to resources, with the scope that each needs.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body as HttpBody;
use hyper::header::{CONTENT_LENGTH, HOST, HeaderValue, ORIGIN};
use hyper::{Method, Request};
use tokio_util::task::TaskTracker;

use super::guard::{Asked, Door, ListensAt};
use super::query::percent_decode;
use super::{Api, backfill, endpoints, events, health, ingest, reload};
use crate::config::Scope;
use crate::front::Peer;
use crate::front::answer::Answer;
use crate::front::problem::{Problem, ProblemKind, quoted};
use crate::front::tally::RequestRefused;
use crate::observe::audit::{Action, Actor, Entry, Outcome, Refusal};

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

    /// What a request does here.
    fn action(&self, posts: bool) -> Action {
        match self {
            _ if !posts => Action::Read,
            Self::EventReplay { .. } | Self::EndpointReplay { .. } => Action::Replay,
            Self::EndpointPause { .. } => Action::Pause,
            Self::EndpointResume { .. } => Action::Resume,
            Self::EndpointPing { .. } => Action::Ping,
            Self::Reload => Action::Reload,
            _ => Action::Send,
        }
    }

    /// What it does that to: the event or the endpoint, as the client wrote it.
    fn object(&self) -> Option<&str> {
        match self {
            Self::Event { id } | Self::EventReplay { id } => Some(id),
            Self::Endpoint { name }
            | Self::EndpointPause { name }
            | Self::EndpointResume { name }
            | Self::EndpointPing { name }
            | Self::EndpointReplay { name } => Some(name),
            _ => None,
        }
    }

    /// Whether it is made to be looked at in a browser.
    fn is_page(&self) -> bool {
        matches!(self, Self::Index)
    }

    fn is_versioned(&self) -> bool {
        !matches!(self, Self::Healthz | Self::Readyz | Self::Metrics | Self::Index)
    }
}

/// Answers a request, whatever it is.
pub(super) async fn answer<B>(
    api: Arc<Api>,
    at: ListensAt,
    tracker: TaskTracker,
    peer: Arc<Peer>,
    request: Request<B>,
) -> Answer
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let head_only = request.method() == Method::HEAD;
    let version = request.version();
    let mut answer = match dispatch(&api, at, &tracker, &peer, request).await {
        Ok(answer) => answer,
        Err(problem) => {
            RequestRefused { kind: problem.kind }.tell(&api.metrics);
            problem.into_response_to(version)
        }
    };
    if head_only {
        let len = answer.body().size_hint().lower();
        answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(len));
        *answer.body_mut() = Full::default();
    }
    answer
}

async fn dispatch<B>(
    api: &Arc<Api>,
    at: ListensAt,
    tracker: &TaskTracker,
    peer: &Peer,
    request: Request<B>,
) -> Result<Answer, Problem>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let route = Route::of(request.uri().path());
    admit(api, at, peer, route.as_ref().ok().and_then(Option::as_ref), &request)?;
    let Some(route) = route? else {
        let detail = format!("nothing is at {}; GET / names the paths there are", quoted(request.uri().path()));
        return Err(Problem::new(ProblemKind::NotFound, detail));
    };
    let (posts, actor) = permit(api, peer, &route, &request)?;
    let mut act = match route.action(posts) {
        Action::Read | Action::Send | Action::Unknown => None,
        action => Some(api.trail.begin(action, &actor, Some(peer.to_string()), route.object())),
    };
    let result = perform(api, tracker, route, posts, &mut act, request).await;
    if let Some(act) = act {
        act.end(outcome(&result));
    }
    result
}

/// What the audit log says of an answer.
pub(super) fn outcome(result: &Result<Answer, Problem>) -> Outcome {
    match result {
        Ok(answer) => Outcome { word: "ok", status: Some(answer.status().as_u16()) },
        Err(problem) => problem.outcome(),
    }
}

/// Does what is asked. Whoever goes on with it when the client has gone takes `act` along.
async fn perform<B>(
    api: &Arc<Api>,
    tracker: &TaskTracker,
    route: Route,
    posts: bool,
    act: &mut Option<Entry>,
    request: Request<B>,
) -> Result<Answer, Problem>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
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
        Route::EventReplay { id } => events::replay(api, &id, act.as_mut(), request).await,
        Route::Endpoints => endpoints::list(api).await,
        Route::Endpoint { name } => endpoints::show(api, &name).await,
        Route::EndpointPause { name } => endpoints::pause(api, &name).await,
        Route::EndpointResume { name } => endpoints::resume(api, &name).await,
        Route::EndpointPing { name } => endpoints::ping(api, &name).await,
        Route::EndpointReplay { name } => backfill::replay(api, tracker, &name, act, request).await,
        Route::Reload => reload::reload(api, act.take()).await,
    }
}

/// Keeps web pages away, and tells of them.
fn admit<B>(api: &Api, at: ListensAt, peer: &Peer, route: Option<&Route>, request: &Request<B>) -> Result<(), Problem> {
    let (method, uri, headers) = (request.method(), request.uri(), request.headers());
    let door = Door { at, locked: !api.tokens.is_empty(), hosts: &api.config.api.hosts };
    let page = route.is_some_and(Route::is_page);
    let asked = Asked { version: request.version(), method, uri, headers, page };
    let admitted = door.admit(&asked);
    if let Err(problem) = &admitted
        && problem.kind != ProblemKind::BadRequest
    {
        let action = route.map_or(Action::Unknown, |route| route.action(*method == Method::POST));
        let field = if problem.kind == ProblemKind::CrossOrigin { ORIGIN } else { HOST };
        let object = headers.get(field).and_then(|value| value.to_str().ok());
        // Whatever stands before an @ may be a password.
        let object = object.map(|text| text.rsplit('@').next().unwrap_or(text));
        api.trail.refuse(&Refusal { action, actor: &Actor::Anonymous, peer, object, outcome: problem.outcome() });
    }
    admitted
}

/// Whether the request may use its method here, `true` where that is `POST`; and who sends it.
fn permit<B>(api: &Api, peer: &Peer, route: &Route, request: &Request<B>) -> Result<(bool, Actor), Problem> {
    let (get, post) = route.access();
    let method = request.method();
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
    let Access::Needs(scope) = access else { return Ok((posts, Actor::Anonymous)) };
    let permitted = api.tokens.permit(request.headers(), scope);
    permitted.map(|actor| (posts, actor)).map_err(|denied| {
        let problem = denied.problem();
        let (action, object, outcome) = (route.action(posts), route.object(), problem.outcome());
        api.trail.refuse(&Refusal { action, actor: &denied.actor, peer, object, outcome });
        problem
    })
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
