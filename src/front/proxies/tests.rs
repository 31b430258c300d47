//! Headers as they come over a socket: cut, late, broken, and never a byte too many.

use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::time::sleep;

use super::*;
use crate::limits::KIB;

const PROXY: &str = "10.0.0.2:40000";
const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x11\xc0\0\x02\x07\xc6\x33\x64\x01\xdc\x04\x01\xbb\x04\0\x02\0\0";

fn from(address: &str) -> Origin {
    Origin::Tcp(address.parse().unwrap())
}

fn headers(networks: &[&str], unix: bool) -> Arc<ProxyHeaders> {
    let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
    ProxyHeaders::new("inbound", Proxies { networks, unix }, Metrics::shared())
}

impl ProxyHeaders {
    fn refused(&self, word: &str) -> u64 {
        self.metrics.proxy_headers_refused.with_label_values(&["inbound", word]).get()
    }

    async fn read_from(&self, socket: &mut DuplexStream) -> Option<Header> {
        self.read(socket, from(PROXY), Instant::now()).await
    }
}

#[tokio::test]
async fn only_the_proxies_of_the_config_begin_with_a_header_and_another_config_has_others() {
    let headers = headers(&["10.0.0.0/8", "2001:db8::/32"], false);
    for (address, is_one) in [
        ("10.1.2.3:1", true),
        ("[::ffff:10.1.2.3]:1", true),
        ("[2001:db8::1]:1", true),
        ("192.0.2.1:1", false),
        ("127.0.0.1:1", false),
    ] {
        assert_eq!(headers.expects(from(address)), is_one, "{address}");
    }
    assert!(!headers.expects(Origin::Unix { uid: Some(0) }));
    headers.adopt(Proxies { networks: Vec::new(), unix: true });
    assert!(headers.expects(Origin::Unix { uid: Some(0) }) && !headers.expects(from("10.1.2.3:1")));
}

#[tokio::test]
async fn a_header_comes_whole_in_whatever_pieces_and_what_follows_stays_in_the_socket() {
    let headers = headers(&["10.0.0.0/8"], false);
    for header in [V1, V2] {
        for piece_bytes in [1, 2, 5, 13, 4096] {
            let (mut ours, mut theirs) = duplex(KIB);
            let sent = [header, b"GET / HTTP/1.1\r\n\r\n"].concat();
            let send = async {
                for piece in sent.chunks(piece_bytes) {
                    theirs.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
                theirs.shutdown().await.unwrap();
            };
            let receive = async {
                let header = headers.read_from(&mut ours).await;
                let mut rest = Vec::new();
                ours.read_to_end(&mut rest).await.unwrap();
                (header, rest)
            };
            let ((), (header, rest)) = tokio::join!(send, receive);
            assert_eq!(header, Some(Header::Client("192.0.2.7:56324".parse().unwrap())), "in pieces of {piece_bytes}");
            assert_eq!(rest, b"GET / HTTP/1.1\r\n\r\n");
        }
    }
    assert!(NoHeader::ALL.iter().all(|reason| headers.refused(reason.word()) == 0));
}

#[tokio::test]
async fn what_is_no_header_is_refused_at_once_and_counted_by_its_reason() {
    let headers = headers(&["10.0.0.0/8"], false);
    let long = [&V2[..14], &[0xff, 0xff]].concat();
    let table: [(&[u8], &str); 6] = [
        (b"GET / HTTP/1.1\r\n", "missing"),
        (b"\x16", "missing"),
        (b"PROXY TCP4 192.0.2.7\r\nhost: a\r\n\r\n", "malformed"),
        (&V2[..12], "closed"),
        (b"", "closed"),
        (&long, "too_long"),
    ];
    for (sent, reason) in table {
        let before = headers.refused(reason);
        let (mut ours, mut theirs) = duplex(KIB);
        theirs.write_all(sent).await.unwrap();
        if reason == "closed" {
            theirs.shutdown().await.unwrap();
        }
        assert_eq!(headers.read_from(&mut ours).await, None, "{}", sent.escape_ascii());
        assert_eq!(headers.refused(reason), before + 1, "{reason}: {}", sent.escape_ascii());
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_that_trickles_is_waited_for_from_the_accept_on_and_no_longer() {
    let headers = headers(&["10.0.0.0/8"], false);
    let (mut ours, mut theirs) = duplex(KIB);
    let begun = Instant::now();
    // A moment passes before anybody reads.
    sleep(LIMIT / 2).await;
    let trickle = async {
        for byte in V1 {
            if theirs.write_all(&[*byte]).await.is_err() {
                break;
            }
            sleep(LIMIT / 10).await;
        }
    };
    tokio::select! {
        header = headers.read(&mut ours, from(PROXY), begun) => assert_eq!(header, None),
        () = trickle => panic!("it was waited for"),
    }
    assert_eq!(begun.elapsed(), LIMIT);
    assert_eq!(headers.refused("timeout"), 1);
}
