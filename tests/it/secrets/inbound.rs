//! What third parties post, and the secrets that they are verified with.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{PAYLOAD, Scene};
use crate::kit::{Reply, Setup};

const HMAC: &str = "source-hmac-secret-1f0d7";
const NEXT: &str = "source-rotated-secret-52ae";
const TOKEN: &str = "source-token-secret-b94c1";
const PASSWORD: &str = "source-password-secret-e3";
const VERIFY_TOKEN: &str = "source-verify-token-7d60";
/// What somebody sends who does not know.
const WRONG: &str = "source-wrong-secret-0c8a";
/// A fixed secret in a header of its own, which is kept with the event as all such headers are: the app may check it.
const GITLAB: &str = "source-gitlab-secret-9ab2";

/// None of these may be written anywhere.
pub(super) const SECRETS: [(&str, &str); 6] = [
    ("the HMAC secret of a source", HMAC),
    ("the second secret of a source", NEXT),
    ("the token of a source", TOKEN),
    ("the password of a source", PASSWORD),
    ("the verify_token of a source", VERIFY_TOKEN),
    ("the wrong secret of a third party", WRONG),
];
/// This one may be in the outbox.
pub(super) const KEPT: (&str, &str) = ("the GitLab token of a source", GITLAB);

/// Sources with a secret in every way.
pub(super) fn sources(setup: Setup) -> Setup {
    let verify = |options: &str| format!("verify = {{ {options} }}");
    setup
        .source("github", &verify(&format!("scheme = \"github\", secret = [\"{NEXT}\", \"{HMAC}\"]")))
        .source("token", &verify(&format!("scheme = \"token\", secret = \"{TOKEN}\"")))
        .source("basic", &verify(&format!("scheme = \"basic\", username = \"me\", secret = \"{PASSWORD}\"")))
        .source("gitlab", &verify(&format!("scheme = \"gitlab\", secret = \"{GITLAB}\"")))
        .source("meta", &format!("{}\nverify_token = \"{VERIFY_TOKEN}\"", verify("scheme = \"none\"")))
        .source("paced", &format!("{}\nrate_limit = {{ rate = \"1/h\", burst = 1 }}", verify("scheme = \"none\"")))
}

impl Scene {
    fn from_outside(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let client = self.daemon.inbound().clone();
        self.ask(&client, method, path, headers, body)
    }

    /// Requests that are taken, and for each one that is not.
    pub(super) fn drive_inbound(&mut self) {
        let body = format!("{{\"type\":\"t\",\"card\":\"{PAYLOAD}\"}}");
        let mut mac = Hmac::<Sha256>::new_from_slice(HMAC.as_bytes()).unwrap();
        mac.update(body.as_bytes());
        let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
        let bearer = |token: &str| format!("Bearer {token}");
        let basic = |password: &str| format!("Basic {}", STANDARD.encode(format!("me:{password}")));
        for (path, header, right, wrong) in [
            ("/in/github", "x-hub-signature-256", signature, format!("sha256={WRONG}")),
            ("/in/token", "authorization", bearer(TOKEN), bearer(WRONG)),
            ("/in/basic", "authorization", basic(PASSWORD), basic(WRONG)),
            ("/in/gitlab", "x-gitlab-token", GITLAB.to_owned(), WRONG.to_owned()),
        ] {
            for id in ["one", "one", "two"] {
                let headers = [("content-type", "application/json"), ("x-github-delivery", id), (header, &right)];
                self.from_outside("POST", path, &headers, &body).expect(200);
            }
            self.from_outside("POST", path, &[(header, &wrong)], &body).problem(401);
            self.from_outside("POST", path, &[(header, &wrong), (header, &right)], &body).problem(401);
            self.from_outside("POST", path, &[], &body).problem(401);
        }
        for (token, status) in [(VERIFY_TOKEN, 200), (WRONG, 403)] {
            let path = format!("/in/meta?hub.mode=subscribe&hub.challenge=1&hub.verify_token={token}");
            let path_shown = format!("/in/meta with {status}");
            let reply = self.daemon.inbound().get(&path).expect(status);
            self.keep(&path_shown, &reply);
        }
        self.from_outside("POST", "/in/paced", &[], &body).expect(200);
        self.from_outside("POST", "/in/paced", &[], &body).problem(429);
        self.from_outside("POST", "/in/nobody", &[("authorization", WRONG)], &body).problem(404);
        self.from_outside("PUT", "/in/token", &[("authorization", TOKEN)], &body).problem(405);
        self.from_outside("POST", "/in/github", &[("content-encoding", PAYLOAD)], &body).problem(415);
    }
}
