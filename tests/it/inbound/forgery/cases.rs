//! What a forger can make of a good request, and a few odd requests that are good.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::request::Request;
use crate::inbound::vendor::{Spelling, Stamp, Vendor, sha1};

/// What is to become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accepted,
    /// 401, with this reason in the metric.
    Refused(&'static str),
}

use Verdict::{Accepted, Refused};

const MALFORMED: Verdict = Refused("malformed_header");
const MISMATCH: Verdict = Refused("mismatch");
const MISSING: Verdict = Refused("missing_header");
const DUPLICATE: Verdict = Refused("duplicate_header");
const STALE: Verdict = Refused("stale");
const FUTURE: Verdict = Refused("future");

/// One request, made for the second in which it is sent.
pub(crate) struct Case<'a> {
    pub(crate) what: String,
    pub(crate) verdict: Verdict,
    pub(crate) make: Box<dyn Fn(u64) -> Request + 'a>,
}

struct Cases<'a> {
    vendor: &'a Vendor,
    list: Vec<Case<'a>>,
}

/// All for one vendor.
pub(crate) fn cases<'a>(vendor: &'a Vendor, all: &'a [Vendor]) -> Vec<Case<'a>> {
    let mut cases = Cases { vendor, list: Vec::new() };
    cases.change("good", Accepted, |_| {});
    cases.bodies();
    cases.signatures();
    cases.spellings();
    cases.versions();
    cases.lists();
    if vendor.timestamp != Stamp::None {
        cases.times();
        cases.timestamps();
    }
    match vendor.scheme {
        "standard" => cases.ids(),
        "twilio" => cases.fields(),
        "github" => cases.downgrades(),
        _ => {}
    }
    cases.of_others(all);
    cases.list
}

impl<'a> Cases<'a> {
    fn add(&mut self, what: impl Into<String>, verdict: Verdict, make: impl Fn(u64) -> Request + 'a) {
        self.list.push(Case { what: what.into(), verdict, make: Box::new(make) });
    }

    /// A good request with a change.
    fn change(&mut self, what: impl Into<String>, verdict: Verdict, change: impl Fn(&mut Request) + 'a) {
        let vendor = self.vendor;
        self.add(what, verdict, move |now| {
            let mut request = Request::good(vendor, now);
            change(&mut request);
            request
        });
    }

    /// A good request with another signature.
    fn tag(&mut self, what: &str, verdict: Verdict, change: impl Fn(&str) -> String + 'a) {
        let vendor = self.vendor;
        self.change(what, verdict, move |request| request.set_tag(vendor, &change(&request.tag(vendor))));
    }

    fn bodies(&mut self) {
        // A secret that travels says nothing of the body.
        let verdict = if self.vendor.signs_the_body() { MISMATCH } else { Accepted };
        let last = self.vendor.body.len() - 1;
        for (what, at) in [("first", 0), ("middle", last / 2), ("last", last)] {
            self.change(format!("the body's {what} byte changed"), verdict, move |request| request.body[at] ^= 1);
        }
        self.change("a byte behind the body", verdict, |request| request.body.push(b'x'));
        self.change("a byte less in the body", verdict, |request| _ = request.body.pop());
        self.change("no body", verdict, |request| request.body.clear());
        let vendor = self.vendor;
        self.add("another secret", MISMATCH, |now| Request::signed(vendor, 2, now, vendor.body.as_bytes()));
    }

    fn signatures(&mut self) {
        let vendor = self.vendor;
        let name = vendor.signature;
        self.change("no signature", MISSING, move |request| request.remove(name));
        // A list without a token of ours is readable, it only fits nothing.
        let empty = if vendor.scheme == "standard" { MISMATCH } else { MALFORMED };
        self.change("an empty signature", empty, move |request| request.set(name, ""));
        if name.contains('-') {
            self.change("the signature under a name with underscores", MISSING, move |request| {
                let value = request.get(name).to_owned();
                request.remove(name);
                request.append(&name.replace('-', "_"), value);
            });
        }
        self.change("the good one twice", DUPLICATE, move |request| request.append(name, request.get(name).to_owned()));
        self.change("the good one first of two", DUPLICATE, move |request| request.append(name, "x"));
        self.change("the good one last of two", DUPLICATE, move |request| request.prepend(name, "x"));

        let cut = if vendor.spelling == Spelling::Fixed { MISMATCH } else { MALFORMED };
        self.tag("a character less", cut, |tag| tag[..tag.len() - 1].to_owned());
        self.tag("half of it", cut, |tag| tag[..tag.len() / 2].to_owned());
        self.tag("a character more", cut, |tag| format!("{tag}A"));
        self.tag("nothing but what stands before it", MALFORMED, |_| String::new());
        self.tag("its first character changed", MISMATCH, |tag| swapped(tag, 0));
        self.tag("its tenth character changed", MISMATCH, |tag| swapped(tag, 9));
        if vendor.signs_the_body() {
            let zeroes = if vendor.spelling == Spelling::Hex { '0' } else { 'A' };
            self.tag("all zeroes", MISMATCH, move |tag| tag.replace(|c| c != '=', &zeroes.to_string()));
        }
    }

    fn spellings(&mut self) {
        let vendor = self.vendor;
        match vendor.spelling {
            Spelling::Hex => self.tag("in upper case", Accepted, str::to_uppercase),
            Spelling::Fixed => self.tag("in another case", MISMATCH, |tag| {
                let lower = tag.to_lowercase();
                if lower == tag { tag.to_uppercase() } else { lower }
            }),
            Spelling::Base64 => {
                self.tag("without its padding", MALFORMED, |tag| tag.trim_end_matches('=').to_owned());
                self.tag("bits behind its end", MALFORMED, with_trailing_bits);
                // The alphabets differ in two characters, which are not in every signature.
                self.add("in the alphabet of URLs", MALFORMED, |now| {
                    let bodies = (0..200).map(|n| format!("{}{}", vendor.body, " ".repeat(n)));
                    let mut requests = bodies.map(|body| Request::signed(vendor, 0, now, body.as_bytes()));
                    let shows = |request: &Request| request.tag(vendor).contains(['+', '/']);
                    let mut request = requests.find(shows).expect("two characters of 64");
                    request.set_tag(vendor, &request.tag(vendor).replace('+', "-").replace('/', "_"));
                    request
                });
                self.add("in hex", MALFORMED, |now| {
                    let mut request = Request::good(vendor, now);
                    let bytes = STANDARD.decode(request.tag(vendor)).expect("base64");
                    request.set_tag(vendor, &hex::encode(bytes));
                    request
                });
            }
        }
    }

    fn versions(&mut self) {
        let vendor = self.vendor;
        if vendor.marker.is_empty() {
            return;
        }
        let unknown = if vendor.scheme == "standard" { MISMATCH } else { MALFORMED };
        let (upper, spaced) = match vendor.scheme {
            // The name of an authentication scheme has no case.
            "token" | "basic" => (Accepted, MISMATCH),
            _ => (unknown, MALFORMED),
        };
        self.change("nothing before it", unknown, |request| request.set_marker(vendor, ""));
        let loud = vendor.marker.to_uppercase();
        self.change("what stands before it in upper case", upper, move |request| request.set_marker(vendor, &loud));
        self.tag("a space before it", spaced, |tag| format!(" {tag}"));
        let others: &[&str] = match vendor.scheme {
            "github" => &["sha1=", "sha512=", "md5=", "v1="],
            "stripe" => &["v0=", "v2=", "v1a="],
            "slack" => &["v1=", "v=", "sha256="],
            "standard" if vendor.marker == "v1," => &["v2,", "v0,", "v1a,"],
            "standard" => &["v2,", "v1,", "v1b,"],
            "hmac" => &["v2=", "sha512="],
            "token" => &["Basic ", "Token "],
            _ => &["Bearer ", "Digest "],
        };
        for marker in others {
            self.change(format!("{marker:?} before it"), unknown, move |request| request.set_marker(vendor, marker));
        }
    }

    fn lists(&mut self) {
        let vendor = self.vendor;
        let name = vendor.signature;
        let joined = match vendor.scheme {
            // Two that agree are still a list with a good one in it.
            "standard" | "stripe" => Accepted,
            _ if vendor.spelling == Spelling::Fixed => MISMATCH,
            _ => MALFORMED,
        };
        self.change("the good one twice in one header", joined, move |request| {
            request.set(name, [request.get(name), request.get(name)].join(", "));
        });
        let (junk, most) = match vendor.scheme {
            "standard" => (format!("{}AAAA ", vendor.marker), 15),
            "stripe" => (format!("{}00,", vendor.marker), 14),
            _ => return,
        };
        let long = junk.repeat(most + 1);
        let most = junk.repeat(most);
        for (what, verdict, before) in
            [("a bad one before it", Accepted, junk), ("many before it", Accepted, most), ("too many", MALFORMED, long)]
        {
            self.change(what, verdict, move |request| {
                request.set_marker(vendor, &format!("{before}{}", vendor.marker))
            });
        }
    }

    /// Signed at another time.
    fn times(&mut self) {
        let vendor = self.vendor;
        for (offset, verdict) in [
            (-86_400, STALE),
            (-301, STALE),
            (-300, Accepted),
            (-299, Accepted),
            (299, Accepted),
            (300, Accepted),
            (301, FUTURE),
            (86_400, FUTURE),
        ] {
            self.add(format!("{offset:+} s"), verdict, move |now| Request::good(vendor, now.strict_add_signed(offset)));
        }
    }

    /// Signed now, and the timestamp changed afterwards.
    fn timestamps(&mut self) {
        let vendor = self.vendor;
        let moved = |offset: i64| move |now: u64| stamp_text(vendor, now.strict_add_signed(offset));
        self.stamp("a second earlier than signed", MISMATCH, moved(-1));
        self.stamp("a second later than signed", MISMATCH, moved(1));
        self.stamp("an hour later than signed", FUTURE, moved(3600));
        self.stamp("no number", MALFORMED, |_| "soon".to_owned());
        self.stamp("an empty timestamp", MALFORMED, |_| String::new());
        self.stamp("a sign before it", MALFORMED, |now| format!("+{}", stamp_text(vendor, now)));
        self.stamp("a fraction", MALFORMED, |now| format!("{now}.0"));
        self.stamp("past all numbers", MALFORMED, |_| "99999999999999999999999".to_owned());
        if let Stamp::Header(name) | Stamp::Rfc3339(name) = vendor.timestamp {
            self.change("no timestamp", MISSING, move |request| request.remove(name));
            self.change("the timestamp twice", DUPLICATE, |request| {
                request.append(name, request.get(name).to_owned());
            });
            self.change("another timestamp first", DUPLICATE, |request| request.prepend(name, "1"));
        } else {
            let name = vendor.signature;
            self.change("no timestamp", MALFORMED, move |request| {
                request.set(name, request.get(name).split_once(',').expect("t=…,").1.to_owned());
            });
            self.add("the timestamp twice", MALFORMED, move |now| {
                let mut request = Request::good(vendor, now);
                request.set(name, format!("t={now},{}", request.get(name)));
                request
            });
        }
    }

    fn stamp(&mut self, what: &str, verdict: Verdict, text: impl Fn(u64) -> String + 'a) {
        let vendor = self.vendor;
        self.add(what, verdict, move |now| {
            let mut request = Request::good(vendor, now);
            match vendor.timestamp {
                Stamp::Header(name) | Stamp::Rfc3339(name) => request.set(name, text(now)),
                _ => {
                    let value = request.get(vendor.signature).replace(&format!("t={now}"), &format!("t={}", text(now)));
                    request.set(vendor.signature, value);
                }
            }
            request
        });
    }

    /// Standard Webhooks: the id, and the two sets of names.
    fn ids(&mut self) {
        let own = self.vendor.signature.trim_end_matches("-signature");
        let name = move |last: &str| format!("{own}-{last}");
        self.change("another id", MISMATCH, move |request| request.set(&name("id"), "msg_other"));
        self.change("no id", MISSING, move |request| request.remove(&name("id")));
        self.change("an empty id", MALFORMED, move |request| request.set(&name("id"), ""));
        self.change("an id with a dot", MALFORMED, move |request| request.set(&name("id"), "msg_2KWP.1"));
        self.change("the id twice", DUPLICATE, move |request| {
            request.append(&name("id"), request.get(&name("id")).to_owned());
        });
        let other = if own == "svix" { "webhook" } else { "svix" };
        for last in ["id", "timestamp", "signature"] {
            self.change(format!("{other}-{last} in the place of {own}-{last}"), MISSING, move |request| {
                let value = request.get(&name(last)).to_owned();
                request.remove(&name(last));
                request.append(&format!("{other}-{last}"), value);
            });
            // Ours are read where one of them is there at all.
            let verdict = if own == "svix" { MISSING } else { Accepted };
            self.change(format!("{other}-{last} besides"), verdict, move |request| {
                request.append(&format!("{other}-{last}"), "x");
            });
        }
    }

    /// Twilio: the URL and the form.
    fn fields(&mut self) {
        self.change("a longer query", MISMATCH, |request| {
            request.path.push_str(if request.path.contains('?') { "&a=b" } else { "?a=b" });
        });
        if self.vendor.name == "twilio" {
            self.change("a field more", MISMATCH, |request| request.body.extend_from_slice(b"&a=b"));
            self.change("a field twice with two values", MISMATCH, |request| {
                request.body.extend_from_slice(b"&From=1")
            });
            self.change("fields in another order", Accepted, |request| {
                let text = String::from_utf8(request.body.clone()).expect("a form");
                request.body = text.split('&').rev().collect::<Vec<_>>().join("&").into_bytes();
            });
            self.change("the space of a field spelled differently", Accepted, |request| {
                request.body =
                    String::from_utf8(request.body.clone()).expect("a form").replace('+', "%20").into_bytes();
            });
            self.change("the same field twice", Accepted, |request| request.body.extend_from_slice(b"&FromCountry=US"));
        } else {
            let vendor = self.vendor;
            self.change("another body with its own hash", MISMATCH, |request| {
                request.body[0] ^= 1;
                request.path = vendor.path(&request.body);
            });
            self.change("no hash in the query", MISMATCH, |request| {
                request.path = request.path.split_once('?').expect("a query").0.to_owned();
            });
            self.change("another hash before the good one", MISMATCH, |request| {
                request.path = request.path.replace('?', &format!("?bodySHA256={}&", "0".repeat(64)));
            });
        }
    }

    /// GitHub: the older hash, which it still sends as well.
    fn downgrades(&mut self) {
        let vendor = self.vendor;
        let name = vendor.signature;
        let older = || format!("sha1={}", hex::encode(sha1(vendor.secrets[0].as_bytes(), &[vendor.body.as_bytes()])));
        self.change("SHA-1 in the place of SHA-256", MALFORMED, move |request| request.set(name, older()));
        self.change("a bad SHA-1 besides", Accepted, |request| request.set("X-Hub-Signature", "sha1=00"));
        self.change("no SHA-1 besides", Accepted, |request| request.remove("X-Hub-Signature"));
    }

    /// What another third party signed, with a secret that is theirs.
    fn of_others(&mut self, all: &'a [Vendor]) {
        let vendor = self.vendor;
        for other in all.iter().filter(|other| other.scheme != vendor.scheme) {
            let shared = other.signature == vendor.signature;
            self.add(format!("as {} signs", other.name), if shared { MALFORMED } else { MISSING }, move |now| {
                let mut request = Request::good(vendor, now);
                let own = (vendor.sign)(&vendor.secrets[0], now, &request.body);
                own.iter().for_each(|(name, _)| request.remove(name));
                request.headers.extend((other.sign)(&other.secrets[0], now, &request.body));
                request
            });
        }
    }
}

fn stamp_text(vendor: &Vendor, at_secs: u64) -> String {
    match vendor.timestamp {
        Stamp::Rfc3339(_) => crate::inbound::vendor::rfc3339(at_secs),
        _ => at_secs.to_string(),
    }
}

/// Another character of hex, and of base64, in its place.
fn swapped(tag: &str, at: usize) -> String {
    let other = if &tag[at..=at] == "1" { "2" } else { "1" };
    format!("{}{other}{}", &tag[..at], &tag[at + 1..])
}

/// The bits that its last character has beyond the bytes are not all zero: another spelling of the same bytes.
fn with_trailing_bits(tag: &str) -> String {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bare = tag.trim_end_matches('=');
    let (head, last) = bare.split_at(bare.len() - 1);
    let at = ALPHABET.find(last).expect("base64");
    format!("{head}{}{}", &ALPHABET[at + 1..=at + 1], &tag[bare.len()..])
}
