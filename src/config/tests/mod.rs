//! What is taken, what is refused and where, what is never shown, what a change changes, and the example file.

mod accepted;
mod change;
mod example;
mod refused;
mod secrecy;
mod sources;
mod tls;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Config, ConfigErrors};
use crate::clock::UnixMs;

/// A secret that every scheme takes.
const WHSEC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A folder with what a config may name, and an environment.
struct Place {
    dir: tempfile::TempDir,
    env: BTreeMap<String, OsString>,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), env: BTreeMap::new() }
    }

    /// A file that its owner alone may read.
    fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    /// A client certificate with its key, and a CA.
    fn with_pem(self) -> Self {
        let client = rcgen::generate_simple_self_signed(["client.example.com".to_owned()]).unwrap();
        let ca = rcgen::generate_simple_self_signed(["ca.example.com".to_owned()]).unwrap();
        self.file("client.pem", client.cert.pem())
            .file("client.key", client.signing_key.serialize_pem())
            .file("ca.pem", ca.cert.pem())
    }

    /// A server's certificate with its key.
    fn with_server_pem(self) -> Self {
        let server = rcgen::generate_simple_self_signed(["hooks.example.com".to_owned()]).unwrap();
        self.file("cert.pem", server.cert.pem()).file("key.pem", server.signing_key.serialize_pem())
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Checks a config at another time.
    fn parse_at(&self, text: &str, now: UnixMs) -> Result<Config, ConfigErrors> {
        Config::parse_at(text, "webhookd.toml", self.path(), &|name| self.env.get(name).cloned(), now)
    }

    fn parse(&self, text: &str) -> Result<Config, ConfigErrors> {
        Config::parse(text, "webhookd.toml", self.path(), &|name| self.env.get(name).cloned())
    }
}

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Place::new().parse(text)
}

/// The errors of a config, one a line, without the file's name.
fn faults(text: &str) -> Vec<String> {
    faults_at(&Place::new(), text)
}

fn faults_at(place: &Place, text: &str) -> Vec<String> {
    let errors = place.parse(text).expect_err("the config has faults");
    errors.to_string().lines().map(|line| line.strip_prefix("webhookd.toml:").unwrap_or(line).to_owned()).collect()
}

/// One endpoint with these lines, at line 4 and on.
fn endpoint(lines: &str) -> String {
    format!("[endpoint.a]\nurl = \"https://a.example.com/\"\nsecret = \"{WHSEC}\"\n{lines}\n")
}
