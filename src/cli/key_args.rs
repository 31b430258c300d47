//! The options of `sign` and `verify` that name a scheme and its secrets.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use hyper::header::HeaderMap;
use zeroize::Zeroizing;

use super::failure::Failure;
use super::when::spoken_span;
use crate::clock::UnixMs;
use crate::limits;
use crate::signature::secret::Secret;
use crate::signature::{Options, Refusal, Scheme, SchemeKind};

#[derive(Debug, Args)]
#[command(next_help_heading = "Key")]
pub(super) struct KeyArgs {
    /// The secret; others on this machine can read it off the process list, so better use the environment or a file
    #[arg(long = "secret", value_name = "SECRET", env = "WEBHOOKD_SECRET", hide_env_values = true)]
    #[arg(required_unless_present = "secret_files")]
    secrets: Vec<String>,

    /// A file with the secret; a line break at its end does not count. Secrets may be given several times (rotation)
    #[arg(long = "secret-file", value_name = "FILE")]
    secret_files: Vec<PathBuf>,

    /// The signature scheme
    #[arg(long, value_name = "SCHEME", default_value = "standard", value_parser = scheme_parser())]
    scheme: SchemeKind,

    /// hmac, token, basic: the header that carries the signature
    #[arg(long = "signature-header", value_name = "NAME")]
    signature_header: Option<String>,

    /// hmac: sha1, sha256 or sha512
    #[arg(long, value_name = "NAME")]
    algorithm: Option<String>,

    /// hmac: hex or base64
    #[arg(long, value_name = "NAME")]
    encoding: Option<String>,

    /// hmac, token: what stands before the value
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,

    /// basic: the user
    #[arg(long, value_name = "NAME")]
    username: Option<String>,

    /// twilio: the public URL that is called
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<String>,
}

/// Takes the name of a scheme, and offers them all in `--help`.
pub(super) fn scheme_parser() -> impl TypedValueParser<Value = SchemeKind> {
    PossibleValuesParser::new(SchemeKind::ALL.map(SchemeKind::as_str)).try_map(|word| word.parse::<SchemeKind>())
}

impl KeyArgs {
    /// Which scheme is asked for.
    pub(super) fn kind(&self) -> SchemeKind {
        self.scheme
    }

    /// The scheme with each secret, for signing or for verifying.
    pub(super) fn schemes(&self, for_signing: bool) -> Result<Vec<Scheme>, Failure> {
        let options = Options {
            header: self.signature_header.as_deref(),
            algorithm: self.algorithm.as_deref(),
            encoding: self.encoding.as_deref(),
            prefix: self.prefix.as_deref(),
            username: self.username.as_deref(),
            ..Options::default()
        };
        let given = self.secrets.iter().map(|text| Ok(Secret::new(text.clone().into_bytes())));
        let read = self.secret_files.iter().map(|file| secret_in(file));
        let make = if for_signing { Scheme::for_signing } else { Scheme::new };
        let scheme = |secret: Secret| make(self.scheme, &secret, &options).map_err(Failure::usage);
        given.chain(read).map(|secret| scheme(secret?)).collect()
    }
}

/// The secret in a file, without the line break that an editor leaves.
pub(super) fn secret_in(file: &Path) -> Result<Secret, Failure> {
    let shown = file.display();
    let bytes = fs::read(file).map_err(|error| Failure::usage(format!("{shown} could not be read: {error}")))?;
    let bytes = Zeroizing::new(bytes);
    let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    Ok(Secret::new(text.strip_suffix(b"\r").unwrap_or(text).to_vec()))
}

/// The body on stdin, byte for byte.
pub(super) fn body_on_stdin() -> Result<Vec<u8>, Failure> {
    let limit = limits::MAX_BODY_BYTES_MAX;
    let mut body = Vec::new();
    let reading = io::stdin().lock().take(limit as u64 + 1).read_to_end(&mut body);
    reading.map_err(|error| Failure::failed(format!("the body on stdin could not be read: {error}")))?;
    if body.len() > limit {
        return Err(Failure::failed(format!("the body on stdin has more than {limit} bytes")));
    }
    Ok(body)
}

/// Why a signature does not hold, with what the headers say about it.
pub(super) fn refusal_in_words(refusal: Refusal, kind: SchemeKind, headers: &HeaderMap, now: UnixMs) -> String {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match (refusal, kind) {
        (Refusal::MissingHeader, SchemeKind::Standard) => {
            let needed = ["webhook-id", "webhook-timestamp", "webhook-signature"];
            let missing = needed.into_iter().filter(|name| !headers.contains_key(*name)).collect::<Vec<_>>();
            format!("{refusal}: {}", missing.join(", "))
        }
        (Refusal::Stale | Refusal::Future, SchemeKind::Standard) => {
            let at = header("webhook-timestamp").and_then(|text| text.parse::<u64>().ok());
            match at.map(|secs| UnixMs(secs.saturating_mul(1000))) {
                Some(at) if at < now => format!("{refusal}: it lies {} back", spoken_span(now.since(at))),
                Some(at) => format!("{refusal}: it lies {} ahead", spoken_span(at.since(now))),
                None => refusal.to_string(),
            }
        }
        (Refusal::Mismatch, _) => format!("{refusal}: another secret signed it, or the body was changed on its way"),
        _ => refusal.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_file_may_end_with_a_line_break() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        for (content, secret) in
            [("abc", "abc"), ("abc\n", "abc"), ("abc\r\n", "abc"), ("abc\n\n", "abc\n"), (" a ", " a ")]
        {
            fs::write(&file, content).unwrap();
            assert_eq!(secret_in(&file).unwrap().expose(), secret.as_bytes());
        }
        assert!(secret_in(&dir.path().join("none")).unwrap_err().message().unwrap().contains("none could not be read"));
    }

    #[test]
    fn a_refusal_says_what_the_headers_tell() {
        let now = UnixMs(1_614_265_330_000);
        let mut headers = HeaderMap::new();
        let words = |refusal, headers: &HeaderMap| refusal_in_words(refusal, SchemeKind::Standard, headers, now);
        headers.insert("webhook-id", "evt_1".parse().unwrap());
        let missing = words(Refusal::MissingHeader, &headers);
        assert!(missing.ends_with(": webhook-timestamp, webhook-signature"), "{missing}");
        headers.insert("webhook-timestamp", "1614264000".parse().unwrap());
        assert!(words(Refusal::Stale, &headers).ends_with("it lies 22 min back"));
        headers.insert("webhook-timestamp", "99999999999999999999".parse().unwrap());
        assert_eq!(words(Refusal::Future, &headers), Refusal::Future.to_string());
    }
}
