//! Endpoints that are slow, broken, endless or not there: every attempt ends, in time and with the right word.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::fixture::{
    RESPONSE_BYTES_MAX, Sender, TIMEOUT_MS, attempt_within, endpoint, event, raw, read_request, settle,
};
use crate::clock::{ManualClock, ManualHandle, SystemClock, UnixMs};
use crate::config::Endpoint;
use crate::deliver::{Attempted, Courier, HttpCourier, Job, OwnListeners};
use crate::model::attempt::AttemptError;
use crate::policy::answer::Verdict;

const RETRY: Verdict = Verdict::Retry { hint_ms: None, hold_endpoint: false };

/// One attempt at a server that reads the request, sends `answer` and hangs up.
async fn attempt_answered(answer: impl AsRef<[u8]> + Send + Sync + 'static) -> Attempted {
    let answer = Arc::new(answer);
    let (at, _tasks) = raw(move |_, mut tcp| {
        let answer = Arc::clone(&answer);
        async move {
            read_request(&mut tcp).await;
            let _ = tcp.write_all(answer.as_ref().as_ref()).await;
        }
    })
    .await;
    attempt_within(&format!("http://{at}/"), TIMEOUT_MS).await
}

fn failed(attempted: &Attempted, error: AttemptError) {
    assert_eq!((attempted.status, attempted.error), (None, Some(error)), "{:?}", attempted.detail);
    assert_eq!(attempted.verdict, RETRY);
    assert!(attempted.detail.as_deref().is_some_and(|detail| !detail.is_empty()));
}

#[tokio::test]
async fn a_body_that_drips_for_ever_ends_with_the_attempts_time_and_counts_by_its_status() {
    let (at, _tasks) = raw(|_, mut tcp| async move {
        read_request(&mut tcp).await;
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        while tcp.write_all(b"1\r\nx\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let attempted = attempt_within(&format!("http://{at}/"), 1000).await;
    assert_eq!((attempted.status, attempted.error), (Some(200), None));
    assert_eq!(attempted.verdict, Verdict::Delivered);
    assert!((1000..3000).contains(&attempted.duration_ms), "{} ms", attempted.duration_ms);
    assert!(attempted.response.starts_with(b"xx"));
    assert_eq!(attempted.detail.as_deref(), Some("the body did not end in time"));
}

#[tokio::test]
async fn a_body_without_end_costs_its_connection_and_nothing_more() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let (at, mut tasks) = raw(move |_, mut tcp| {
        let count = Arc::clone(&count);
        async move {
            read_request(&mut tcp).await;
            let _ = tcp.write_all(b"HTTP/1.1 500 Oops\r\n\r\n").await;
            while tcp.write_all(&[b'x'; 16 * 1024]).await.is_ok() {
                count.fetch_add(16 * 1024, Ordering::Relaxed);
            }
        }
    })
    .await;
    let sender = Sender::new(endpoint(&format!("http://{at}/")));
    let attempted = sender.attempt().await;
    assert_eq!((attempted.status, attempted.error), (Some(500), Some(AttemptError::Status)));
    assert_eq!(attempted.response, [b'x'; RESPONSE_BYTES_MAX]);
    assert!(attempted.duration_ms < 2000, "{} ms", attempted.duration_ms);
    settle().await;
    let so_far = sent.load(Ordering::Relaxed);
    settle().await;
    assert_eq!(sent.load(Ordering::Relaxed), so_far, "the server can send no more");
    tasks.abort_all();
}

#[tokio::test]
async fn the_connection_of_a_body_that_was_cut_is_not_used_again() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let (at, _tasks) = raw(move |_, mut tcp| {
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            while !read_request(&mut tcp).await.is_empty() {
                let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n";
                if tcp.write_all(head).await.is_err() || tcp.write_all(&[b'x'; 1_000_000]).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    let sender = Sender::new(endpoint(&format!("http://{at}/")));
    for _ in 0..3 {
        assert_eq!(sender.attempt().await.verdict, Verdict::Delivered);
    }
    assert_eq!(connections.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn an_answer_that_never_comes_is_a_timeout_by_the_injected_clock() {
    let reached = Arc::new(tokio::sync::Notify::new());
    let arrived = Arc::clone(&reached);
    let (at, _tasks) = raw(move |_, mut tcp| {
        let arrived = Arc::clone(&arrived);
        async move {
            read_request(&mut tcp).await;
            arrived.notify_one();
            let _ = tcp.read(&mut [0; 1]).await;
            arrived.notify_one();
        }
    })
    .await;
    let clock = ManualClock::at(UnixMs(5000));
    let handle = Arc::new(ManualHandle(Arc::clone(&clock)));
    let sender = Sender::with_clock(Endpoint { timeout_ms: 15_000, ..endpoint(&format!("http://{at}/")) }, handle);
    let attempt = async {
        let attempted = sender.attempt().await;
        failed(&attempted, AttemptError::Timeout);
        assert_eq!((attempted.at, attempted.duration_ms), (UnixMs(5000), 15_000));
    };
    let time = async {
        reached.notified().await;
        clock.advance_ms(14_999);
        settle().await;
        clock.advance_ms(1);
    };
    tokio::join!(attempt, time);
    reached.notified().await;
}

#[tokio::test]
async fn a_head_that_drips_is_a_timeout() {
    let (at, _tasks) = raw(|_, mut tcp| async move {
        read_request(&mut tcp).await;
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nx: ").await;
        while tcp.write_all(b"y").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    failed(&attempt_within(&format!("http://{at}/"), 300).await, AttemptError::Timeout);
}

#[tokio::test]
async fn interim_answers_without_end_are_a_timeout() {
    let (at, _tasks) = raw(|_, mut tcp| async move {
        read_request(&mut tcp).await;
        while tcp.write_all(b"HTTP/1.1 102 Processing\r\n\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    failed(&attempt_within(&format!("http://{at}/"), 300).await, AttemptError::Timeout);
}

#[tokio::test]
async fn a_receiver_that_never_reads_is_a_timeout() {
    let (at, _tasks) = raw(|_, tcp| async move {
        std::future::pending::<()>().await;
        drop(tcp);
    })
    .await;
    let sender = Sender::new(Endpoint { timeout_ms: 300, ..endpoint(&format!("http://{at}/")) });
    failed(&sender.send(event(&vec![b'x'; 32 * 1024 * 1024]), 1).await, AttemptError::Timeout);
}

#[tokio::test]
async fn nobody_listening_is_connect() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    drop(listener);
    let attempted = attempt_within(&format!("http://{at}/"), TIMEOUT_MS).await;
    failed(&attempted, AttemptError::Connect);
    assert!(attempted.detail.unwrap().contains(&at.to_string()), "the detail says where");
}

#[tokio::test]
async fn hanging_up_without_an_answer_is_protocol() {
    failed(&attempt_answered("").await, AttemptError::Protocol);
    failed(&attempt_answered("HTTP/1.1 200 O").await, AttemptError::Protocol);
}

#[tokio::test]
async fn a_reset_is_protocol() {
    // To close a socket with unread bytes resets it.
    let (at, _tasks) = raw(|_, tcp: TcpStream| async move {
        tcp.readable().await.unwrap();
        drop(tcp);
    })
    .await;
    failed(&attempt_within(&format!("http://{at}/"), TIMEOUT_MS).await, AttemptError::Protocol);
}

#[tokio::test]
async fn what_is_no_http_is_protocol() {
    for garbage in
        ["\x00\x01\x02\x03\r\n\r\n", "SSH-2.0-OpenSSH_9.6\r\n", "HTTP/9.9 200 OK\r\n\r\n", "HTTP/1.1 abc\r\n\r\n"]
    {
        failed(&attempt_answered(garbage).await, AttemptError::Protocol);
    }
}

#[tokio::test]
async fn an_answer_that_was_there_before_the_question_is_protocol() {
    let (at, _tasks) = raw(|_, mut tcp| async move {
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        std::future::pending::<()>().await;
    })
    .await;
    failed(&attempt_within(&format!("http://{at}/"), TIMEOUT_MS).await, AttemptError::Protocol);
}

#[tokio::test]
async fn a_head_over_the_limits_is_protocol() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(200 * 1024));
    failed(&attempt_answered(long).await, AttemptError::Protocol);
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(101));
    failed(&attempt_answered(many).await, AttemptError::Protocol);
    let enough = format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", "x: y\r\n".repeat(99));
    assert_eq!(attempt_answered(enough).await.verdict, Verdict::Delivered);
}

#[tokio::test]
async fn a_body_that_breaks_off_counts_by_its_status() {
    let attempted = attempt_answered("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort").await;
    assert_eq!((attempted.verdict, attempted.error), (Verdict::Delivered, None));
    assert_eq!(attempted.response, b"short");
    assert!(attempted.detail.is_some());
    let attempted = attempt_answered("HTTP/1.1 502 Bad\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n").await;
    assert_eq!((attempted.status, attempted.error), (Some(502), Some(AttemptError::Status)));
}

#[tokio::test]
async fn an_old_server_that_ends_its_answer_by_hanging_up_is_understood() {
    let attempted = attempt_answered("HTTP/1.0 200 OK\r\n\r\nfine").await;
    assert_eq!((attempted.verdict, &attempted.response[..]), (Verdict::Delivered, &b"fine"[..]));
    assert_eq!(attempted.detail, None);
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_was_read_counts() {
    let (at, _tasks) = raw(|_, mut tcp| async move {
        let _ = tcp.read(&mut [0; 1024]).await;
        let _ = tcp.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
        // It reads on without looking, as servers do so that their answer is not lost in a reset.
        let mut rest = [0; 64 * 1024];
        while tcp.read(&mut rest).await.is_ok_and(|n| n > 0) {}
    })
    .await;
    let sender = Sender::new(endpoint(&format!("http://{at}/")));
    let attempted = sender.send(event(&vec![b'x'; 4 * 1024 * 1024]), 1).await;
    assert_eq!((attempted.status, attempted.error), (Some(413), Some(AttemptError::Status)));
}

#[tokio::test]
async fn the_loopback_is_refused_unless_it_is_allowed() {
    let (at, _tasks) = raw(|_, _| async { panic!("nothing may be dialled") }).await;
    for host in ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "localhost", "[::ffff:127.0.0.1]"] {
        let url = format!("http://{host}:{}/", at.port());
        let sender = Sender::new(Endpoint { allow_networks: Vec::new(), ..endpoint(&url) });
        let attempted = sender.attempt().await;
        failed(&attempted, AttemptError::AddressRefused);
        assert!(attempted.detail.unwrap().contains("allow_networks"), "the detail says what to do");
    }
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_dns() {
    failed(&attempt_within("http://nowhere.invalid/", TIMEOUT_MS).await, AttemptError::Dns);
}

#[tokio::test]
async fn a_pooled_connection_that_was_closed_while_idle_costs_nothing() {
    let (at, _tasks) = raw(|_, mut tcp| async move {
        read_request(&mut tcp).await;
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        // Hangs up without having said so.
    })
    .await;
    let sender = Sender::new(endpoint(&format!("http://{at}/")));
    for n in 1..=3 {
        assert_eq!(sender.send(event(b"1"), n).await.verdict, Verdict::Delivered);
        settle().await;
    }
}

/// The narrow case: the pool still takes the connection for open when it hands it out, and hyper finds its end before
/// it has written a byte. The receiver is a thread of its own and the runtime stands while it hangs up, so that the
/// end of the connection and the next request meet in the same turn of the runtime.
#[tokio::test]
async fn a_request_that_was_not_written_goes_out_on_another_connection() {
    use std::io::{Read, Write};
    use std::sync::mpsc;

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let (hang_up, told) = mpsc::channel::<()>();
    let (hung_up, done) = mpsc::channel::<()>();
    let receiver = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut tcp, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n{}") {
                let mut byte = [0];
                tcp.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
            told.recv().unwrap();
            drop(tcp);
            hung_up.send(()).unwrap();
        }
    });

    let sender = Sender::new(endpoint(&format!("http://{at}/")));
    assert_eq!(sender.attempt().await.verdict, Verdict::Delivered);
    settle().await;
    hang_up.send(()).unwrap();
    done.recv().unwrap();
    tokio::task::yield_now().await;
    let attempted = sender.attempt().await;
    assert_eq!(attempted.verdict, Verdict::Delivered, "{:?}", attempted.detail);
    hang_up.send(()).unwrap();
    done.recv().unwrap();
    receiver.join().unwrap();
}

#[tokio::test]
async fn a_request_of_which_bytes_were_written_is_never_sent_twice() {
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    let (at, _tasks) = raw(move |_, mut tcp| {
        let count = Arc::clone(&count);
        async move {
            read_request(&mut tcp).await;
            count.fetch_add(1, Ordering::Relaxed);
            let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            if !read_request(&mut tcp).await.is_empty() {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    })
    .await;
    let sender = Sender::new(endpoint(&format!("http://{at}/")));
    assert_eq!(sender.attempt().await.verdict, Verdict::Delivered);
    settle().await;
    failed(&sender.attempt().await, AttemptError::Protocol);
    settle().await;
    assert_eq!(requests.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn an_endpoint_the_courier_was_not_made_for_costs_a_retry_and_no_panic() {
    let courier = HttpCourier::new([].iter(), SystemClock::shared(), OwnListeners::default()).unwrap();
    let job = Job { event: Arc::new(event(b"1")), endpoint: Arc::new(endpoint("http://127.0.0.1/")), n: 1 };
    failed(&courier.attempt(job).await, AttemptError::Connect);
}
