//! TLS of the listener, met by foreign clients (openssl, curl) and by hand: what is spoken and what is refused, certificates of
//! clients, certificates exchanged under way. And TLS towards an endpoint that a foreign server plays.

mod command_line;
mod doors;
mod endpoint;
mod inbound;
mod lapsed;
mod mutual;
mod probes;
mod swap;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::kit::{Daemon, SOON, Setup, within};

/// The config line of a listener with a certificate.
const TLS: &str = "tls = { cert = \"cert.pem\", key = \"key.pem\" }";
/// The same with client certificates.
const MUTUAL: &str = "tls = { cert = \"cert.pem\", key = \"key.pem\", client_ca = \"clients.pem\" }";

/// An authority of our own.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
struct Issued {
    cert: String,
    key: String,
    der: CertificateDer<'static>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// A certificate for a server on this machine.
    fn server(&self) -> Issued {
        self.issue(&["localhost", "127.0.0.1"], |_| {})
    }

    fn issue(&self, names: &[&str], edit: impl FnOnce(&mut CertificateParams)) -> Issued {
        let mut params = params(names);
        edit(&mut params);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        Issued { cert: cert.pem(), key: key.serialize_pem(), der: cert.der().clone() }
    }
}

fn params(names: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    params.distinguished_name.push(DnType::CommonName, names[0]);
    params
}

impl Issued {
    /// Puts it into two files of a folder.
    fn write(&self, dir: &Path, cert: &str, key: &str) {
        fs::write(dir.join(cert), &self.cert).unwrap();
        fs::write(dir.join(key), &self.key).unwrap();
        private(&dir.join(key));
    }
}

fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A daemon that speaks TLS, its authority, and what it was started with.
struct Secure {
    daemon: Daemon,
    root: Authority,
    issued: Issued,
}

impl Secure {
    fn start() -> Self {
        let root = Authority::new("root");
        let issued = root.server();
        let mut daemon = Setup::new().api(TLS).prepare();
        issued.write(daemon.dir(), "cert.pem", "key.pem");
        fs::write(daemon.dir().join("root.pem"), root.pem()).unwrap();
        run(&mut daemon);
        Self { daemon, root, issued }
    }

    fn port(&self) -> u16 {
        port(&self.daemon)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.daemon.dir().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// curl with the right authority, and what it printed.
    fn curl(&self, arguments: &[&str], path: &str) -> Output {
        curl(&self.daemon, arguments, path)
    }

    /// The value of a metric, 0 where it is not shown yet.
    fn metric(&self, name: &str) -> f64 {
        let metrics = text(&self.curl(&[], "/metrics").stdout);
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// A connection that stays, with the right authority.
    fn connect(&self) -> Kept {
        Kept::open(self.port(), self.root.der(), None).unwrap()
    }
}

/// Starts a daemon and waits until it says that it is ready: its client speaks no TLS.
fn run(daemon: &mut Daemon) {
    let seen = daemon.log().matches("ready").count();
    daemon.spawn(&[]);
    within(SOON, "the daemon is ready", || {
        assert!(daemon.alive(), "the daemon ended:\n{}", daemon.log());
        (daemon.log().matches("ready").count() > seen).then_some(())
    });
}

fn port(daemon: &Daemon) -> u16 {
    daemon.listen().rsplit_once(':').unwrap().1.parse().unwrap()
}

fn curl(daemon: &Daemon, arguments: &[&str], path: &str) -> Output {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "20", "--noproxy", "*", "--cacert"]).arg(daemon.dir().join("root.pem"));
    command.args(arguments).arg(format!("https://localhost:{}{path}", port(daemon)));
    command.args(["--resolve", &format!("localhost:{}:127.0.0.1", port(daemon))]);
    command.output().expect("curl is installed")
}

/// `openssl s_client` towards a port with this on its standard input, which ends then: everything it printed.
fn s_client(port: u16, arguments: &[&str], input: &str) -> Output {
    s_client_until(port, arguments, input, true)
}

/// The same; with an input that does not end, it is the server that ends it.
fn s_client_until(port: u16, arguments: &[&str], input: &str, ends: bool) -> Output {
    let mut command = Command::new("timeout");
    command.args(["20", "openssl", "s_client", "-connect", &format!("127.0.0.1:{port}")]).args(arguments);
    let mut child = command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    // It may be gone already.
    let mut stdin = child.stdin.take();
    let _ = stdin.as_mut().unwrap().write_all(input.as_bytes());
    if ends {
        stdin = None;
    }
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn all(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

/// A connection of TLS on which one request follows another.
struct Kept(StreamOwned<ClientConnection, TcpStream>);

impl Kept {
    fn open(port: u16, root: CertificateDer<'static>, client: Option<&Issued>) -> Result<Self, String> {
        let socket = TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())?;
        Self::over(socket, root, client)
    }

    /// Shakes hands on a connection.
    fn over(mut socket: TcpStream, root: CertificateDer<'static>, client: Option<&Issued>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        roots.add(root).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                use rustls::pki_types::PrivateKeyDer;
                use rustls::pki_types::pem::PemObject;
                let key = PrivateKeyDer::from_pem_slice(client.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![client.der.clone()], key).unwrap()
            }
        };
        let name = ServerName::try_from("localhost").unwrap();
        let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        while connection.is_handshaking() {
            connection.complete_io(&mut socket).map_err(|error| error.to_string())?;
        }
        Ok(Self(StreamOwned::new(connection, socket)))
    }

    /// The certificate that the server showed.
    fn shown(&self) -> CertificateDer<'static> {
        self.0.conn.peer_certificates().unwrap()[0].clone().into_owned()
    }

    /// Asks for a path; the status of the answer.
    fn get(&mut self, path: &str) -> Result<u16, String> {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n"))
    }

    /// Posts `{}` to a path; the status of the answer.
    fn post(&mut self, path: &str) -> Result<u16, String> {
        self.ask(&format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{{}}"))
    }

    fn ask(&mut self, request: &str) -> Result<u16, String> {
        self.0.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
        let mut answer = Vec::new();
        loop {
            let mut buffer = [0; 4096];
            let len = self.0.read(&mut buffer).map_err(|error| error.to_string())?;
            if len == 0 {
                return Err("closed".to_owned());
            }
            answer.extend_from_slice(&buffer[..len]);
            let text = text(&answer);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Ok(head[9..12].parse().unwrap());
            }
        }
    }
}
