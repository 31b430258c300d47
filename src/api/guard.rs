//! Keeps web pages away: one that somebody looks at on this machine must neither post events to the API on loopback nor read
//! what it answers. What a browser says in the headers here, no page can forge.
//!
//! | a page | is told by | and refused |
//! |---|---|---|
//! | posts to another origin (CSRF) | `Origin`, which is not the host that the request is for | 403 |
//! | asks without `Origin`: an image, a script, a frame | `Sec-Fetch-Site` | 403 |
//! | of a name that its owner points to 127.0.0.1 (DNS rebinding) | `Host`, a name that is none of ours | 421 |
//!
//! The second leaves a link to a page of the API's own as it is. The third is for where nothing else keeps strangers out: a page
//! reaches no unix socket, and has no token. Programs send neither `Origin` nor `Sec-Fetch-Site`.
//!
//! No answer has a CORS header, and a preflight request is refused like any other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hyper::header::{HOST, HeaderMap, ORIGIN};
use hyper::{Method, Uri, Version};

use crate::config::HostName;
use crate::front::Listener;
use crate::front::problem::{Problem, ProblemKind, quoted};

const SITE: &str = "sec-fetch-site";
const MODE: &str = "sec-fetch-mode";
const DEST: &str = "sec-fetch-dest";

/// Where a listener really listens: the one it was handed may stand elsewhere than the config says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListensAt {
    place: Place,
    tls: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Only this machine reaches it, every browser on it too.
    Loopback,
    /// Other machines may reach it.
    Network,
    /// No browser reaches it.
    Unix,
}

impl ListensAt {
    /// Where this one listens, without TLS.
    #[must_use]
    pub fn of(listener: &Listener) -> Self {
        match (listener, listener.tcp_address()) {
            (Listener::Unix(..), _) => Self { place: Place::Unix, tls: false },
            (_, Some(address)) => Self::tcp(address),
            // Nobody knows: then as strict as can be.
            (_, None) => Self { place: Place::Loopback, tls: false },
        }
    }

    /// At a TCP address, without TLS.
    pub(super) fn tcp(address: SocketAddr) -> Self {
        let place = if address.ip().to_canonical().is_loopback() { Place::Loopback } else { Place::Network };
        Self { place, tls: false }
    }

    /// The same, where TLS is spoken on it.
    #[must_use]
    pub fn with_tls(self, tls: bool) -> Self {
        Self { tls, ..self }
    }
}

/// The door that requests come through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Door<'a> {
    /// Where.
    pub(super) at: ListensAt,
    /// Whether a token is needed behind it.
    pub(super) locked: bool,
    /// `[api] hosts`
    pub(super) hosts: &'a [HostName],
}

/// What the guard looks at of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) version: Version,
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
    /// Whether it asks for something that is made to be looked at in a browser.
    pub(super) page: bool,
}

impl Door<'_> {
    /// Lets pass what a program, or a page of the API itself, has sent.
    ///
    /// # Errors
    /// 400 for a request without exactly one host (RFC 9112, section 3.2), 421 for one that is for another host, 403 for one of
    /// another origin.
    pub(super) fn admit(&self, asked: &Asked<'_>) -> Result<(), Problem> {
        let hosts = asked.hosts()?;
        if self.checks_hosts()
            && let Some(other) = hosts.iter().flatten().find(|host| !self.knows(host))
        {
            let detail = format!(
                "the request is for the host {}, which is none of this API's; if it should be one, add its name to hosts in [api]",
                quoted(other)
            );
            return Err(Problem::new(ProblemKind::UnknownHost, detail));
        }
        if asked.is_of_this_site() && self.has_own_origin(asked, &hosts) {
            return Ok(());
        }
        let detail = "the request was sent by another web page; the API is for programs and for its own pages";
        Err(Problem::new(ProblemKind::CrossOrigin, detail))
    }

    fn checks_hosts(&self) -> bool {
        match self.at.place {
            Place::Unix => false,
            Place::Loopback => true,
            Place::Network => !self.locked || !self.hosts.is_empty(),
        }
    }

    /// Whether a host, as it stands in a request, is one of ours. An address is: who wants to have a name point elsewhere
    /// needs a name. A browser writes every spelling of an address (`0x7f.1`, `2130706433`) as four numbers before it asks, so
    /// that the others are names that nobody uses.
    fn knows(&self, host: &str) -> bool {
        let Some(name) = name_of(host) else { return false };
        if is_address(name) || is_localhost(name) {
            return true;
        }
        let name = name.strip_suffix('.').unwrap_or(name);
        self.hosts.iter().any(|known| known.as_str().eq_ignore_ascii_case(name))
    }

    /// Whether each `Origin` is the host that the request is for, under every name that it is given.
    fn has_own_origin(&self, asked: &Asked<'_>, hosts: &[Option<&str>; 2]) -> bool {
        asked.headers.get_all(ORIGIN).iter().all(|origin| {
            let Ok(origin) = origin.to_str() else { return false };
            let mut named = hosts.iter().flatten().peekable();
            named.peek().is_some() && named.all(|host| self.is_same(origin, host))
        })
    }

    fn is_same(&self, origin: &str, host: &str) -> bool {
        let (secure, origin) = match origin.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return false,
        };
        // Where TLS is not spoken here, a proxy may speak it. None does for a name that never leaves this machine.
        let scheme_fits = match self.at {
            ListensAt { tls: true, .. } => secure,
            ListensAt { place: Place::Unix, .. } => true,
            _ => !secure || !name_of(host).is_some_and(is_loopback),
        };
        let port = if secure { ":443" } else { ":80" };
        let bare = |host: &str| host.strip_suffix(port).unwrap_or(host).to_ascii_lowercase();
        scheme_fits && !origin.is_empty() && bare(origin) == bare(host)
    }
}

impl<'a> Asked<'a> {
    /// The hosts that the request is for, as they are written: of its target and of its `Host`. Where the two differ, a
    /// rule holds for both.
    fn hosts(&self) -> Result<[Option<&'a str>; 2], Problem> {
        let target = self.uri.authority().map(hyper::http::uri::Authority::as_str);
        let mut fields = self.headers.get_all(HOST).iter();
        let field = fields.next();
        // HTTP/1.0 knows no Host, and no browser speaks it.
        let missing = match self.version {
            Version::HTTP_09 | Version::HTTP_10 => false,
            Version::HTTP_11 => field.is_none(),
            _ => field.is_none() && target.is_none(),
        };
        if missing || fields.next().is_some() {
            return Err(Problem::new(ProblemKind::BadRequest, "the request must have one Host header"));
        }
        // What is no text is no name.
        Ok([target, field.map(|field| field.to_str().unwrap_or_default())])
    }

    /// Whether it was sent by no page, by one of the same origin, or by a link to a page of ours (W3C Fetch Metadata).
    fn is_of_this_site(&self) -> bool {
        let is = |name: &str, wanted: &[&str]| {
            let mut values = self.headers.get_all(name).iter();
            values.all(|value| wanted.iter().any(|one| one.as_bytes() == value.as_bytes()))
        };
        let is_link = || {
            let navigates = self.headers.contains_key(MODE) && is(MODE, &["navigate"]) && is(DEST, &["document"]);
            self.page && *self.method == Method::GET && navigates
        };
        is(SITE, &["same-origin", "none"]) || is_link()
    }
}

/// The host of `host[:port]`, if it is written as that; an IPv6 address without its brackets.
fn name_of(host: &str) -> Option<&str> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']')?;
            address.parse::<Ipv6Addr>().ok()?;
            (address, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let port_fits = port.is_none_or(|port| port.is_empty() || port.parse::<u16>().is_ok() && !port.starts_with('+'));
    let fits = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'@' | b'/' | b'\\' | b'?' | b'#' | b',' | b'%');
    (port_fits && !name.is_empty() && name.bytes().all(fits)).then_some(name)
}

fn is_address(name: &str) -> bool {
    name.parse::<Ipv4Addr>().is_ok() || name.parse::<Ipv6Addr>().is_ok()
}

/// `localhost` and what stands below it, which no browser asks anybody about (RFC 6761, section 6.3).
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost"
        || name.strip_suffix(".localhost").is_some_and(|rest| rest.split('.').all(|label| !label.is_empty()))
}

fn is_loopback(name: &str) -> bool {
    is_localhost(name) || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests;
