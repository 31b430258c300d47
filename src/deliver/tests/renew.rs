//! A courier whose endpoints change while it works.

use std::sync::Arc;

use hyper::header::{HeaderName, HeaderValue};
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

use super::fixture::{Receiver, Sender, endpoint, raw, read_request, settle};
use super::secure::{Authority, is_tls_failure, ok};
use crate::config::{Endpoint, EndpointTls};
use crate::deliver::CourierError;
use crate::model::text::EndpointName;
use crate::policy::answer::Verdict;
use rustls::pki_types::CertificateDer;

/// An endpoint with the marker in a header of its own.
fn marked(url: &str, marker: &'static str) -> Endpoint {
    let headers = vec![(HeaderName::from_static("x-marker"), HeaderValue::from_static(marker))];
    Endpoint { headers, ..endpoint(url) }
}

#[tokio::test]
async fn a_change_that_is_none_of_the_connections_keeps_them() {
    let receiver = Receiver::start(ok).await;
    let mut sender = Sender::new(marked(&receiver.url(), "old"));
    sender.attempt().await;
    settle().await;
    sender.renew(vec![Endpoint { timeout_ms: 5_000, ..marked(&format!("http://{}/other", receiver.at), "new") }]);
    assert_eq!(sender.attempt().await.verdict, Verdict::Delivered);
    let seen = receiver.seen();
    assert_eq!((&seen[0].headers["x-marker"], seen[0].uri.path()), (&HeaderValue::from_static("old"), "/hook"));
    assert_eq!((&seen[1].headers["x-marker"], seen[1].uri.path()), (&HeaderValue::from_static("new"), "/other"));
    assert_eq!((seen[0].connection, seen[1].connection), (0, 0));
    // Another rule for whom to dial is one of the connections'.
    sender.renew(vec![Endpoint { allow_networks: vec!["127.0.0.1/32".parse().unwrap()], ..endpoint(&receiver.url()) }]);
    sender.attempt().await;
    assert_eq!(receiver.seen()[2].connection, 1);
}

#[tokio::test]
async fn a_renewed_client_certificate_is_shown_on_the_next_connection() {
    let (ca, clients) = (Authority::new(), Authority::new());
    for alpn in ["h2", "http/1.1"] {
        let receiver = Receiver::start_tls(ca.server("localhost", &[alpn], Some(&clients)), ok).await;
        let url = format!("https://localhost:{}/hook", receiver.at.port());
        let with = |client| Endpoint { tls: ca.trusted(Some(client)), ..endpoint(&url) };
        let mut sender = Sender::new(with(ca.issue("stranger")));
        is_tls_failure(&sender.attempt().await);
        sender.renew(vec![with(clients.issue("webhookd"))]);
        assert_eq!(sender.attempt().await.verdict, Verdict::Delivered);
        // And the connection of the one before is not used any more.
        sender.renew(vec![with(ca.issue("stranger"))]);
        is_tls_failure(&sender.attempt().await);
        assert_eq!(receiver.seen().len(), 1);
    }
}

#[tokio::test]
async fn an_attempt_under_way_ends_as_it_began() {
    let (arrived, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (told, held) = (Arc::clone(&arrived), Arc::clone(&release));
    let (at, _tasks) = raw(move |_, mut tcp| {
        let (told, held) = (Arc::clone(&told), Arc::clone(&held));
        async move {
            read_request(&mut tcp).await;
            told.notify_one();
            held.notified().await;
            let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        }
    })
    .await;
    let sender = Arc::new(Sender::new(endpoint(&format!("http://{at}/"))));
    let removal = async {
        arrived.notified().await;
        for _ in 0..3 {
            sender.courier.adopt(sender.courier.prepare(std::iter::empty()).unwrap());
        }
        release.notify_one();
    };
    let (attempted, ()) = tokio::join!(sender.attempt(), removal);
    assert_eq!(attempted.verdict, Verdict::Delivered, "{:?}", attempted.detail);
}

#[tokio::test]
async fn an_attempt_that_was_started_before_its_endpoint_went_is_made() {
    let receiver = Receiver::start(ok).await;
    let mut sender = Sender::new(endpoint(&receiver.url()));
    sender.renew(Vec::new());
    sender.renew(Vec::new());
    assert_eq!(sender.attempt().await.verdict, Verdict::Delivered);
    assert_eq!(receiver.seen().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_prepared_changes_nothing() {
    let receiver = Receiver::start(ok).await;
    let sender = Sender::new(marked(&receiver.url(), "old"));
    sender.attempt().await;
    let broken = Endpoint {
        name: EndpointName::parse("other").unwrap(),
        tls: Some(EndpointTls { ca: vec![CertificateDer::from(vec![1, 2, 3])], client: None }),
        ..endpoint("https://localhost/")
    };
    let endpoints = [Arc::new(marked(&receiver.url(), "new")), Arc::new(broken)];
    let error = sender.courier.prepare(endpoints.iter()).unwrap_err();
    assert!(matches!(&error, CourierError::Tls { endpoint, .. } if endpoint.as_str() == "other"), "{error:?}");
    sender.attempt().await;
    let markers: Vec<_> = receiver.seen().iter().map(|seen| seen.headers["x-marker"].clone()).collect();
    assert_eq!(markers, ["old", "old"]);
}
