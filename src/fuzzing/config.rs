//! `config`: a config as text, in which each `§` stands for a secret.

use std::path::Path;

use crate::config::{Config, ConfigErrors};

/// What stands for a secret in an input.
const PLACEHOLDER: char = '§';
/// A secret as `webhookd secret new` makes it: one that strayed is known by its look.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// So many characters of it in a row must not be seen.
const SEEN_CHARS_MAX: usize = 12;

/// Any text is answered; its faults have a place within it and show no secret; what is taken is taken alike twice.
pub fn config(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    // A config may name any file as a secret; what lies on this machine must not decide what a run finds.
    if ["/dev", "/proc", "/sys"].iter().any(|folder| text.contains(folder)) {
        return;
    }
    let text = text.replace(PLACEHOLDER, SECRET);
    let parse =
        || Config::parse(&text, "webhookd.toml", Path::new("/nowhere"), &|name| (name == "SET").then(|| SECRET.into()));
    match parse() {
        Ok(config) => {
            let shown = format!("{config:#?}\n{}\n{}", config.summary(), config.warnings.join("\n"));
            shows_no_secret(&shown);
            let again = parse().expect("what was taken once is taken again");
            assert_eq!(format!("{config:?}"), format!("{again:?}"));
            assert_eq!(config.summary(), again.summary());
            let (_, changes) = config.renewed(again);
            assert!(changes.is_empty(), "a config differs from itself: {changes:?}");
        }
        Err(errors) => {
            lie_within(&errors, &text);
            shows_no_secret(&errors.to_string());
            shows_no_secret(&format!("{errors:?}"));
            assert_eq!(Some(errors), parse().err());
        }
    }
}

fn lie_within(errors: &ConfigErrors, text: &str) {
    assert!(!errors.errors().is_empty());
    // The place behind the last line break is a line too.
    let lines: Vec<&str> = text.split('\n').collect();
    for error in errors.errors() {
        let line = lines.get(error.line.wrapping_sub(1));
        let line = line.unwrap_or_else(|| panic!("no line {}: {error:?}", error.line));
        assert!((1..=line.chars().count() + 1).contains(&error.column), "no column {}: {error:?}", error.column);
        assert!(!error.message.is_empty() && !error.message.contains('\n'), "{error:?}");
    }
}

fn shows_no_secret(shown: &str) {
    let tail = SECRET.trim_start_matches("whsec_");
    for start in 0..=tail.len() - SEEN_CHARS_MAX {
        let piece = &tail[start..start + SEEN_CHARS_MAX];
        assert!(!shown.contains(piece), "{piece} of a secret is shown: {shown}");
    }
}
