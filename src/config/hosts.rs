//! `hosts` of `[api]`: the names under which browsers and programs may ask for it.

use std::net::Ipv4Addr;

use super::reader::{Item, Reading, shown};
use crate::limits;

/// A host's name as it stands in a URL: ASCII, lower case, no dot at its end, and no IP address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(Box<str>);

impl HostName {
    /// Takes a name.
    ///
    /// # Errors
    /// What is wrong with it, as the rest of a sentence.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let labels = || name.split('.');
        if name.contains("://") || name.contains(['/', '@']) {
            return Err("is a URL; write the name of its host alone");
        }
        if name.parse::<Ipv4Addr>().is_ok() || name.starts_with('[') || name.matches(':').count() > 1 {
            return Err("is an IP address, which needs no entry: addresses are always taken");
        }
        if name.contains(':') {
            return Err("has a port; write the name alone, any port is taken");
        }
        if name.contains('*') {
            return Err("has a wildcard; write each name in full");
        }
        if !name.is_ascii() {
            return Err("is not ASCII; write it as it stands in DNS, with xn--");
        }
        if name.len() > limits::HOST_NAME_BYTES_MAX {
            return Err("is longer than a name can be");
        }
        let fits = |label: &str| {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            (1..=63).contains(&label.len()) && label.bytes().all(known)
        };
        if !labels().all(fits) {
            return Err("is no name of a host: letters, digits, - and _ between single dots");
        }
        // What ends in a number is an address for a browser, however it is written (WHATWG URL, "ends in a number").
        let last = labels().next_back().unwrap_or_default();
        let hexadecimal = last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if hexadecimal || last.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err("ends in a number, which makes it an IP address for a browser; addresses need no entry");
        }
        Ok(Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Reads `hosts`.
pub(super) fn read(reading: &mut Reading<'_>, item: &Item<'_>) -> Vec<HostName> {
    let what = "a list of host names, such as [\"hooks.internal.example\"]";
    let mut hosts = Vec::new();
    for item in item.list(reading, what, limits::API_HOSTS_MAX).unwrap_or_default() {
        let Some(text) = item.text(reading, "the name of a host") else { continue };
        match HostName::parse(text) {
            Ok(name) if hosts.contains(&name) => reading.error(&item, "the name is given twice"),
            Ok(name) => hosts.push(name),
            Err(reason) => reading.error(&item, format!("{} {reason}", shown(text))),
        }
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_in_one_spelling() {
        for (text, name) in [
            ("hooks.internal.example", "hooks.internal.example"),
            ("Hooks.Internal.EXAMPLE.", "hooks.internal.example"),
            ("webhookd", "webhookd"),
            ("my_host-1", "my_host-1"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ] {
            assert_eq!(HostName::parse(text).unwrap().as_str(), name, "{text}");
        }
    }

    #[test]
    fn what_is_no_name_says_what_it_is() {
        for (text, reason) in [
            ("https://hooks.example", "URL"),
            ("user@hooks.example", "URL"),
            ("hooks.example/", "URL"),
            ("hooks.example:8400", "port"),
            ("*.example", "wildcard"),
            ("10.0.0.1", "IP address"),
            ("[::1]", "IP address"),
            ("::1", "IP address"),
            ("0x7f.1", "IP address"),
            ("127.0x1", "IP address"),
            ("2130706433", "IP address"),
            ("bücher.example", "xn--"),
            ("", "no name"),
            (".", "no name"),
            ("a..b", "no name"),
            ("a b", "no name"),
            ("a\n", "no name"),
        ] {
            let error = HostName::parse(text).unwrap_err();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
        assert!(HostName::parse(&format!("{}.example", "a".repeat(64))).is_err());
        assert!(HostName::parse(&vec!["a".repeat(60); 5].join(".")).is_err());
    }
}
