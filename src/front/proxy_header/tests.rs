//! Headers as the document writes them, and what is none.

use proptest::prelude::*;

use super::*;

const CASES: u32 = 512;

/// Version 2 with this command, family and transport, and block.
fn v2(version_command: u8, family_transport: u8, block: &[u8]) -> Vec<u8> {
    let len = u16::try_from(block.len()).unwrap().to_be_bytes();
    [&SIGNATURE[..], &[version_command, family_transport], &len, block].concat()
}

/// 192.0.2.7:56324 to 198.51.100.1:443.
fn inet() -> Vec<u8> {
    [&[192, 0, 2, 7][..], &[198, 51, 100, 1], &56_324_u16.to_be_bytes(), &443_u16.to_be_bytes()].concat()
}

fn client(address: &str) -> Header {
    Header::Client(address.parse().unwrap())
}

/// Reads as a connection is read: never more than is asked for. What was found, and how many bytes it took.
fn read(bytes: &[u8]) -> (Result<Header, Option<Fault>>, usize) {
    let mut taken = 0;
    loop {
        match look(&bytes[..taken]) {
            Ok(Seen::Whole(header)) => return (Ok(header), taken),
            Ok(Seen::More(0)) => panic!("it asks for nothing"),
            Ok(Seen::More(more)) if taken + more > bytes.len() => {
                // What is left comes all the same.
                return match look(bytes) {
                    Err(fault) => (Err(Some(fault)), bytes.len()),
                    Ok(_) => (Err(None), bytes.len()),
                };
            }
            Ok(Seen::More(more)) => taken += more,
            Err(fault) => return (Err(Some(fault)), taken),
        }
    }
}

#[track_caller]
fn is(bytes: &[u8], header: Header) {
    let with_more = [bytes, b"GET / HTTP/1.1\r\n\r\n"].concat();
    assert_eq!(read(&with_more), (Ok(header), bytes.len()), "{}", bytes.escape_ascii());
    for cut in 0..bytes.len() {
        assert!(matches!(look(&bytes[..cut]), Ok(Seen::More(more)) if more <= bytes.len() - cut), "cut at {cut}");
    }
}

#[track_caller]
fn is_not(bytes: &[u8], fault: Fault) {
    assert_eq!(read(bytes).0, Err(Some(fault)), "{}", bytes.escape_ascii());
}

#[test]
fn version_1_as_the_document_has_it() {
    is(b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", client("255.255.255.255:65535"));
    is(b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", client("192.168.0.1:56324"));
    is(b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", client("0.0.0.0:0"));
    let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let line = format!("PROXY TCP6 {longest} {longest} 65535 65535\r\n");
    is(line.as_bytes(), client(&format!("[{longest}]:65535")));
    is(b"PROXY TCP6 2001:db8::1 :: 1 2\r\n", client("[2001:db8::1]:1"));
    is(b"PROXY UNKNOWN\r\n", Header::Own);
    let longest_of_all = format!("PROXY UNKNOWN {longest} {longest} 65535 65535\r\n");
    assert_eq!(longest_of_all.len(), TEXT_BYTES_MAX);
    is(longest_of_all.as_bytes(), Header::Own);
}

#[test]
fn version_1_otherwise_is_refused() {
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(TEXT_BYTES_MAX - 15));
    is_not(longest.as_bytes(), Fault::TooLong);
    is_not(format!("PROXY TCP4 {}", "1".repeat(200)).as_bytes(), Fault::TooLong);
    for line in [
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1\r2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 01 222\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 +1 222\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 -1 222\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 222 3\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 222 \r\n",
        "PROXY TCP4 192.0.2.1  192.0.2.2 1 222\r\n",
        "PROXY TCP4  192.0.2.1 192.0.2.2 1 222\r\n",
        "PROXY TCP4 192.000.2.1 192.0.2.2 1 222\r\n",
        "PROXY TCP4 192.0.2.256 192.0.2.2 1 222\r\n",
        "PROXY TCP4 0x7f.0.0.1 192.0.2.2 1 222\r\n",
        "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 2001:db8::2 11 22\r\n",
        "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP6 2001:db8::1%eth0 :: 1 2\r\n",
        "PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY \r\n\r\n\r\n\r\n\r\n",
        "PROXY TCP4\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n",
    ] {
        is_not(line.as_bytes(), Fault::Malformed);
    }
}

#[test]
fn version_2_as_the_document_has_it() {
    is(&v2(0x21, 0x11, &inet()), client("192.0.2.7:56324"));
    is(&v2(0x21, 0x12, &inet()), client("192.0.2.7:56324"));
    let inet6 = |last: u8| {
        let address = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
        [&address[..], &[0; 16], &[0xdc, 0x04, 0x01, 0xbb]].concat()
    };
    is(&v2(0x21, 0x21, &inet6(9)), client("[2001:db8::9]:56324"));
    // Extensions: an ALPN, what does nothing, and one without a value.
    let extended = [&inet()[..], b"\x01\0\x02h2", b"\x04\0\x03\0\0\0", b"\xe0\0\0"].concat();
    is(&v2(0x21, 0x11, &extended), client("192.0.2.7:56324"));
    // A check of the proxy's health, whatever stands in it; sockets without addresses; no word about either.
    for (version_command, family_transport, block) in [
        (0x20, 0x00, Vec::new()),
        (0x20, 0x11, inet()),
        (0x20, 0xff, vec![7; 100]),
        (0x21, 0x31, vec![b'/'; UNIX_BYTES]),
        (0x21, 0x00, Vec::new()),
        (0x21, 0x00, b"\x04\0\x01\0".to_vec()),
        (0x21, 0x10, inet()),
    ] {
        is(&v2(version_command, family_transport, &block), Header::Own);
    }
    let longest = vec![7; PROXY_HEADER_BYTES_MAX - FIXED_BYTES];
    is(&v2(0x20, 0, &longest), Header::Own);
}

#[test]
fn version_2_otherwise_is_refused() {
    is_not(&v2(0x20, 0, &vec![7; PROXY_HEADER_BYTES_MAX - FIXED_BYTES + 1]), Fault::TooLong);
    let cut = |block: &[u8], by: usize| block[..block.len() - by].to_vec();
    for (version_command, family_transport, block) in [
        // Another version, another command.
        (0x11, 0x11, inet()),
        (0x31, 0x11, inet()),
        (0x22, 0x11, inet()),
        // A family and a transport that there are not.
        (0x21, 0x41, inet()),
        (0x21, 0x13, inet()),
        // Addresses that are not whole.
        (0x21, 0x11, cut(&inet(), 1)),
        (0x21, 0x11, Vec::new()),
        (0x21, 0x21, vec![0; INET6_BYTES - 1]),
        (0x21, 0x31, vec![0; UNIX_BYTES - 1]),
        // Extensions that are not whole.
        (0x21, 0x11, [inet(), vec![4]].concat()),
        (0x21, 0x11, [inet(), vec![4, 0, 2, 0]].concat()),
    ] {
        is_not(&v2(version_command, family_transport, &block), Fault::Malformed);
    }
}

#[test]
fn what_begins_otherwise_has_no_header() {
    let bytes: [&[u8]; 8] = [
        b"GET / HTTP/1.1\r\n",
        b"POST /in/github HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\0",
        b"\r\n\r\n\0\r\nQUIT\r",
        b"\r\n\r\nGET / HTTP",
        b"PROXY\tTCP4 1.1.1.1 1.1.1.1 1 1\r\n",
        b" PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n",
    ];
    for bytes in bytes {
        is_not(bytes, Fault::Missing);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn every_client_comes_out_of_either_version_and_nothing_after_the_header_is_taken(
        source: SocketAddr,
        port: u16,
        after in proptest::collection::vec(any::<u8>(), 0..50),
    ) {
        let (kind, family, block) = match source.ip() {
            IpAddr::V4(ip) => ("TCP4", 0x11, [ip.octets(), [9; 4]].concat()),
            IpAddr::V6(ip) => ("TCP6", 0x21, [ip.octets(), [9; 16]].concat()),
        };
        let block = [block, source.port().to_be_bytes().to_vec(), port.to_be_bytes().to_vec()].concat();
        let text = format!("PROXY {kind} {ip} {ip} {} {port}\r\n", source.port(), ip = source.ip());
        for header in [text.into_bytes(), v2(0x21, family, &block)] {
            let (found, taken) = read(&[&header[..], &after].concat());
            let expected = SocketAddr::new(source.ip(), source.port());
            prop_assert_eq!((found, taken), (Ok(Header::Client(expected)), header.len()));
        }
    }

    #[test]
    fn whatever_comes_is_judged_within_bounds(
        begins in proptest::sample::select(vec![&b""[..], WORD, b"PROXY TCP4 ", SIGNATURE, b"PROXY UNKNOWN"]),
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let bytes = [begins, &bytes].concat();
        let mut before = 0;
        for end in 0..=bytes.len() {
            match look(&bytes[..end]) {
                Ok(Seen::More(more)) => {
                    prop_assert!(more > 0 && end + more <= PROXY_HEADER_BYTES_MAX);
                    // It never turns out that less was to come.
                    prop_assert!(end + more >= before);
                    before = end + more;
                }
                Ok(Seen::Whole(_)) => {
                    prop_assert!(end >= before);
                    break;
                }
                Err(_) => break,
            }
        }
    }
}
