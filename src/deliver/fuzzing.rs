//! The address guard as `crate::fuzzing` sees it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use hyper::Uri;
use url::Host;

use super::guard::{Guard, OwnListeners};
use super::resolve::literal;
use crate::config::Config;

/// An endpoint's URL: what the config takes can be dialled, and its host is judged as the address that it means.
pub fn url_guard(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let quoted = serde_json::Value::from(text).to_string();
    // JSON's escapes are TOML's, but for the characters that TOML wants escaped and JSON does not.
    if text.contains('\u{7f}') {
        return;
    }
    let config = format!("[storage]\ndir = \"/nowhere\"\n[endpoint.a]\nurl = {quoted}\nsign = \"none\"\n");
    let Ok(config) = Config::parse(&config, "fuzzing.toml", Path::new("/nowhere"), &|_| None) else { return };
    let endpoint = config.endpoints.values().next().expect("the config has one endpoint");
    let url = &endpoint.url;

    let uri: Uri = url.as_str().parse().unwrap_or_else(|error| panic!("{url} was taken and is no URI: {error}"));
    let (host, dialled) = (url.host_str().unwrap_or_default(), uri.host().unwrap_or_default());
    assert_eq!(host, dialled, "another host is dialled than was checked");
    let port = uri.port_u16().unwrap_or(if url.scheme() == "https" { 443 } else { 80 });
    assert_eq!(url.port_or_known_default(), Some(port), "another port is dialled than was checked");
    assert_eq!(uri.authority().map(|authority| authority.as_str().contains('@')), Some(false), "{url}");

    let ip = literal(dialled);
    match url.host() {
        Some(Host::Ipv4(v4)) => assert_eq!(ip, Some(IpAddr::V4(v4)), "{url}"),
        Some(Host::Ipv6(v6)) => assert_eq!(ip, Some(IpAddr::V6(v6)), "{url}"),
        Some(Host::Domain(name)) => assert_eq!(ip, None, "{name} is taken for a name and for an address"),
        None => panic!("{url} has no host"),
    }
    let Some(ip) = ip else { return };
    let refused = Guard::new(&[], OwnListeners::default()).judge(SocketAddr::new(ip, port)).is_err();
    assert!(refused || !is_surely_closed(ip), "{ip} would be dialled");
    let own = OwnListeners::from_iter([SocketAddr::new(ip, port)]);
    let everything = ["0.0.0.0/0", "::/0"].map(|net| net.parse().expect("a network"));
    assert!(Guard::new(&everything, own).judge(SocketAddr::new(ip, port)).is_err(), "a listener of our own is dialled");
}

/// What the standard library knows to be no stranger's address; the guard's own list is longer.
fn is_surely_closed(ip: IpAddr) -> bool {
    let closed = |v4: Ipv4Addr| {
        let local = v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.is_unspecified();
        local || v4.is_broadcast() || v4.is_documentation() || v4.is_multicast()
    };
    match ip.to_canonical() {
        IpAddr::V4(v4) => closed(v4),
        IpAddr::V6(v6) => {
            let local = v6.is_loopback() || v6.is_unspecified() || v6.is_unique_local() || v6.is_unicast_link_local();
            local || v6.is_multicast() || v6.to_ipv4().is_some_and(closed)
        }
    }
}
