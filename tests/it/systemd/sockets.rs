//! Sockets that are handed over: served, kept over restarts, and refused where nobody should be served on them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Manager, have};
use crate::kit::{Client, Daemon, Receiver, SOON, Setup, binary, eventually, within};

const WAIT: Duration = Duration::from_secs(10);

fn tcp(at: &str) -> (TcpListener, String) {
    let listener = TcpListener::bind(at).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// Starts a daemon with sockets and waits until it is ready; what it said then.
fn start(daemon: &mut Daemon, names: &str, sockets: Vec<OwnedFd>) -> Manager {
    let manager = Manager::new();
    daemon.spawn_with_sockets(names, sockets, &[("NOTIFY_SOCKET", &manager.place())]);
    manager.until("READY=1, or the end", |told| told.says("READY=1") || told.status().starts_with("the start failed"));
    manager
}

/// Starts a daemon that must not start, and gives what it said.
#[track_caller]
fn refused(setup: Setup, names: &str, sockets: Vec<OwnedFd>) -> String {
    let (mut daemon, manager) = (setup.prepare(), Manager::new());
    daemon.spawn_with_sockets(names, sockets, &[("NOTIFY_SOCKET", &manager.place())]);
    assert_eq!(daemon.wait(WAIT).code(), Some(2), "{}", daemon.log());
    let status = manager.next_within(WAIT).expect("it says why").status().to_owned();
    assert!(status.starts_with("the start failed: "), "{status}");
    daemon.log()
}

#[test]
fn every_socket_for_the_api_is_served_in_the_place_of_the_one_in_the_config() {
    let mut daemon = Setup::new().prepare();
    let (on_tcp, address) = tcp("127.0.0.1:0");
    let path = daemon.dir().join("api.sock");
    let on_unix = UnixListener::bind(&path).unwrap();
    let _manager = start(&mut daemon, "api:api", vec![on_tcp.into(), on_unix.into()]);
    for client in [Client::tcp(&address), Client::unix(&path)] {
        client.get("/readyz").expect(200);
    }
    assert!(TcpStream::connect(daemon.listen()).is_err(), "nobody listens where the config says");
    let ready = daemon.log().lines().find(|line| line.contains("ready")).unwrap_or_default().to_owned();
    assert!(ready.contains(&format!("http://{address}, unix:{}", path.display())), "{ready}");
    assert!(daemon.stop().success());
    assert!(path.exists(), "the file of a socket belongs to who made it");
}

#[test]
fn who_connects_while_the_daemon_restarts_is_served_afterwards() {
    let receiver = Receiver::start();
    let mut daemon = Setup::new().endpoint("app", &receiver.url("/"), "").prepare();
    let (kept, address) = tcp("127.0.0.1:0");
    let handed = || vec![OwnedFd::from(kept.try_clone().unwrap())];
    start(&mut daemon, "api", handed());
    assert!(daemon.stop().success());
    let mut stream = TcpStream::connect(&address).expect("systemd listens");
    let body = r#"{"type":"a","data":"patient"}"#;
    let request = format!(
        "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    start(&mut daemon, "api", handed());
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    receiver.wait(1);
    assert!(daemon.stop().success());
}

#[test]
fn a_socket_that_other_machines_reach_is_refused_without_tokens_at_the_start_and_at_a_reload() {
    for at in ["0.0.0.0:0", "[::]:0"] {
        let log = refused(Setup::new(), "api", vec![tcp(at).0.into()]);
        assert!(log.contains("can be reached by other machines") && log.contains("token.NAME"), "{log}");
    }
    // One of several is enough.
    let log = refused(Setup::new(), "api:api", vec![tcp("127.0.0.1:0").0.into(), tcp("0.0.0.0:0").0.into()]);
    assert!(log.contains("can be reached by other machines"), "{log}");

    let token = "token.ops = { secret = \"0123456789abcdef\", scope = \"admin\" }";
    let mut daemon = Setup::new().api(token).prepare();
    let (public, address) = tcp("0.0.0.0:0");
    start(&mut daemon, "api", vec![public.into()]);
    let client = Client::tcp(address.replace("0.0.0.0", "127.0.0.1"));
    client.get("/readyz").problem(401);
    let client = client.with_token("0123456789abcdef");
    client.get("/readyz").expect(200);
    // The config names a loopback address, where no token is needed.
    let config = std::fs::read_to_string(daemon.config()).unwrap();
    std::fs::write(daemon.config(), config.replace(token, "")).unwrap();
    let problem = client.post("/v1/reload", "").problem(422);
    assert!(problem["errors"][0]["detail"].as_str().unwrap().contains("has no token any more"), "{problem}");
    client.get("/readyz").expect(200);
    Client::tcp(address.replace("0.0.0.0", "127.0.0.1")).get("/readyz").problem(401);
}

#[test]
fn what_is_no_listening_stream_socket_is_refused_with_what_to_do() {
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let log = refused(Setup::new(), "api", vec![datagrams.into()]);
    assert!(
        log.contains("\"api\" (descriptor 3) is no TCP or unix stream socket") && log.contains("ListenStream="),
        "{log}"
    );
    let file = tempfile::tempfile().unwrap();
    let log = refused(Setup::new(), "api", vec![file.into()]);
    assert!(log.contains("is no TCP or unix stream socket"), "{log}");
    let (one, _other) = UnixStream::pair().unwrap();
    let log = refused(Setup::new(), "api", vec![one.into()]);
    assert!(log.contains("does not listen") && log.contains("Accept=no"), "{log}");
    let log = refused(Setup::new(), "webhookd.socket", vec![tcp("127.0.0.1:0").0.into()]);
    assert!(log.contains("\"webhookd.socket\"") && log.contains("FileDescriptorName=api"), "{log}");
}

const SOURCE: &str = "verify = { scheme = \"none\" }";

#[test]
fn a_socket_for_third_parties_takes_the_place_of_listen_with_a_source_or_without() {
    for setup in [Setup::new(), Setup::new().inbound(""), Setup::new().source("app", SOURCE)] {
        let mut daemon = setup.prepare();
        // Anybody may reach it: whoever posts is verified.
        let (public, address) = tcp("0.0.0.0:0");
        let on_unix = UnixListener::bind(daemon.dir().join("inbound.sock")).unwrap();
        let unix = Client::unix(daemon.dir().join("inbound.sock"));
        start(&mut daemon, "inbound:inbound", vec![public.into(), on_unix.into()]);
        daemon.client().get("/readyz").expect(200);
        let clients = [Client::tcp(address.replace("0.0.0.0", "127.0.0.1")), unix];
        let has_source = daemon.client().get("/metrics").text().contains("source=\"app\"");
        for client in &clients {
            client.get("/readyz").problem(404);
            assert_eq!(client.post("/in/app", "{}").status, if has_source { 200 } else { 404 });
        }
        let ready = daemon.log().lines().find(|line| line.contains(" ready ")).unwrap_or_default().to_owned();
        assert!(ready.contains(&format!("http://{address}, unix:")), "{ready}");
        // A source that comes is served at once, for somebody listens.
        let config = std::fs::read_to_string(daemon.config()).unwrap();
        std::fs::write(daemon.config(), format!("{config}\n[source.next]\n{SOURCE}\n")).unwrap();
        let answer = daemon.client().post("/v1/reload", "").expect(200).json();
        assert_eq!(answer["needs_restart"], serde_json::json!([]), "{answer}");
        clients.iter().for_each(|client| drop(client.post("/in/next", "{}").expect(200)));
        assert!(daemon.stop().success());
    }
}

#[test]
fn nobody_listens_at_the_place_of_the_config_where_a_socket_is_handed_over() {
    let mut daemon = Setup::new().source("app", SOURCE).prepare();
    let (api, api_address) = tcp("127.0.0.1:0");
    let (inbound, address) = tcp("127.0.0.1:0");
    start(&mut daemon, "inbound:api", vec![inbound.into(), api.into()]);
    for unheard in [daemon.listen(), daemon.inbound().address()] {
        assert!(TcpStream::connect(unheard).is_err(), "{unheard}");
    }
    Client::tcp(&api_address).get("/readyz").expect(200);
    Client::tcp(&api_address).post("/in/app", "{}").problem(404);
    Client::tcp(&address).post("/in/app", "{}").expect(200);
}

#[test]
fn third_parties_that_post_while_the_daemon_restarts_are_acknowledged_afterwards() {
    let receiver = Receiver::start();
    let mut daemon = Setup::new().endpoint("app", &receiver.url("/"), "").source("app", SOURCE).prepare();
    let (kept, address) = tcp("127.0.0.1:0");
    let handed = || vec![OwnedFd::from(kept.try_clone().unwrap())];
    start(&mut daemon, "inbound", handed());
    assert!(daemon.stop().success());
    let request = "POST /in/app HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
    let patient = || {
        let mut stream = TcpStream::connect(&address).expect("systemd listens");
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    };
    let waiting: Vec<TcpStream> = (0..10).map(|_| patient()).collect();
    start(&mut daemon, "inbound", handed());
    for mut stream in waiting {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    receiver.wait(10);
    assert!(daemon.stop().success());
}

#[test]
fn the_daemon_never_delivers_to_a_socket_that_was_handed_to_it() {
    for name in ["api", "inbound"] {
        let (own, address) = tcp("127.0.0.1:0");
        let mut daemon = Setup::new().endpoint("self", &format!("http://{address}/v1/raw/a"), "retry = []").prepare();
        start(&mut daemon, name, vec![own.into()]);
        let client = if name == "api" { Client::tcp(&address) } else { daemon.client().clone() };
        let id = client.event("a", "1");
        let delivery = client.await_state(&id, "self", "dead");
        assert_eq!(delivery["attempts"][0]["error"], "address_refused", "{delivery}");
    }
}

#[test]
fn commands_find_the_daemon_by_its_config_where_that_names_the_same_socket() {
    let mut daemon = Setup::new().listen("unix:api.sock").prepare();
    let on_unix = UnixListener::bind(daemon.dir().join("api.sock")).unwrap();
    start(&mut daemon, "api", vec![on_unix.into()]);
    let reload = Command::new(binary()).args(["reload", "--config"]).arg(daemon.config()).output().unwrap();
    assert!(reload.status.success(), "{reload:?}");
}

#[test]
fn sockets_of_another_process_are_not_taken() {
    let mut daemon = Setup::new().prepare();
    daemon.run_with(&[("LISTEN_FDS", "1"), ("LISTEN_PID", "1"), ("LISTEN_FDNAMES", "api")]);
    assert!(daemon.stop().success());
}

#[test]
fn systemd_s_own_tool_hands_a_socket_over() {
    if !have("systemd-socket-activate", "systemd") {
        return;
    }
    let daemon = Setup::new().prepare();
    let path = daemon.dir().join("api.sock");
    let mut tool = Command::new("systemd-socket-activate")
        .arg("--listen")
        .arg(&path)
        .args(["--fdname=api", binary(), "run", "--config"])
        .arg(daemon.config())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("it listens", || path.exists().then_some(()));
    // The first one to connect starts it, and is served as well.
    let ready = within(SOON, "the daemon is ready", || {
        let reply = Client::unix(&path).try_send("GET", "/readyz", &[], "");
        reply.ok().filter(|reply| reply.status == 200)
    });
    assert_eq!(ready.json()["status"], "ready");
    tool.kill().unwrap();
    tool.wait().unwrap();
}
