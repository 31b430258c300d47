//! The head of a connection that comes through a proxy: whose connection it really is. HAProxy's PROXY protocol, versions 1
//! (text) and 2 (binary), as its document `proxy-protocol.txt` has them.
//!
//! Pure: [`look`] is given what has come so far and says what that means, or how many more bytes belong to the header at
//! least. Whoever reads no more than it asks for never takes a byte of what follows, which is a TLS handshake or HTTP.
//!
//! It is strict, for it is the word of a proxy that is trusted by its address: what is not written as the document says is
//! refused as a whole, and nothing is guessed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::limits::PROXY_HEADER_BYTES_MAX;

/// What version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// What version 1 begins with.
const WORD: &[u8] = b"PROXY ";
/// Bytes of version 2 before the addresses: the signature, version and command, family and transport, the length of the rest.
const FIXED_BYTES: usize = 16;
/// Longest header of version 1 in bytes, its CRLF included.
const TEXT_BYTES_MAX: usize = 107;
/// Shortest headers of version 1 in bytes.
const UNKNOWN_BYTES_MIN: usize = "PROXY UNKNOWN\r\n".len();
const TCP4_BYTES_MIN: usize = "PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n".len();
const TCP6_BYTES_MIN: usize = "PROXY TCP6 :: :: 0 0\r\n".len();
/// Bytes of the two addresses and ports of version 2, for each family.
const INET_BYTES: usize = 12;
const INET6_BYTES: usize = 36;
const UNIX_BYTES: usize = 216;

/// What has come of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// All of it.
    Whole(Header),
    /// A beginning: so many bytes more belong to it at least, and never 0.
    More(usize),
}

/// What a proxy says of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// It is this client's.
    Client(SocketAddr),
    /// It is the proxy's own (a check of its health), or that of a client without an address.
    Own,
}

/// Why what has come is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It does not begin like one.
    Missing,
    /// It begins like one, and is not written as one.
    Malformed,
    /// It says that it is longer than any that is read.
    TooLong,
}

/// Looks at what has come of a connection so far.
pub(super) fn look(bytes: &[u8]) -> Result<Seen, Fault> {
    let begins_like = |all: &[u8]| bytes.iter().zip(all).all(|(one, other)| one == other);
    match bytes.first() {
        // No header of either version is shorter than what the other begins with.
        None => Ok(Seen::More(SIGNATURE.len())),
        Some(b'P') if begins_like(WORD) => text(bytes),
        Some(b'\r') if begins_like(SIGNATURE) => binary(bytes),
        Some(_) => Err(Fault::Missing),
    }
}

fn text(bytes: &[u8]) -> Result<Seen, Fault> {
    if let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
        if end + 1 > TEXT_BYTES_MAX {
            return Err(Fault::TooLong);
        }
        let line = bytes[..end].strip_suffix(b"\r").ok_or(Fault::Malformed)?;
        return of_line(line).map(Seen::Whole);
    }
    // A CR is followed by the LF that ends the header.
    let (before, ends) = match bytes {
        [before @ .., b'\r'] => (before, true),
        _ => (bytes, false),
    };
    if before.contains(&b'\r') {
        return Err(Fault::Malformed);
    }
    let least = match bytes.get(WORD.len()..) {
        Some([b'T', b'C', b'P', b'4', ..]) => TCP4_BYTES_MIN,
        Some([b'T', b'C', b'P', b'6', ..]) => TCP6_BYTES_MIN,
        _ => UNKNOWN_BYTES_MIN,
    };
    let more = least.saturating_sub(bytes.len()).max(if ends { 1 } else { 2 });
    if bytes.len() + more > TEXT_BYTES_MAX { Err(Fault::TooLong) } else { Ok(Seen::More(more)) }
}

/// A line of version 1, without its end.
fn of_line(line: &[u8]) -> Result<Header, Fault> {
    let line = line.strip_prefix(WORD).filter(|line| !line.contains(&b'\r')).ok_or(Fault::Malformed)?;
    // Whatever else may follow.
    if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        return Ok(Header::Own);
    }
    let line = str::from_utf8(line).map_err(|_| Fault::Malformed)?;
    let mut fields = line.split(' ');
    let [family, source, destination, source_port, destination_port] =
        std::array::from_fn(|_| fields.next().unwrap_or_default());
    if fields.next().is_some() {
        return Err(Fault::Malformed);
    }
    let source = match family {
        "TCP4" => addresses::<Ipv4Addr>(source, destination)?.into(),
        "TCP6" => addresses::<Ipv6Addr>(source, destination)?.into(),
        _ => return Err(Fault::Malformed),
    };
    let (port, _) = (port(source_port)?, port(destination_port)?);
    Ok(Header::Client(SocketAddr::new(source, port)))
}

/// The first of two addresses of one family.
fn addresses<A: FromStr>(source: &str, destination: &str) -> Result<A, Fault> {
    match (source.parse(), destination.parse::<A>()) {
        (Ok(source), Ok(_)) => Ok(source),
        _ => Err(Fault::Malformed),
    }
}

/// Digits alone, without zeros in front.
fn port(text: &str) -> Result<u16, Fault> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let leads = text.len() > 1 && text.starts_with('0');
    text.parse().ok().filter(|_| digits && !leads).ok_or(Fault::Malformed)
}

fn binary(bytes: &[u8]) -> Result<Seen, Fault> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED_BYTES>() else {
        return Ok(Seen::More(FIXED_BYTES - bytes.len()));
    };
    let [.., version_command, family_transport, high, low] = *fixed;
    let len = usize::from(u16::from_be_bytes([high, low]));
    if version_command >> 4 != 2 {
        return Err(Fault::Malformed);
    }
    if FIXED_BYTES + len > PROXY_HEADER_BYTES_MAX {
        return Err(Fault::TooLong);
    }
    let Some(rest) = rest.get(..len) else { return Ok(Seen::More(len - rest.len())) };
    match version_command & 0xf {
        // LOCAL: the rest is to be dropped unread.
        0 => Ok(Seen::Whole(Header::Own)),
        1 => of_block(family_transport, rest).map(Seen::Whole),
        _ => Err(Fault::Malformed),
    }
}

/// Everything of version 2 after the length.
fn of_block(family_transport: u8, block: &[u8]) -> Result<Header, Fault> {
    let (family, transport) = (family_transport >> 4, family_transport & 0xf);
    if transport > 2 {
        return Err(Fault::Malformed);
    }
    let addresses_bytes = match family {
        0 => 0,
        1 => INET_BYTES,
        2 => INET6_BYTES,
        3 => UNIX_BYTES,
        _ => return Err(Fault::Malformed),
    };
    let (addresses, extensions) = block.split_at_checked(addresses_bytes).ok_or(Fault::Malformed)?;
    check_extensions(extensions)?;
    // A transport that is not said leaves the addresses without a meaning.
    if transport == 0 {
        return Ok(Header::Own);
    }
    let mut from = Reading(addresses);
    let source = match family {
        1 => {
            let (source, _) = (from.take::<4>(), from.take::<4>());
            source.map(IpAddr::from)
        }
        2 => {
            let (source, _) = (from.take::<16>(), from.take::<16>());
            source.map(IpAddr::from)
        }
        _ => return Ok(Header::Own),
    };
    match (source, from.take::<2>()) {
        (Some(ip), Some(port)) => Ok(Header::Client(SocketAddr::new(ip, u16::from_be_bytes(port)))),
        _ => Err(Fault::Malformed),
    }
}

/// Extensions say nothing here, but what does not fill its place is no header.
fn check_extensions(bytes: &[u8]) -> Result<(), Fault> {
    let mut rest = Reading(bytes);
    while !rest.0.is_empty() {
        let [_, high, low] = rest.take::<3>().ok_or(Fault::Malformed)?;
        let len = usize::from(u16::from_be_bytes([high, low]));
        rest.0 = rest.0.get(len..).ok_or(Fault::Malformed)?;
    }
    Ok(())
}

/// Bytes that are taken from the front.
struct Reading<'a>(&'a [u8]);

impl Reading<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }
}

#[cfg(test)]
mod tests;
