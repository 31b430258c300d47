//! The third parties: how each signs, written down from its own documentation and without the program's code, and a request
//! as each sends it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use super::samples;

/// A header as it is sent; the name's case is the vendor's.
pub(super) type Header = (String, String);

/// One kind of request of one third party.
pub(super) struct Vendor {
    /// The source's name.
    pub(super) name: &'static str,
    /// Its scheme, and what the scheme has to be told besides the secret.
    pub(super) scheme: &'static str,
    pub(super) options: &'static str,
    /// The secret, the one it is rotated to, and one that nobody configured.
    pub(super) secrets: [String; 3],
    /// The headers that sign a request: secret, seconds, body.
    pub(super) sign: fn(&str, u64, &[u8]) -> Vec<Header>,
    /// Which of them has the signature, and how that is spelled.
    pub(super) signature: &'static str,
    /// What stands before it in there.
    pub(super) marker: &'static str,
    pub(super) spelling: Spelling,
    /// Where the signed timestamp stands, if one is signed.
    pub(super) timestamp: Stamp,
    /// What the vendor sends besides, the content type first.
    pub(super) headers: &'static [(&'static str, &'static str)],
    pub(super) body: &'static str,
    /// The event's type, and what a repeat is known by, with the scheme's presets.
    pub(super) event_type: &'static str,
    pub(super) dedup: Dedup,
    /// The query behind the path.
    pub(super) query: fn(&[u8]) -> String,
}

/// How a signature is spelled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    Hex,
    Base64,
    /// A fixed secret: it says nothing of the request.
    Fixed,
}

/// Where a timestamp stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stamp {
    None,
    /// Whole seconds in a header.
    Header(&'static str),
    /// RFC 3339 in a header.
    Rfc3339(&'static str),
    /// Beside the signature, as Stripe has it.
    Beside,
}

/// What a repeat is known by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dedup {
    None,
    Header(&'static str),
    /// A text in the body.
    Body(&'static str),
}

/// What the sources' `public_url` begins with.
pub(super) const PUBLIC: &str = "https://hooks.example.com";

impl Vendor {
    /// The lines of its source under these of its secrets.
    pub(super) fn source(&self, secrets: &[usize]) -> String {
        let secrets: Vec<_> = secrets.iter().map(|at| format!("{:?}", self.secrets[*at])).collect();
        let secrets = secrets.join(", ");
        let mut lines = format!("verify = {{ scheme = {:?}, secret = [{secrets}]{} }}", self.scheme, self.options);
        if self.scheme == "twilio" {
            lines.push_str(&format!("\npublic_url = \"{PUBLIC}/in/{}\"", self.name));
        }
        lines
    }

    /// Where it is posted, with the query.
    pub(super) fn path(&self, body: &[u8]) -> String {
        format!("/in/{}{}", self.name, (self.query)(body))
    }

    /// A good request, all headers.
    pub(super) fn request(&self, secret: usize, at_secs: u64, body: &[u8]) -> Vec<Header> {
        let named = self.headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        named.chain((self.sign)(&self.secrets[secret], at_secs, body)).collect()
    }

    pub(super) fn signs_the_body(&self) -> bool {
        self.spelling != Spelling::Fixed
    }
}

fn hmac<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

pub(super) fn sha256(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    hmac::<Hmac<Sha256>>(key, parts)
}

pub(super) fn sha1(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    hmac::<Hmac<Sha1>>(key, parts)
}

fn headers<const N: usize>(headers: [(&str, String); N]) -> Vec<Header> {
    headers.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

/// The key behind `whsec_`.
fn decoded(secret: &str) -> Vec<u8> {
    STANDARD.decode(secret.strip_prefix("whsec_").expect("a whsec_ secret")).expect("base64")
}

fn github(secret: &str, _: u64, body: &[u8]) -> Vec<Header> {
    // GitHub still sends the SHA-1 one as well.
    headers([
        ("X-Hub-Signature", format!("sha1={}", hex::encode(sha1(secret.as_bytes(), &[body])))),
        ("X-Hub-Signature-256", format!("sha256={}", hex::encode(sha256(secret.as_bytes(), &[body])))),
    ])
}

fn stripe(secret: &str, at: u64, body: &[u8]) -> Vec<Header> {
    let tag = hex::encode(sha256(secret.as_bytes(), &[at.to_string().as_bytes(), b".", body]));
    // In test mode Stripe adds a v0 that nobody verifies.
    headers([(
        "Stripe-Signature",
        format!("t={at},v1={tag},v0={}", "6ffbb59b2300aae63f272406069a9788598b792a944a07ab"),
    )])
}

fn shopify(secret: &str, _: u64, body: &[u8]) -> Vec<Header> {
    headers([("X-Shopify-Hmac-Sha256", STANDARD.encode(sha256(secret.as_bytes(), &[body])))])
}

fn slack(secret: &str, at: u64, body: &[u8]) -> Vec<Header> {
    let tag = hex::encode(sha256(secret.as_bytes(), &[b"v0:", at.to_string().as_bytes(), b":", body]));
    headers([("X-Slack-Request-Timestamp", at.to_string()), ("X-Slack-Signature", format!("v0={tag}"))])
}

fn zendesk(secret: &str, at: u64, body: &[u8]) -> Vec<Header> {
    let at = rfc3339(at);
    let tag = STANDARD.encode(sha256(secret.as_bytes(), &[at.as_bytes(), body]));
    headers([("X-Zendesk-Webhook-Signature-Timestamp", at), ("X-Zendesk-Webhook-Signature", tag)])
}

pub(super) fn rfc3339(at_secs: u64) -> String {
    jiff::Timestamp::from_second(i64::try_from(at_secs).expect("a time of ours")).expect("a time of ours").to_string()
}

fn gitlab(secret: &str, _: u64, _: &[u8]) -> Vec<Header> {
    headers([("X-Gitlab-Token", secret.to_owned())])
}

/// What Standard Webhooks sign.
pub(super) const MESSAGE_ID: &str = "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W";

fn trio(names: &str, at: u64, signature: String) -> Vec<Header> {
    let header = |last: &str, value: String| (format!("{names}-{last}"), value);
    vec![header("id", MESSAGE_ID.to_owned()), header("timestamp", at.to_string()), header("signature", signature)]
}

fn standard_tag(secret: &str, at: u64, body: &[u8]) -> String {
    let tag = sha256(&decoded(secret), &[MESSAGE_ID.as_bytes(), b".", at.to_string().as_bytes(), b".", body]);
    format!("v1,{}", STANDARD.encode(tag))
}

fn standard(secret: &str, at: u64, body: &[u8]) -> Vec<Header> {
    trio("webhook", at, standard_tag(secret, at, body))
}

fn svix(secret: &str, at: u64, body: &[u8]) -> Vec<Header> {
    trio("svix", at, standard_tag(secret, at, body))
}

/// The private half of each public key of [`ed25519_secrets`].
const SEEDS: [[u8; 32]; 3] = [[11; 32], [22; 32], [33; 32]];

fn public(seed: &[u8; 32]) -> String {
    let key = ed25519_dalek::SigningKey::from_bytes(seed).verifying_key();
    format!("whpk_{}", STANDARD.encode(key.as_bytes()))
}

fn ed25519(secret: &str, at: u64, body: &[u8]) -> Vec<Header> {
    use ed25519_dalek::Signer;
    let seed = SEEDS.iter().find(|seed| public(seed) == secret).expect("one of ours");
    let content = [format!("{MESSAGE_ID}.{at}.").as_bytes(), body].concat();
    let signature = ed25519_dalek::SigningKey::from_bytes(seed).sign(&content);
    trio("webhook", at, format!("v1a,{}", STANDARD.encode(signature.to_bytes())))
}

/// The URL, then the fields, sorted; with the body's hash in the query the URL alone.
fn twilio(secret: &str, _: u64, body: &[u8]) -> Vec<Header> {
    let mut content = format!("{PUBLIC}/in/twilio");
    let fields: std::collections::BTreeSet<_> = url::form_urlencoded::parse(body).collect();
    fields.iter().for_each(|(name, value)| content.push_str(&format!("{name}{value}")));
    headers([("X-Twilio-Signature", STANDARD.encode(sha1(secret.as_bytes(), &[content.as_bytes()])))])
}

fn twilio_json(secret: &str, _: u64, body: &[u8]) -> Vec<Header> {
    let url = format!("{PUBLIC}/in/twilio-json{}", body_hash(body));
    headers([("X-Twilio-Signature", STANDARD.encode(sha1(secret.as_bytes(), &[url.as_bytes()])))])
}

fn body_hash(body: &[u8]) -> String {
    format!("?bodySHA256={}", hex::encode(Sha256::digest(body)))
}

fn none(_: &[u8]) -> String {
    String::new()
}

fn generic(secret: &str, at: u64, body: &[u8]) -> Vec<Header> {
    let tag = hmac::<Hmac<Sha512>>(secret.as_bytes(), &[at.to_string().as_bytes(), b":", body]);
    headers([("X-Acme-Time", at.to_string()), ("X-Acme-Signature", format!("v1={}", STANDARD.encode(tag)))])
}

fn token(secret: &str, _: u64, _: &[u8]) -> Vec<Header> {
    headers([("Authorization", format!("Bearer {secret}"))])
}

fn basic(secret: &str, _: u64, _: &[u8]) -> Vec<Header> {
    headers([("Authorization", format!("Basic {}", STANDARD.encode(format!("hooks:{secret}"))))])
}

fn words(secrets: [&str; 3]) -> [String; 3] {
    secrets.map(str::to_owned)
}

fn whsec() -> [String; 3] {
    words([
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_c2Vjb25kLXNlY3JldC1mb3Itcm90YXRpb24tMDE=",
        "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ])
}

/// All of them.
pub(super) fn vendors() -> Vec<Vendor> {
    let plain = Vendor {
        name: "",
        scheme: "",
        options: "",
        secrets: words(["It's a Secret to Everybody", "8f742231b10e8888abcd99yyyzzz85a5", "hush"]),
        sign: gitlab,
        signature: "",
        marker: "",
        spelling: Spelling::Hex,
        timestamp: Stamp::None,
        headers: samples::JSON,
        body: samples::EVENT,
        event_type: "",
        dedup: Dedup::None,
        query: none,
    };
    let standard = Vendor {
        name: "standard",
        scheme: "standard",
        secrets: whsec(),
        sign: standard,
        signature: "webhook-signature",
        marker: "v1,",
        spelling: Spelling::Base64,
        timestamp: Stamp::Header("webhook-timestamp"),
        event_type: "standard.user.created",
        dedup: Dedup::Header("webhook-id"),
        ..plain.copied()
    };
    let slack = Vendor {
        name: "slack",
        scheme: "slack",
        sign: slack,
        signature: "X-Slack-Signature",
        marker: "v0=",
        timestamp: Stamp::Header("X-Slack-Request-Timestamp"),
        headers: samples::SLACK_EVENT_HEADERS,
        body: samples::SLACK_EVENT,
        event_type: "slack.app_mention",
        dedup: Dedup::Body("Ev08MFMKH6"),
        ..plain.copied()
    };
    let twilio = Vendor {
        name: "twilio",
        scheme: "twilio",
        secrets: words(["12345678901234567890123456789012", "32109876543210987654321098765432", "hush"]),
        sign: twilio,
        signature: "X-Twilio-Signature",
        spelling: Spelling::Base64,
        headers: samples::TWILIO_FORM_HEADERS,
        body: samples::TWILIO_FORM,
        event_type: "twilio.event",
        dedup: Dedup::Header("I-Twilio-Idempotency-Token"),
        ..plain.copied()
    };
    vec![
        Vendor {
            name: "github",
            scheme: "github",
            sign: github,
            signature: "X-Hub-Signature-256",
            marker: "sha256=",
            headers: samples::GITHUB_HEADERS,
            body: samples::GITHUB,
            event_type: "github.push",
            dedup: Dedup::Header("X-GitHub-Delivery"),
            ..plain.copied()
        },
        Vendor {
            name: "stripe",
            scheme: "stripe",
            secrets: words(["whsec_8f742231b10e8888abcd99", "whsec_a5b0c0ffee", "whsec_hush"]),
            sign: stripe,
            signature: "Stripe-Signature",
            marker: "v1=",
            timestamp: Stamp::Beside,
            headers: samples::STRIPE_HEADERS,
            body: samples::STRIPE,
            event_type: "stripe.invoice.payment_succeeded",
            dedup: Dedup::Body("evt_1NG8Du2eZvKYlo2CUI79vXWy"),
            ..plain.copied()
        },
        Vendor {
            name: "shopify",
            scheme: "shopify",
            sign: shopify,
            signature: "X-Shopify-Hmac-Sha256",
            spelling: Spelling::Base64,
            headers: samples::SHOPIFY_HEADERS,
            body: samples::SHOPIFY,
            event_type: "shopify.orders/create",
            dedup: Dedup::Header("X-Shopify-Webhook-Id"),
            ..plain.copied()
        },
        Vendor {
            name: "slack-commands",
            headers: samples::SLACK_COMMAND_HEADERS,
            body: samples::SLACK_COMMAND,
            event_type: "slack-commands./weather",
            dedup: Dedup::None,
            ..slack.copied()
        },
        slack,
        Vendor {
            name: "zendesk",
            scheme: "zendesk",
            secrets: words(["dGhpc19zZWNyZXRfaXNfZm9yX3Rlc3Rpbmdfb25seQ==", "8f742231b10e8888abcd", "hush"]),
            sign: zendesk,
            signature: "X-Zendesk-Webhook-Signature",
            spelling: Spelling::Base64,
            timestamp: Stamp::Rfc3339("X-Zendesk-Webhook-Signature-Timestamp"),
            headers: samples::ZENDESK_HEADERS,
            body: samples::ZENDESK,
            event_type: "zendesk.zen:event-type:ticket.status_changed",
            ..plain.copied()
        },
        Vendor {
            name: "twilio-json",
            sign: twilio_json,
            headers: samples::TWILIO_JSON_HEADERS,
            body: samples::TWILIO_JSON,
            event_type: "twilio-json.event",
            query: body_hash,
            ..twilio.copied()
        },
        twilio,
        Vendor {
            name: "gitlab",
            scheme: "gitlab",
            sign: gitlab,
            signature: "X-Gitlab-Token",
            spelling: Spelling::Fixed,
            headers: samples::GITLAB_HEADERS,
            body: samples::GITLAB,
            event_type: "gitlab.push",
            dedup: Dedup::Header("X-Gitlab-Event-UUID"),
            ..plain.copied()
        },
        Vendor {
            name: "svix",
            sign: svix,
            signature: "svix-signature",
            marker: "v1,",
            timestamp: Stamp::Header("svix-timestamp"),
            event_type: "svix.user.created",
            dedup: Dedup::Header("svix-id"),
            ..standard.copied()
        },
        Vendor {
            name: "ed25519",
            secrets: SEEDS.map(|seed| public(&seed)),
            sign: ed25519,
            marker: "v1a,",
            event_type: "ed25519.user.created",
            ..standard.copied()
        },
        standard,
        Vendor {
            name: "acme",
            scheme: "hmac",
            options: ", header = \"x-acme-signature\", algorithm = \"sha512\", encoding = \"base64\", prefix = \"v1=\", \
                      content = \"{timestamp}:{body}\", timestamp_header = \"x-acme-time\", tolerance = \"5m\"",
            sign: generic,
            signature: "X-Acme-Signature",
            marker: "v1=",
            spelling: Spelling::Base64,
            timestamp: Stamp::Header("X-Acme-Time"),
            event_type: "acme.event",
            ..plain.copied()
        },
        Vendor {
            name: "token",
            scheme: "token",
            secrets: words(["8f742231b10e8888abcd", "9a742231b10e8888abcd", "hush"]),
            sign: token,
            signature: "Authorization",
            marker: "Bearer ",
            spelling: Spelling::Fixed,
            event_type: "token.event",
            ..plain.copied()
        },
        Vendor {
            name: "basic",
            scheme: "basic",
            options: ", username = \"hooks\"",
            sign: basic,
            signature: "Authorization",
            marker: "Basic ",
            spelling: Spelling::Fixed,
            event_type: "basic.event",
            ..plain
        },
    ]
}

impl Vendor {
    /// The same, for a row that differs in a few fields.
    fn copied(&self) -> Self {
        Self { secrets: self.secrets.clone(), ..*self }
    }
}
