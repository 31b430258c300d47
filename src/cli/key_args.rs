//! The options of `sign`, `verify` and `listen` that name a scheme and its secrets.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use hyper::header::{HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::failure::Failure;
use super::judge::{Judge, Told};
use super::when::parse_span_ms;
use crate::limits;
use crate::signature::secret::Secret;
use crate::signature::{Options, Scheme, SchemeError, SchemeKind};

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

    #[command(flatten)]
    pub(super) scheme: SchemeArgs,
}

/// A scheme and its options.
#[derive(Debug, Args)]
#[command(next_help_heading = "Scheme")]
pub(super) struct SchemeArgs {
    /// The signature scheme
    #[arg(long, value_name = "SCHEME", default_value = "standard", value_parser = scheme_parser())]
    scheme: SchemeKind,

    /// hmac, token, basic: the header that carries the signature
    #[arg(long = "signature-header", value_name = "NAME")]
    header: Option<String>,

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

    /// hmac: what is signed, with {timestamp}, {id} and {body} [default: {body}]
    #[arg(long, value_name = "TEMPLATE")]
    content: Option<String>,

    /// hmac with a {timestamp}: the header that carries it [default: webhook-timestamp]
    #[arg(long, value_name = "NAME")]
    timestamp_header: Option<String>,

    /// hmac with an {id}: the header that carries it [default: webhook-id]
    #[arg(long, value_name = "NAME")]
    id_header: Option<String>,

    /// hmac with a {timestamp}: how far it may lie from now, such as 10m [default: 5m]
    #[arg(long, value_name = "SPAN", value_parser = parse_span_ms)]
    tolerance: Option<u64>,

    /// twilio: the public URL that is called
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<String>,
}

/// Takes the name of a scheme, and offers them all in `--help`.
pub(super) fn scheme_parser() -> impl TypedValueParser<Value = SchemeKind> {
    PossibleValuesParser::new(SchemeKind::ALL.map(SchemeKind::as_str)).try_map(|word| word.parse::<SchemeKind>())
}

impl KeyArgs {
    /// The scheme with each secret, for signing or for verifying.
    pub(super) fn schemes(&self, for_signing: bool) -> Result<Vec<Scheme>, Failure> {
        let given = self.secrets.iter().map(|text| Ok(Secret::new(text.clone().into_bytes())));
        let read = self.secret_files.iter().map(|file| secret_in(file));
        given.chain(read).map(|secret| self.scheme.with(&secret?, for_signing)).collect()
    }

    /// A judge of what was signed with any of the secrets.
    pub(super) fn judge(&self) -> Result<Judge, Failure> {
        Ok(self.scheme.judge(self.schemes(false)?))
    }
}

impl SchemeArgs {
    /// Which scheme is asked for.
    pub(super) fn kind(&self) -> SchemeKind {
        self.scheme
    }

    /// The scheme with this secret, for signing or for verifying.
    pub(super) fn with(&self, secret: &Secret, for_signing: bool) -> Result<Scheme, Failure> {
        let make = if for_signing { Scheme::for_signing } else { Scheme::new };
        make(self.scheme, secret, &self.options()).map_err(|error| refused(&error))
    }

    /// A judge of what was signed with these schemes.
    pub(super) fn judge(&self, schemes: Vec<Scheme>) -> Judge {
        let told = Told { header: self.header.as_deref(), timestamp: self.timestamp_header(), id: self.id_header() };
        Judge::new(self.scheme, schemes, told)
    }

    /// The header of a timestamp that the scheme `hmac` signs.
    pub(super) fn timestamp_header(&self) -> Option<&str> {
        self.names("{timestamp}").then(|| self.timestamp_header.as_deref().unwrap_or("webhook-timestamp"))
    }

    /// The header of an id that the scheme `hmac` signs.
    pub(super) fn id_header(&self) -> Option<&str> {
        self.names("{id}").then(|| self.id_header.as_deref().unwrap_or("webhook-id"))
    }

    /// The header whose value is the secret itself.
    pub(super) fn secret_header(&self) -> Option<&str> {
        self.header.as_deref().filter(|_| matches!(self.scheme, SchemeKind::Token | SchemeKind::Basic))
    }

    /// Whether none of them was given.
    pub(super) fn is_empty(&self) -> bool {
        let Self { scheme, header, algorithm, encoding, prefix, username, content, timestamp_header, .. } = self;
        let texts =
            [header, algorithm, encoding, prefix, username, content, timestamp_header, &self.id_header, &self.url];
        *scheme == SchemeKind::Standard && self.tolerance.is_none() && texts.iter().all(|text| text.is_none())
    }

    fn names(&self, part: &str) -> bool {
        self.scheme == SchemeKind::Hmac && self.content.as_deref().is_some_and(|content| content.contains(part))
    }

    fn options(&self) -> Options<'_> {
        Options {
            header: self.header.as_deref(),
            algorithm: self.algorithm.as_deref(),
            encoding: self.encoding.as_deref(),
            prefix: self.prefix.as_deref(),
            username: self.username.as_deref(),
            content: self.content.as_deref(),
            timestamp_header: self.timestamp_header.as_deref(),
            id_header: self.id_header.as_deref(),
            tolerance_secs: self.tolerance.map(|ms| ms / 1000),
        }
    }
}

/// The config's word for an option, and how it is typed here.
fn refused(error: &SchemeError) -> Failure {
    match error.option() {
        Some("header") => Failure::usage(format!("{error} (it is --signature-header here)")),
        Some(option) => Failure::usage(format!("{error} (it is --{} here)", option.replace('_', "-"))),
        None => Failure::usage(error),
    }
}

/// Reads `name: value`.
pub(super) fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("expected `name: value`")?;
    let name = name.trim().parse().map_err(|_| format!("{:?} is no header name", name.trim()))?;
    let value = HeaderValue::from_str(value.trim()).map_err(|_| "the value has characters that no header may carry")?;
    Ok((name, value))
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
    fn a_header_is_a_name_and_a_value() {
        let (name, value) = header("Webhook-Id:  msg_1 ").unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("webhook-id", "msg_1"));
        assert_eq!(header("x: a: b").unwrap().1, "a: b");
        for bad in ["webhook-id", ": v", "a b: c", "a: \u{7}"] {
            assert!(header(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_option_at_fault_is_named_as_it_is_typed() {
        let error = SchemeError::Missing { kind: SchemeKind::Hmac, option: "header" };
        assert!(refused(&error).message().unwrap().contains("--signature-header"));
        let error = SchemeError::NotTaken { kind: SchemeKind::Github, option: "timestamp_header" };
        assert!(refused(&error).message().unwrap().contains("--timestamp-header"));
    }
}
