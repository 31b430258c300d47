//! Requests as GitHub signs them, without the program's own code.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::kit::{Daemon, Reply};

/// The secret that requests are signed with.
pub(super) const SECRET: &str = "It's a Secret to Everybody";

/// The lines of a source that takes them.
pub(super) const SOURCE: &str = "verify = { scheme = \"github\", secret = \"It's a Secret to Everybody\" }";

/// `x-hub-signature-256` of a body.
pub(super) fn signature(body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

/// Posts a signed push with these further headers to `/in/github`.
#[track_caller]
pub(super) fn post(daemon: &Daemon, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    post_to(daemon, "/in/github", headers, body)
}

/// The same to another path.
#[track_caller]
pub(super) fn post_to(daemon: &Daemon, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let signature = signature(body);
    let signed =
        [("content-type", "application/json"), ("x-github-event", "push"), ("x-hub-signature-256", signature.as_str())];
    daemon.inbound().send("POST", path, &[&signed, headers].concat(), body.to_vec())
}
