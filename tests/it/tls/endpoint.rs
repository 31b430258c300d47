//! TLS towards an endpoint that `openssl s_server` plays: it wants a certificate of its own authority.

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use super::{Authority, text};
use crate::kit::{Setup, eventually, free_port};

/// A server that asks for a certificate, shows what it gets, and answers what it is told to.
struct Server {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Server {
    fn start(dir: &std::path::Path, port: u16) -> Self {
        let mut child = Command::new("openssl")
            .args(["s_server", "-accept", &format!("127.0.0.1:{port}"), "-cert", "server.pem", "-key", "server.key"])
            .args(["-CAfile", "clients.pem", "-Verify", "2", "-verify_return_error", "-no_ticket"])
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is installed");
        let said = Arc::new(Mutex::new(String::new()));
        let (mut stdout, heard) = (child.stdout.take().unwrap(), Arc::clone(&said));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len) = stdout.read(&mut buffer) {
                if len == 0 {
                    return;
                }
                heard.lock().unwrap().push_str(&text(&buffer[..len]));
            }
        });
        let server = Self { child, said };
        eventually("the server listens", || server.said().contains("ACCEPT").then_some(()));
        server
    }

    fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    fn say(&mut self, answer: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(answer.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_openssl_server_takes_the_right_client_certificate_and_no_other() {
    let (root, clients) = (Authority::new("root"), Authority::new("clients"));
    let port = free_port();
    let url = format!("https://localhost:{port}/hook");
    let tls = |ca: &str, cert: &str| format!("tls = {{ ca = \"{ca}\", cert = \"{cert}.pem\", key = \"{cert}.key\" }}");
    let once = "retry = []\n";
    let mut daemon = Setup::new()
        .endpoint("right", &url, &format!("events = [\"right\"]\n{once}{}", tls("root.pem", "client")))
        .endpoint("stranger", &url, &format!("events = [\"stranger\"]\n{once}{}", tls("root.pem", "stranger")))
        .endpoint("none", &url, &format!("events = [\"none\"]\n{once}tls = {{ ca = \"root.pem\" }}"))
        .endpoint("distrusts", &url, &format!("events = [\"distrusts\"]\n{once}{}", tls("clients.pem", "client")))
        .prepare();
    let dir = daemon.dir().to_owned();
    root.server().write(&dir, "server.pem", "server.key");
    clients.issue(&["webhookd"], |_| {}).write(&dir, "client.pem", "client.key");
    root.issue(&["stranger"], |_| {}).write(&dir, "stranger.pem", "stranger.key");
    fs::write(dir.join("root.pem"), root.pem()).unwrap();
    fs::write(dir.join("clients.pem"), clients.pem()).unwrap();
    let mut server = Server::start(&dir, port);
    daemon.run();
    for wrong in ["stranger", "none", "distrusts"] {
        let id = daemon.client().event(wrong, "1");
        let delivery = daemon.client().await_state(&id, wrong, "dead");
        assert_eq!(delivery["attempts"][0]["error"], "tls", "{wrong}: {delivery}");
        assert!(!server.said().contains("webhook-id"), "{wrong}");
    }
    let id = daemon.client().event("right", "1");
    eventually("the request has come", || server.said().contains(&format!("webhook-id: {id}")).then_some(()));
    server.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    daemon.client().await_state(&id, "right", "delivered");
    assert!(server.said().contains("CN = webhookd") || server.said().contains("CN=webhookd"), "{}", server.said());
}
