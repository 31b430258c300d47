//! The command line over https: whom it trusts, and what it says when it does not.

use std::fs;
use std::process::{Command, Output};

use super::{Authority, MUTUAL, Secure, all, port, run, text};
use crate::kit::command::Background;
use crate::kit::{Setup, binary, free_port};

fn webhookd(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).env_remove("WEBHOOKD_API").env_remove("WEBHOOKD_TOKEN_FILE").env_remove("WEBHOOKD_CA");
    command.envs(environment.iter().copied()).env("NO_COLOR", "1").output().unwrap()
}

#[track_caller]
fn well(arguments: &[&str]) -> String {
    let output = webhookd(arguments, &[]);
    assert!(output.status.success(), "{arguments:?}: {}", all(&output));
    text(&output.stdout)
}

#[track_caller]
fn ill(arguments: &[&str], code: i32, words: &str) {
    let output = webhookd(arguments, &[]);
    let complaint = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {complaint}");
    assert!(complaint.contains(words), "{arguments:?}: {words}\n{complaint}");
}

#[test]
fn the_config_is_enough_to_reach_its_daemon() {
    let secure = Secure::start();
    let config = secure.daemon.config().to_str().unwrap().to_owned();
    assert!(secure.daemon.log().contains(&format!("https://127.0.0.1:{}", secure.port())), "{}", secure.daemon.log());
    assert!(well(&["reload", "--config", &config]).contains("reloaded; nothing has changed"));
    well(&["send", "invoice.paid", "--data", "1", "--config", &config]);
    assert!(well(&["events", "--config", &config]).contains("invoice.paid"));
    assert!(well(&["check", "--config", &config]).contains("listens on https://127.0.0.1"));
    // Another certificate than the one in the config is not trusted, not even one for the same names.
    let other = Authority::new("other").server();
    let beside = secure.daemon.dir().join("other");
    fs::create_dir(&beside).unwrap();
    other.write(&beside, "cert.pem", "key.pem");
    fs::copy(secure.daemon.config(), beside.join("webhookd.toml")).unwrap();
    let elsewhere = beside.join("webhookd.toml");
    ill(&["events", "--config", elsewhere.to_str().unwrap()], 1, "another certificate than the one in the config");
    fs::remove_file(beside.join("cert.pem")).unwrap();
    ill(&["events", "--config", elsewhere.to_str().unwrap()], 2, "cert.pem cannot be read");
}

#[test]
fn an_authority_is_named_or_the_command_says_that_it_should_be() {
    let secure = Secure::start();
    let root = secure.text("root.pem");
    let (named, addressed) =
        (format!("https://localhost:{}", secure.port()), format!("https://127.0.0.1:{}", secure.port()));
    for api in [&named, &addressed] {
        well(&["events", "--api", api, "--ca", &root]);
        assert!(webhookd(&["events", "--api", api], &[("WEBHOOKD_CA", &root)]).status.success());
        assert!(webhookd(&["events", "--ca", &root], &[("WEBHOOKD_API", api)]).status.success());
        ill(&["events", "--api", api], 1, "name that authority's certificate with --ca FILE");
    }
    let other = Authority::new("other");
    fs::write(secure.path("other.pem"), other.pem()).unwrap();
    ill(&["events", "--api", &named, "--ca", &secure.text("other.pem")], 1, "--ca FILE");
    let elsewhere = format!("https://[::ffff:127.0.0.1]:{}", secure.port());
    ill(&["events", "--api", &elsewhere, "--ca", &root], 1, "its certificate is for localhost");
    ill(&["events", "--api", &named, "--ca", &secure.text("none.pem")], 2, "none.pem cannot be read");
    ill(&["events", "--api", &named, "--ca", &secure.text("key.pem")], 2, "holds no certificate");
    ill(&["events", "--api", &format!("http://localhost:{}", secure.port())], 1, "https://");
    ill(&["events", "--api", &format!("http://localhost:{}", secure.port()), "--ca", &root], 2, "are for https");
    let plain = Setup::new().start();
    ill(&["events", "--api", &format!("https://localhost:{}", port(&plain)), "--ca", &root], 1, "is not TLS");
}

#[test]
fn a_client_certificate_is_shown_where_the_daemon_asks_for_one() {
    let (root, clients) = (Authority::new("root"), Authority::new("clients"));
    let mut daemon = Setup::new().api(MUTUAL).prepare();
    root.server().write(daemon.dir(), "cert.pem", "key.pem");
    fs::write(daemon.dir().join("clients.pem"), clients.pem()).unwrap();
    clients.issue(&["operator"], |_| {}).write(daemon.dir(), "client.pem", "client.key");
    root.issue(&["stranger"], |_| {}).write(daemon.dir(), "stranger.pem", "stranger.key");
    run(&mut daemon);
    let path = |name: &str| daemon.dir().join(name).to_str().unwrap().to_owned();
    let config = path("webhookd.toml");
    let with = |name: &str| {
        let (cert, key) = (path(&format!("{name}.pem")), path(&format!("{name}.key")));
        [
            "reload".to_owned(),
            "--config".to_owned(),
            config.clone(),
            "--cert".to_owned(),
            cert,
            "--cert-key".to_owned(),
            key,
        ]
    };
    let client = with("client");
    assert!(well(&client.each_ref().map(String::as_str)).contains("reloaded"));
    ill(&["reload", "--config", &config], 1, "--cert FILE --cert-key FILE");
    let stranger = with("stranger");
    ill(&stranger.each_ref().map(String::as_str), 1, "does not accept the client certificate");
    ill(&["reload", "--config", &config, "--cert", &path("client.pem")], 2, "--cert-key");
    let crossed = ["reload", "--config", &config, "--cert", &path("client.pem"), "--cert-key", &path("stranger.key")];
    ill(&crossed, 2, "does not fit the certificate");
}

#[test]
fn a_request_is_made_and_passed_on_over_https() {
    let secure = Secure::start();
    let (root, url) = (secure.text("root.pem"), format!("https://localhost:{}/v1/raw/signed", secure.port()));
    let sign = ["sign", "--scheme", "github", "--secret", "x", "--post"];
    assert!(well(&[&sign[..], &[&url, "--ca", &root]].concat()).contains("answered 202"));
    ill(&[&sign[..], &[&url]].concat(), 1, "name that authority's certificate with --ca FILE");
    ill(&[&sign[..], &["http://localhost/", "--ca", &root]].concat(), 2, "are for https");
    let port = free_port().to_string();
    let mut listening = Background::start(&["listen", "--port", &port, "--forward", &url, "--ca", &root]);
    assert!(listening.line().contains(&port));
    well(&[&sign[..], &[&format!("http://127.0.0.1:{port}/")]].concat());
    assert!(
        well(&["events", "--api", &format!("https://localhost:{}", secure.port()), "--ca", &root]).contains("signed")
    );
}
