//! The options of every command that talks to a running daemon.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Args;
use hyper::header::HeaderValue;
use zeroize::Zeroizing;

use super::client::{Address, Api};
use super::failure::Failure;
use super::tls::{self, Trust};
use crate::limits;

/// Where the daemon answers when nothing says otherwise: the default of `[api] listen`.
const API_DEFAULT: &str = "127.0.0.1:8400";
/// The variable that is asked where neither --api nor --config is given: what is typed counts more than what was set
/// for the whole session.
const API_VARIABLE: &str = "WEBHOOKD_API";
/// The variable that names the authority to trust where neither --ca nor a config does.
const CA_VARIABLE: &str = "WEBHOOKD_CA";

#[derive(Debug, Args)]
#[command(next_help_heading = "Daemon")]
pub(super) struct ApiArgs {
    /// Where the daemon answers: http://HOST:PORT, https://HOST:PORT or unix:/PATH [default: the `[api]` of --config, else
    /// $WEBHOOKD_API, else http://127.0.0.1:8400]
    #[arg(long, value_name = "URL", value_parser = Address::parse)]
    api: Option<Address>,

    /// The daemon's config file, to learn its address and its certificate from
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// A file with the API token, where the daemon asks for one
    #[arg(long, value_name = "FILE", env = "WEBHOOKD_TOKEN_FILE")]
    token_file: Option<PathBuf>,

    /// A PEM file with the authorities to trust for https [default: the certificate in the `[api]` of --config, else
    /// $WEBHOOKD_CA, else the usual ones]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// A PEM file with the client certificate to show, where the daemon asks for one
    #[arg(long, value_name = "FILE", requires = "cert_key")]
    cert: Option<PathBuf>,

    /// A PEM file with the private key of --cert
    #[arg(long, value_name = "FILE", requires = "cert")]
    cert_key: Option<PathBuf>,
}

/// What a config says of how to reach its daemon.
#[derive(Debug)]
struct InConfig {
    address: Address,
    /// The certificate that it shows.
    cert: Option<PathBuf>,
}

impl ApiArgs {
    /// The client that these options describe.
    pub(super) fn connect(&self) -> Result<Api, Failure> {
        let mut cert = None;
        let address = match (&self.api, &self.config) {
            (Some(address), _) => address.clone(),
            (None, Some(file)) => {
                let found = address_in(file)?;
                cert = found.cert;
                found.address
            }
            (None, None) => match std::env::var(API_VARIABLE).ok().filter(|text| !text.is_empty()) {
                Some(text) => Address::parse(&text)
                    .map_err(|why| Failure::usage(format!("{API_VARIABLE} is {text:?}, which is no address: {why}")))?,
                None => listening(API_DEFAULT).map_err(Failure::usage)?,
            },
        };
        let bearer = self.token_file.as_deref().map(bearer).transpose()?;
        let is_https = matches!(address, Address::Https { .. });
        if !is_https && (self.ca.is_some() || self.cert.is_some()) {
            return Err(Failure::usage(format!("--ca and --cert are for https, and the address is {address}")));
        }
        let api = Api::new(address, bearer);
        if !is_https {
            return Ok(api);
        }
        let from_environment = || std::env::var_os(CA_VARIABLE).filter(|text| !text.is_empty()).map(PathBuf::from);
        let trust = match (&self.ca, cert) {
            (Some(ca), _) => Trust::authorities(ca)?,
            (None, Some(cert)) => Trust::exactly(&cert)?,
            (None, None) => from_environment().map_or(Ok(Trust::Usual), |ca| Trust::authorities(&ca))?,
        };
        let identity = match (&self.cert, &self.cert_key) {
            (Some(cert), Some(key)) => Some(tls::identity(cert, key)?),
            _ => None,
        };
        Ok(api.with_tls(trust.settings(identity)?))
    }
}

/// Reads `[api] listen` and `tls` alone: whoever may talk to the daemon need not be able to read its secrets, so the config is not
/// checked as a whole here.
fn address_in(file: &Path) -> Result<InConfig, Failure> {
    let shown = file.display();
    let text =
        fs::read_to_string(file).map_err(|error| Failure::usage(format!("{shown} could not be read: {error}")))?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        Failure::usage(format!(
            "{shown} is no valid TOML: {}; `webhookd check --config {shown}` says more",
            error.message()
        ))
    })?;
    let listen = table.get("api").and_then(|api| api.get("listen"));
    let listen = listen.map_or(Some(API_DEFAULT), toml::Value::as_str);
    let wrong = |why: String| Failure::usage(format!("`api.listen` in {shown} is no address: {why}"));
    let address = listening(listen.ok_or_else(|| wrong("it must be a text".to_owned()))?).map_err(wrong)?;
    let tls = table.get("api").and_then(|api| api.get("tls"));
    match (address, tls) {
        (Address::Http { authority }, Some(tls)) => {
            let folder = file.parent().unwrap_or(Path::new(""));
            let cert = tls.get("cert").and_then(toml::Value::as_str).map(|cert| folder.join(cert));
            Ok(InConfig { address: Address::Https { authority }, cert })
        }
        (address, _) => Ok(InConfig { address, cert: None }),
    }
}

/// Where to reach what listens on `listen`: a listener on every address is reached on loopback.
fn listening(listen: &str) -> Result<Address, String> {
    let Ok(mut address) = listen.parse::<SocketAddr>() else {
        return Address::parse(listen);
    };
    if address.port() == 0 {
        return Err("it asks for any free port: name the one in use with --api".to_owned());
    }
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    Ok(Address::Http { authority: address.to_string() })
}

fn bearer(file: &Path) -> Result<HeaderValue, Failure> {
    let shown = file.display();
    let wrong = |why: &str| Failure::usage(format!("the token file {shown} {why}"));
    let token = fs::read_to_string(file).map_err(|error| wrong(&format!("could not be read: {error}")))?;
    let token = Zeroizing::new(token);
    let token = token.trim();
    if token.is_empty() {
        return Err(wrong("is empty"));
    }
    if token.len() > limits::SECRET_BYTES_MAX {
        return Err(wrong(&format!("holds more than {} bytes", limits::SECRET_BYTES_MAX)));
    }
    let mut value = HeaderValue::from_str(&Zeroizing::new(format!("Bearer {token}")))
        .map_err(|_| wrong("holds characters that a token cannot have: it must be one line"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(config: &str) -> Result<String, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("webhookd.toml");
        fs::write(&file, config).unwrap();
        address_in(&file).map(|found| found.address.to_string()).map_err(|failure| failure.message().unwrap())
    }

    #[test]
    fn the_config_says_where_the_daemon_answers() {
        assert_eq!(reached("").unwrap(), "http://127.0.0.1:8400");
        assert_eq!(reached("[api]\nlisten = \"127.0.0.1:9000\"").unwrap(), "http://127.0.0.1:9000");
        assert_eq!(reached("[api]\nlisten = \"0.0.0.0:9000\"").unwrap(), "http://127.0.0.1:9000");
        assert_eq!(reached("[api]\nlisten = \"[::]:9000\"").unwrap(), "http://[::1]:9000");
        assert_eq!(reached("[api]\nlisten = \"unix:/run/a.sock\"").unwrap(), "unix:/run/a.sock");
        let tls = "tls = { cert = \"a.pem\", key = \"a.key\" }";
        assert_eq!(reached(&format!("[api]\n{tls}")).unwrap(), "https://127.0.0.1:8400");
        assert_eq!(reached(&format!("[api]\nlisten = \"[::]:9000\"\n{tls}")).unwrap(), "https://[::1]:9000");
    }

    #[test]
    fn a_config_that_does_not_say_is_named() {
        for (config, why) in [
            ("[api", "is no valid TOML"),
            ("[api]\nlisten = 8400", "must be a text"),
            ("[api]\nlisten = \"127.0.0.1:0\"", "any free port"),
        ] {
            let message = reached(config).unwrap_err();
            assert!(message.contains(why) && message.contains("webhookd.toml"), "{message}");
        }
        assert_eq!(address_in(Path::new("/nonexistent.toml")).unwrap_err().code(), 2);
    }

    #[test]
    fn a_token_is_one_line_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        fs::write(&file, "t0ken\n").unwrap();
        let value = bearer(&file).unwrap();
        assert_eq!(value.as_bytes(), b"Bearer t0ken");
        assert!(!format!("{value:?}").contains("t0ken"));
        for bad in ["", " \n", "two\nlines"] {
            fs::write(&file, bad).unwrap();
            assert!(bearer(&file).is_err(), "{bad:?}");
        }
    }
}
