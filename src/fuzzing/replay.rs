//! Every input kept in `fuzz/corpus/`, run through its target: what was found once stays mended, without a fuzzer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::TARGETS;

/// The most processor time that one input may take here, unoptimised as this is.
const INPUT_TAKES_MAX: Duration = Duration::from_secs(5);

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

/// The processor time that this thread has had: what runs beside it makes no difference.
fn processor_time() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(told.split(' ').next().unwrap().parse().unwrap())
}

/// What is wrong with the inputs in a folder: each that panics, with what it said, and each that takes too long.
fn faults(folder: &Path, run: fn(&[u8])) -> (usize, Vec<String>) {
    let files = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    let mut faults = Vec::new();
    for path in &files {
        let input = std::fs::read(path).unwrap();
        let started = processor_time();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(&input))) {
            let said = panic.downcast_ref::<String>().cloned();
            let said = said.or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()));
            faults.push(format!("{}: {}", path.display(), said.unwrap_or_default()));
        }
        let took = processor_time() - started;
        if took > INPUT_TAKES_MAX {
            faults.push(format!("{}: it took {took:?}", path.display()));
        }
    }
    (files.len(), faults)
}

fn replay(target: &str) {
    let (_, run) = TARGETS.iter().find(|(name, _)| *name == target).unwrap();
    let (files, faults) = faults(&corpus(target), *run);
    assert!(files >= 10, "only {files} inputs are kept for {target}");
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

macro_rules! replays {
    ($($target:ident)*) => {
        $(#[test]
        fn $target() {
            replay(stringify!($target));
        })*

        #[test]
        fn no_target_is_left_out() {
            let mut replayed = vec![$(stringify!($target)),*];
            let mut known: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
            let files = |folder: &str| {
                let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder);
                let names = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
                let mut names: Vec<_> = names.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
                names.sort();
                names
            };
            replayed.sort_unstable();
            known.sort_unstable();
            assert_eq!(replayed, known);
            assert_eq!(files("fuzz_targets"), known);
            assert_eq!(files("corpus"), known);
        }
    };
}

replays! {
    config event_json cloudevents http_front signature_headers retry_after stored_records api_path_query inbound_request json_pointers
    proxy_header url_guard
}

/// Bytes of an input that is long for what it says.
const LONG_BYTES: usize = 64 * 1024;

/// Texts that, repeated, are what a parser with a time in the square of the length would stumble over, behind what leads to it.
const LONG: &[(&str, &str, &str)] = &[
    ("config", "", "["),
    ("config", "", "a = "),
    ("config", "", "a."),
    ("config", "", "\n"),
    ("config", "", "\"\n"),
    ("config", "", "x = 1\n"),
    ("config", "", "[[a]]\n"),
    ("config", "[endpoint.a]\nx = ", "{a="),
    ("config", "[endpoint.a]\nevents = [", "\"a\","),
    ("config", "[endpoint.a]\nx = \"\"\"", "é"),
    ("config", "x = ", "9"),
    ("config", "#", "§"),
    ("event_json", "", "["),
    ("event_json", "", "{\"a\":"),
    ("event_json", "[", "{},"),
    ("event_json", "[", "1,"),
    ("event_json", "{\"", "\\u0061"),
    ("event_json", "{", "\"a\":1,"),
    ("event_json", "{\"type\":\"a\",\"data\":", "9"),
    ("event_json", "{\"data\":1,\"endpoints\":[", "\"nobody\","),
    ("event_json", "", " "),
    ("cloudevents", "content-type: application/cloudevents+json\n\n{", "\"a\":1,"),
    ("cloudevents", "content-type: application/cloudevents+json\n\n{\"data\":", "[1],"),
    ("cloudevents", "content-type: application/cloudevents-batch+json\n\n[", "{\"specversion\":\"1.0\"},"),
    ("cloudevents", "ce-id: ", "%41"),
    ("cloudevents", "ce-id: \"", "\\"),
    ("http_front", "\0GET / HTTP/1.1\r\n", "a: b\r\n"),
    ("http_front", "\0GET /", "%41"),
    ("http_front", "\0", "\r\n"),
    ("http_front", "\0", "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("http_front", "\0POST /v1/events HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n", "1\r\n[\r\n"),
    ("http_front", "\0PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\0\0\0\u{4}\0\0\0\0\0"),
    (
        "signature_headers",
        "standard late\nwebhook-id: a\nwebhook-timestamp: 1614265330\nwebhook-signature: ",
        "v1,AAAA ",
    ),
    ("signature_headers", "stripe\nstripe-signature: ", "v1=00,"),
    ("signature_headers", "twilio\nx-twilio-signature: {signature}\n\n", "a=b&"),
    ("signature_headers", "hmac\noption-content: ", "{id}"),
    ("signature_headers", "basic\nauthorization: Basic ", "QUFB"),
    ("retry_after", "503\n", "9"),
    ("retry_after", "503\n", " "),
    ("retry_after", "503\nSun, 06 Nov ", "2"),
    ("stored_records", "h\u{1}\u{7f}\u{7f}\u{7f}\u{7f}", "\u{1}"),
    ("stored_records", "g\u{1}", "\u{1}"),
    ("stored_records", "L", "["),
    ("stored_records", "L{\"deliveries\":[", "{\"attempts\":["),
    ("stored_records", "L{\"headers\":[", "{\"name\":\"a\",\"value\":\"b\"},"),
    ("stored_records", "f", "12345678"),
    ("stored_records", "e", "\0\0"),
    ("api_path_query", "", "/"),
    ("api_path_query", "/v1/raw/", "%41"),
    ("api_path_query", "/\n", "limit=1&"),
    ("api_path_query", "/\n\n", "a*"),
    ("api_path_query", "/\n\n", "*,"),
    ("inbound_request", "POST /in/open\n", "x: y\n"),
    ("inbound_request", "POST /in/open\ncontent-type: application/json\n\n", "["),
    ("inbound_request", "POST /in/open\ncontent-type: application/json\n\n", "{\"type\":"),
    ("inbound_request", "POST /in/open\ncontent-type: application/x-www-form-urlencoded\n\n", "type=&"),
    ("inbound_request", "POST /in/near\nx-forwarded-for: ", "10.0.0.1,"),
    ("inbound_request", "POST /in/stripe\nstripe-signature: ", "v1=00,"),
    ("inbound_request", "POST /in/open\nconnection: ", "a,"),
    ("json_pointers", "", "/a"),
    ("json_pointers", "", "~0"),
    ("json_pointers", "/a/b/c\n\n", "{\"a\":"),
    ("json_pointers", "/0/0/0\n\n[", "1,"),
    ("json_pointers", "/a\n\n{", "\"a\":{},"),
    ("proxy_header", "PROXY ", "A"),
    ("proxy_header", "PROXY UNKNOWN", " x"),
    ("proxy_header", "\r\n\r\n\0\r\nQUIT\n\u{21}\u{11}", "\0"),
    ("url_guard", "https://", "a."),
    ("url_guard", "https://", "1."),
    ("url_guard", "https://a/", "%41"),
    ("url_guard", "https://", "ü"),
];

/// What takes a time in the square of its length takes minutes here.
#[test]
fn long_inputs_take_no_more_than_a_moment() {
    let mut slow = Vec::new();
    for (target, before, again) in LONG {
        let (_, run) = TARGETS.iter().find(|(name, _)| name == target).unwrap();
        let input = [*before, &again.repeat(LONG_BYTES / again.len())].concat();
        let started = processor_time();
        run(input.as_bytes());
        let took = processor_time() - started;
        if took > INPUT_TAKES_MAX {
            slow.push(format!("{target}: {before:?} and then {again:?} again and again: {took:?}"));
        }
    }
    assert!(slow.is_empty(), "\n{}", slow.join("\n"));
}

/// A replay that could not fail would be worth nothing.
#[test]
fn an_input_that_breaks_a_rule_or_takes_too_long_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (name, input) in [("bad", "planted"), ("good", "sound"), ("worse", "also planted")] {
        std::fs::write(folder.path().join(name), input).unwrap();
    }
    let run: fn(&[u8]) = |input| assert!(!input.ends_with(b"planted"), "a rule is broken by {}", input.len());
    let (files, faults) = faults(folder.path(), run);
    assert_eq!(files, 3);
    let path = |name: &str| folder.path().join(name).display().to_string();
    assert_eq!(
        faults,
        [format!("{}: a rule is broken by 7", path("bad")), format!("{}: a rule is broken by 12", path("worse"))]
    );
}
