//! Every maximum of the program in one place, checked against each other at compile time.
//!
//! Each queue, body, header, cache and loop has its bound here, and the place that meets the bound has an answer for it:
//! refuse (4xx), shed (503 with `Retry-After`), or wait. What a user may choose is in the config; what stands here bounds
//! what a user may choose.

/// One kibibyte, in bytes.
pub const KIB: usize = 1024;
/// One mebibyte, in bytes.
pub const MIB: usize = 1024 * KIB;

/// Longest event id, in bytes. It travels as the `webhook-id` header on every attempt.
pub const EVENT_ID_BYTES_MAX: usize = 128;
/// Longest event type, in bytes.
pub const EVENT_TYPE_BYTES_MAX: usize = 128;
/// Most patterns in one list of event types (`events` of an endpoint, `type` of a listing).
pub const TYPE_PATTERNS_MAX: usize = 256;
/// Longest such pattern, in bytes: a type of full length, with a `!` and some `*`.
pub const TYPE_PATTERN_BYTES_MAX: usize = 160;
/// Longest ordering key, in bytes.
pub const ORDERING_KEY_BYTES_MAX: usize = 256;
/// Longest `Idempotency-Key`, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 256;
/// Longest content type, in bytes.
pub const CONTENT_TYPE_BYTES_MAX: usize = 256;
/// Longest timestamp text that a producer may give with an event, in bytes.
pub const TIMESTAMP_BYTES_MAX: usize = 64;
/// Longest `traceparent`, in bytes (W3C Trace Context: version 00 has 55; later versions may be longer).
pub const TRACEPARENT_BYTES_MAX: usize = 256;
/// CloudEvents attributes or kept inbound headers of one event, all together, in bytes.
pub const EVENT_EXTRAS_BYTES_MAX: usize = 64 * KIB;
/// Longest endpoint name, in bytes.
pub const ENDPOINT_NAME_BYTES_MAX: usize = 64;
/// Most endpoints in one config.
pub const ENDPOINTS_MAX: usize = 4096;

/// Longest source name, in bytes.
pub const SOURCE_NAME_BYTES_MAX: usize = 64;
/// Most sources in one config.
pub const SOURCES_MAX: usize = 1024;

/// Most places that a source may name for one value of a request.
pub const PICKS_MAX: usize = 8;
/// Longest JSON pointer or name of a form's field that a source may name, in bytes.
pub const PICK_BYTES_MAX: usize = 256;
/// Largest body of the answer that a source may give, in bytes.
pub const RESPOND_BODY_BYTES_MAX: usize = 4 * KIB;

/// Most endpoint names that a daemon may have met, in its storage and in one config after another, when a reload brings new
/// ones: it numbers them in 16 bits and forgets none. Some numbers are left for its storage.
pub const ENDPOINT_NAMES_MET_MAX: usize = u16::MAX as usize - ENDPOINTS_MAX;

/// Largest `max_body` that a config may ask for, in bytes.
pub const MAX_BODY_BYTES_MAX: usize = 64 * MIB;
/// Most events in one batch request.
pub const BATCH_EVENTS_MAX: usize = 1000;
/// Deepest nesting of arrays and objects in a JSON body.
pub const JSON_DEPTH_MAX: usize = 128;
/// Furthest that `deliver_at` may lie ahead, in milliseconds (one year).
pub const DELIVER_AT_AHEAD_MS_MAX: u64 = 366 * 24 * 3600 * 1000;

/// Largest request head (request line and headers) that a listener reads, in bytes.
pub const REQUEST_HEAD_BYTES_MAX: usize = 64 * KIB;
/// Most headers of one request.
pub const REQUEST_HEADERS_MAX: usize = 100;
/// How long a proxy may take from connecting to the end of its PROXY header, in milliseconds; it is hung up on then.
pub const PROXY_HEADER_MS_MAX: u64 = 5_000;
/// Longest PROXY header, its extensions included, in bytes; who sends a longer one is hung up on.
pub const PROXY_HEADER_BYTES_MAX: usize = 4 * KIB;
/// How long a client may take from connecting to the end of its TLS handshake, in milliseconds; it is hung up on then.
pub const TLS_HANDSHAKE_MS_MAX: u64 = 10_000;
/// How long a client may take to send a request head, from its first byte, in milliseconds; the first one of a connection counts
/// from the accept, with PROXY header and TLS handshake. After it the connection is closed.
pub const REQUEST_HEAD_MS_MAX: u64 = 10_000;
/// How long a client may take to send a whole request body, in milliseconds; 408.
pub const REQUEST_BODY_MS_MAX: u64 = 30_000;
/// How long a connection may be idle, in milliseconds, before it is closed (GOAWAY over HTTP/2, whose pings buy no time): a little
/// more than the 60 s after which common proxies and pools drop theirs, so that fewer requests meet a connection that is just
/// being closed.
pub const IDLE_MS_MAX: u64 = 75_000;
/// How long it may be where places run short, in milliseconds.
pub const IDLE_WHEN_SHORT_MS_MAX: u64 = 2_000;
/// Places run short when only one in so many is free.
pub const PLACES_SPARE_SHARE: usize = 10;
/// How long after looking for idle connections they are looked for again, in milliseconds.
pub const SWEEP_MS: u64 = 100;
/// How long a connection that was told to close may take, in milliseconds, once nothing is under way on it.
pub const CLOSING_MS_MAX: u64 = 10_000;
/// Most connections to one listener at once, where the config does not say; further ones get 503 and are closed.
pub const CONNECTIONS_DEFAULT: usize = 16_384;
/// Largest `max_connections` that a config may ask for.
pub const CONNECTIONS_MAX: usize = 1_000_000;
/// Most connections from one address at once, where the config does not say; further ones get 503 and are closed.
pub const CONNECTIONS_PER_ADDRESS_DEFAULT: usize = 1_024;
/// Open files that are kept for the storage, its generations and the process itself.
pub const FILES_KEPT: usize = 512;
/// When a client that found no place may come again, in seconds.
pub const CONNECTION_RETRY_AFTER_S: u32 = 5;
/// How long a line in the log about something that can happen a thousand times a second is not written again, in milliseconds.
pub const TOLD_AGAIN_MS: u64 = 10_000;
/// Bytes of request bodies held at once; beyond this, 503.
pub const BODIES_BYTES_MAX: usize = 256 * MIB;
/// Bytes of inbound request bodies held at once; beyond this, 503.
pub const INBOUND_BODIES_BYTES_MAX: usize = 128 * MIB;
/// Largest inbound body, in bytes, that is read before the head is looked at for a signature that cannot hold whatever the body says.
pub const BODY_UNFORESEEN_BYTES_MAX: u64 = 64 * KIB as u64;
/// Page size of a listing when the caller names none.
pub const LIST_LIMIT_DEFAULT: usize = 50;
/// Largest page of a listing.
pub const LIST_LIMIT_MAX: usize = 1000;
/// Longest query string of an API request, in bytes.
pub const QUERY_BYTES_MAX: usize = 8 * KIB;
/// Faults of one request that are told; a batch can have thousands.
pub const FAULTS_SHOWN_MAX: usize = 20;
/// How long an answer may wait for a client that does not read it, in milliseconds.
pub const ANSWER_STALL_MS_MAX: u64 = 30_000;
/// How long a connection that is being closed goes on reading what the client still sends, in milliseconds, so that the
/// answer is not lost with it.
pub const LINGER_MS_MAX: u64 = 2_000;
/// Most HTTP/2 requests at once on one connection; further streams are refused (REFUSED_STREAM).
pub const STREAMS_MAX: u32 = 256;
/// Largest HTTP/2 frame that is taken, in bytes: the smallest that RFC 9113 lets a server ask for. A larger one ends the connection.
pub const HTTP2_FRAME_BYTES_MAX: u32 = 16 * KIB as u32;
/// Bytes of one HTTP/2 request body that may be on their way before they are read. A body is read as it comes, so this is no
/// bound on its size but on its speed: 2.5 MB/s over a way of 100 ms.
pub const HTTP2_STREAM_WINDOW_BYTES: u32 = 256 * KIB as u32;
/// The same of all requests of a connection together, which bounds what a connection keeps in memory beside its bodies.
pub const HTTP2_CONNECTION_WINDOW_BYTES: u32 = MIB as u32;
/// Bytes of one HTTP/2 answer that are handed over at once; the next ones are when the client has taken these.
pub const HTTP2_PIECE_BYTES: usize = 64 * KIB;
/// Most HTTP/2 streams that a client has reset before they were looked at (CVE-2023-44487); more end the connection.
pub const HTTP2_PENDING_RESETS_MAX: usize = 20;
/// Most HTTP/2 streams that had to be reset for the client's errors; more end the connection.
pub const HTTP2_ERROR_RESETS_MAX: usize = 256;
/// Refusals that the audit log tells one by one, a second; the others of that second are counted and told in one line.
pub const AUDIT_REFUSALS_PER_SECOND_MAX: u32 = 20;
/// Lines about refused inbound requests a second, and about odd ones; the others of that second are counted and told in one line.
pub const INBOUND_LINES_PER_SECOND_MAX: u32 = 20;
/// Longest text of a client's in a line of the audit log, in characters.
pub const AUDIT_TEXT_CHARS_MAX: usize = EVENT_ID_BYTES_MAX;
/// Most replays of whole endpoints at once; beyond this, 503.
pub const ENDPOINT_REPLAYS_MAX: usize = 4;

/// Largest answer of the API that the command line reads, in bytes: the largest body in base64, and its attempts.
pub const CLI_ANSWER_BYTES_MAX: usize = 2 * MAX_BODY_BYTES_MAX;
/// How long the command line waits for an answer of the API, in milliseconds.
pub const CLI_ANSWER_MS_MAX: u64 = 60_000;
/// Bytes of one batch request that `send --batch` starts with; it goes down where the daemon takes less.
pub const CLI_BATCH_BYTES: usize = 900 * KIB;
/// Events that `events --follow` remembers having shown.
pub const CLI_FOLLOW_SEEN_MAX: usize = 100_000;
/// Largest request body that `listen` reads, in bytes.
pub const LISTEN_BODY_BYTES_MAX: usize = 4 * MIB;
/// Bytes of a request body that `listen` shows.
pub const LISTEN_SHOWN_BYTES_MAX: usize = 8 * KIB;
/// Most connections to `listen` at once; further ones wait in the listen queue.
pub const LISTEN_CONNECTIONS_MAX: usize = 256;
/// Webhook ids of which `listen` counts the attempts; the oldest are forgotten.
pub const LISTEN_IDS_MAX: usize = 10_000;

/// Largest answer of an app that `listen --forward` reads, in bytes.
pub const LISTEN_ANSWER_BYTES_MAX: usize = 4 * MIB;
/// How long `listen --forward` waits for an app's answer, in milliseconds; then the sender gets 504.
pub const LISTEN_ANSWER_MS_MAX: u64 = 30_000;

/// Largest value written to the storage engine, in bytes. Bigger ones would be put in blob files, which the engine never
/// syncs; see `outbox`.
pub const STORED_VALUE_BYTES_MAX: usize = 16 * KIB;
/// Commands waiting for the outbox writer; when full, accepts are answered 503.
pub const WRITER_QUEUE_MAX: usize = 16_384;
/// Bytes of event bodies waiting for the outbox writer; when full, accepts are answered 503.
pub const WRITER_QUEUE_BYTES_MAX: usize = 128 * MIB;
/// Most events written in one commit.
pub const COMMIT_EVENTS_MAX: usize = 4096;
/// Outcomes of deliveries that are kept in memory while the disk refuses them; when full, deliveries wait.
pub const OWED_SETTLEMENTS_MAX: usize = 16_384;
/// Longest line of an export that an import reads, in bytes: the largest body with each byte written as an escape of six, and
/// as much again for its attempts.
pub const IMPORT_LINE_BYTES_MAX: usize = 12 * MAX_BODY_BYTES_MAX;
/// Most endpoint names in one import. A daemon numbers all names that it meets in 16 bits.
pub const IMPORT_ENDPOINTS_MAX: usize = 8 * ENDPOINTS_MAX;
/// The share of a file system that stays free where the config does not say: one part in so many …
pub const FREE_SHARE_DEFAULT: u64 = 20;
/// … within these bounds, in bytes.
pub const FREE_BYTES_DEFAULT: std::ops::RangeInclusive<u64> = 16 * MIB as u64..=256 * MIB as u64;
/// Bytes of events, heads and bodies, after which a generation is closed and the next one begins.
pub const GENERATION_BYTES_MAX: u64 = 64 * MIB as u64;

/// Most waits in a retry schedule.
pub const RETRY_WAITS_MAX: usize = 100;
/// Longest single wait or hint that a schedule may name, in milliseconds (30 days).
pub const RETRY_WAIT_MS_MAX: u64 = 30 * 24 * 3600 * 1000;
/// Most attempts at one delivery over all its replays. A replay past it is refused.
pub const ATTEMPTS_MAX: u16 = 10_000;
/// Most requests in flight to one endpoint that a config may ask for.
pub const IN_FLIGHT_MAX: u32 = 1024;
/// Most requests in flight to all endpoints together. Half of them is kept for endpoints that have none under way, so that each
/// has a permit of its own whatever the others do.
pub const IN_FLIGHT_TOTAL_MAX: usize = 2 * ENDPOINTS_MAX;
/// Bytes of fresh event bodies kept in memory for their first attempt; events past it are read back from the disk.
pub const FRESH_BYTES_MAX: usize = 32 * MIB;
/// Messages waiting for the scheduler.
pub const SCHEDULE_QUEUE_MAX: usize = 16_384;

/// How long connecting to an endpoint may take (DNS, TCP and TLS), in milliseconds.
pub const CONNECT_MS_MAX: u64 = 5_000;
/// Longest `timeout` of an attempt that a config may ask for, in milliseconds.
pub const ATTEMPT_MS_MAX: u64 = 300_000;
/// Most response bytes that a config may have kept for each attempt.
pub const RESPONSE_LOG_BYTES_MAX: usize = 8 * KIB;
/// Largest response head of an endpoint that is read, in bytes.
pub const RESPONSE_HEAD_BYTES_MAX: usize = 64 * KIB;
/// Most headers of an endpoint's response.
pub const RESPONSE_HEADERS_MAX: usize = 100;
/// Most addresses of an endpoint's name that are dialled for one connection.
pub const CONNECT_ADDRESSES_MAX: usize = 8;
/// How long an address may keep the next one waiting, in milliseconds (RFC 8305 section 5 recommends 250).
pub const CONNECT_STAGGER_MS: u64 = 250;
/// Most name lookups at once; further ones wait within their attempt's time.
pub const LOOKUPS_MAX: usize = 128;
/// Most name lookups of one endpoint at once: a name whose servers hang must not take the others' places.
pub const LOOKUPS_OF_ENDPOINT_MAX: usize = 2;
/// How long a connection to an endpoint lies idle before it is closed, in milliseconds: a little less than the 60 s
/// after which common load balancers hang up, so that fewer requests meet a connection that is just being closed.
pub const POOL_IDLE_MS_MAX: u64 = 55_000;
/// Longest detail of an attempt for the log, in bytes.
pub const ATTEMPT_DETAIL_BYTES_MAX: usize = 512;
/// Most of the endpoint's own headers in a config.
pub const ENDPOINT_HEADERS_MAX: usize = 64;
/// Most secrets of one endpoint (rotation).
pub const SECRETS_MAX: usize = 8;
/// Longest secret, in bytes.
pub const SECRET_BYTES_MAX: usize = 4096;
/// Most signatures read from one header of a received request. Each may cost an Ed25519 check for each secret.
pub const SIGNATURES_MAX: usize = 16;
/// Most form fields of a received request whose fields are signed sorted (Twilio sends fewer than a hundred).
pub const SIGNED_FIELDS_MAX: usize = 1000;
/// How far a received timestamp may lie from now, before or after, in seconds (Standard Webhooks, Stripe, Slack).
pub const TIMESTAMP_TOLERANCE_SECS: u64 = 300;
/// Longest `tolerance` that a source may ask for, in seconds (one day).
pub const TOLERANCE_SECS_MAX: u64 = 24 * 3600;

/// Largest config file, in bytes.
pub const CONFIG_BYTES_MAX: usize = 8 * MIB;
/// Most `hosts` of `[api]`.
pub const API_HOSTS_MAX: usize = 64;
/// Longest name of a host, in bytes (RFC 1035, section 2.3.4, as text).
pub const HOST_NAME_BYTES_MAX: usize = 253;
/// Most tokens of the API.
pub const TOKENS_MAX: usize = 64;
/// Shortest token, in bytes: 128 bits, so that it is not guessed.
pub const TOKEN_BYTES_MIN: usize = 16;
/// Longest path of a unix socket, in bytes (unix(7): `sun_path` has 108 with the NUL that ends it).
pub const UNIX_PATH_BYTES_MAX: usize = 107;
/// Smallest `max_size` of the storage: one generation that is full and one that fills.
pub const STORAGE_BYTES_MIN: u64 = 2 * GENERATION_BYTES_MAX;
/// Shortest `retention`, in milliseconds.
pub const RETENTION_MS_MIN: u64 = 1000;
/// Longest `retention`, in milliseconds (ten years).
pub const RETENTION_MS_MAX: u64 = 3650 * 24 * 3600 * 1000;
/// Most networks in one `allow_networks`.
pub const ALLOW_NETWORKS_MAX: usize = 256;
/// Longest URL of an endpoint, in bytes.
pub const URL_BYTES_MAX: usize = 4096;
/// Longest value of one of an endpoint's own headers, in bytes.
pub const ENDPOINT_HEADER_BYTES_MAX: usize = 4096;
/// Largest PEM file, in bytes.
pub const PEM_BYTES_MAX: usize = MIB;
/// Most certificates in one PEM file.
pub const CERTIFICATES_MAX: usize = 1024;
/// A certificate with this left or less is worth a warning when the config is read, in milliseconds (30 days).
pub const CERTIFICATE_CHECK_MS: u64 = 30 * 24 * 3600 * 1000;
/// A listener's certificate with this left or less is worth a warning every day while the daemon runs, in milliseconds (14
/// days): those that are renewed by themselves are renewed before.
pub const CERTIFICATE_WARN_MS: u64 = 14 * 24 * 3600 * 1000;
/// Most roots of `client_ca` whose names are sent to a client, so that it can choose its certificate; with more, no name is
/// sent, and it shows the one it has.
pub const CLIENT_CA_HINTS_MAX: usize = 64;
/// How often the files of certificates are looked at for a change, in milliseconds.
pub const CERTIFICATE_POLL_MS: u64 = 10_000;
/// Longest subject of a client's certificate that is shown, in characters.
pub const CERTIFICATE_SUBJECT_CHARS_MAX: usize = 200;
/// Most attempts that a `rate_limit` may name.
pub const RATE_COUNT_MAX: u32 = 1_000_000;
/// Most failures that a `breaker` may wait for.
pub const BREAKER_FAILURES_MAX: u64 = 10_000;
/// Longest `cooldown` of a breaker, in milliseconds (one day).
pub const BREAKER_COOLDOWN_MS_MAX: u64 = 24 * 3600 * 1000;
/// Longest `disable_after`, in milliseconds (one year).
pub const DISABLE_AFTER_MS_MAX: u64 = 366 * 24 * 3600 * 1000;

/// How long reading a config with its files may take when it is reloaded, in milliseconds: a folder on the network can hang.
pub const RELOAD_READ_MS_MAX: u64 = 30_000;
/// Most reloads that wait for the one under way; further ones wait with their request.
pub const RELOADS_WAITING_MAX: usize = 16;

/// How long a stop waits for attempts under way, in milliseconds. What is not finished by then is pending again at the
/// next start.
pub const DRAIN_MS_MAX: u64 = 25_000;

/// Most sockets that systemd may hand over.
pub const HANDED_SOCKETS_MAX: usize = 16;
/// How long who connects to a socket that systemd kept over a restart waits for the storage to be open, in milliseconds; after
/// that it is answered 503 meanwhile.
pub const HANDED_WAIT_MS_MAX: u64 = 5_000;
/// Longest status that systemd is told, in bytes; a longer one is cut.
pub const NOTIFY_STATUS_BYTES_MAX: usize = 512;
/// How long telling systemd something may take, in milliseconds; after that it is not told.
pub const NOTIFY_MS_MAX: u64 = 1_000;
/// Time between two refreshed states that systemd is told where it does not watch, in milliseconds.
pub const NOTIFY_REFRESH_MS: u64 = 10_000;
/// How much longer a start that opens its storage asks systemd to wait each time, in milliseconds …
pub const OPENING_EXTENSION_MS: u64 = 30_000;
/// … and for how long it goes on asking; then systemd gives the start up.
pub const OPENING_EXTENDED_MS_MAX: u64 = 30 * 60 * 1000;
/// How long the writer and the dispatcher may take to answer `GET /healthz`, in milliseconds; then it is answered 503.
pub const HEALTH_MS_MAX: u64 = 5_000;
/// How long such an answer holds, in milliseconds: however many ask, the parts are asked no more often.
pub const HEALTH_FRESH_MS: u64 = 1_000;
/// Most heartbeats that wait for the outbox's writer; further ones wait with whoever asks.
pub const HEARTBEATS_MAX: usize = 16;

const _: () = {
    // The largest row of each kind must fit one stored value.
    let head = EVENT_ID_BYTES_MAX
        + EVENT_TYPE_BYTES_MAX
        + ORDERING_KEY_BYTES_MAX
        + IDEMPOTENCY_KEY_BYTES_MAX
        + CONTENT_TYPE_BYTES_MAX
        + TIMESTAMP_BYTES_MAX
        + TRACEPARENT_BYTES_MAX
        + 3 * ENDPOINTS_MAX
        + 256;
    assert!(head < STORED_VALUE_BYTES_MAX);
    assert!(TYPE_PATTERN_BYTES_MAX > EVENT_TYPE_BYTES_MAX);
    assert!(RESPONSE_LOG_BYTES_MAX + 256 < STORED_VALUE_BYTES_MAX);
    assert!(WRITER_QUEUE_BYTES_MAX >= MAX_BODY_BYTES_MAX);
    assert!(BODIES_BYTES_MAX >= MAX_BODY_BYTES_MAX);
    assert!(STORAGE_BYTES_MIN > MAX_BODY_BYTES_MAX as u64);
    assert!(CONNECT_MS_MAX <= ATTEMPT_MS_MAX);
    assert!(IN_FLIGHT_TOTAL_MAX >= 2 * ENDPOINTS_MAX);
    assert!(IN_FLIGHT_TOTAL_MAX - ENDPOINTS_MAX > IN_FLIGHT_MAX as usize);
    assert!(IMPORT_ENDPOINTS_MAX + ENDPOINTS_MAX < ENDPOINT_NAMES_MET_MAX);
    assert!(TIMESTAMP_TOLERANCE_SECS <= TOLERANCE_SECS_MAX);
    assert!(PICK_BYTES_MAX / 2 <= JSON_DEPTH_MAX);
    assert!(LIST_LIMIT_DEFAULT <= LIST_LIMIT_MAX);
    assert!(CONNECTIONS_PER_ADDRESS_DEFAULT <= CONNECTIONS_DEFAULT && CONNECTIONS_DEFAULT <= CONNECTIONS_MAX);
    assert!(HTTP2_STREAM_WINDOW_BYTES <= HTTP2_CONNECTION_WINDOW_BYTES);
    // An answer that is being written is not taken for an idle connection before it counts as not being read.
    assert!(ANSWER_STALL_MS_MAX < IDLE_MS_MAX && REQUEST_HEAD_MS_MAX < IDLE_MS_MAX);
    // What stands before a head leaves time for it.
    assert!(PROXY_HEADER_MS_MAX < TLS_HANDSHAKE_MS_MAX && TLS_HANDSHAKE_MS_MAX <= REQUEST_HEAD_MS_MAX);
};
