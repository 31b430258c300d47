//! The words of JSON: strings, numbers, `true`, `false` and `null`, each passed over in place.

use super::{JsonFault, JsonFaultKind, Reader};

impl Reader<'_> {
    /// Passes a string; its opening quote is next.
    pub(super) fn string(&mut self) -> Result<(), JsonFault> {
        self.at += 1;
        loop {
            self.at += plain_prefix(&self.bytes[self.at..]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(0..0x20) => return Err(self.fault(JsonFaultKind::Control)),
                Some(_) => self.at += 1,
                None => return Err(self.fault(JsonFaultKind::End)),
            }
        }
    }

    /// Passes an escape; its backslash is next.
    fn escape(&mut self) -> Result<(), JsonFault> {
        let start = self.at;
        match self.bytes.get(start + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let half = self.code_unit(start)?;
                self.at += 6;
                if (0xDC00..0xE000).contains(&half) {
                    return Err(JsonFault { at: start, what: JsonFaultKind::Surrogate });
                }
                if (0xD800..0xDC00).contains(&half) {
                    let lone = JsonFault { at: start, what: JsonFaultKind::Surrogate };
                    if !self.bytes[self.at..].starts_with(b"\\u") {
                        return Err(lone);
                    }
                    let other = self.code_unit(self.at)?;
                    if !(0xDC00..0xE000).contains(&other) {
                        return Err(lone);
                    }
                    self.at += 6;
                }
            }
            Some(_) => return Err(self.fault(JsonFaultKind::Escape)),
            None => return Err(JsonFault { at: start + 1, what: JsonFaultKind::End }),
        }
        Ok(())
    }

    /// The four hex digits of the `\u` escape at `start`.
    fn code_unit(&self, start: usize) -> Result<u32, JsonFault> {
        let mut unit = 0;
        for at in start + 2..start + 6 {
            let Some(&byte) = self.bytes.get(at) else {
                return Err(JsonFault { at, what: JsonFaultKind::End });
            };
            let Some(digit) = char::from(byte).to_digit(16) else {
                return Err(JsonFault { at: start, what: JsonFaultKind::Escape });
            };
            unit = unit * 16 + digit;
        }
        Ok(unit)
    }

    /// Passes a number; `-` or a digit is next.
    pub(super) fn number(&mut self) -> Result<(), JsonFault> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.fault(JsonFaultKind::Number)),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.one_digit_or_more()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.one_digit_or_more()?;
        }
        Ok(())
    }

    fn digits(&mut self) {
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
    }

    fn one_digit_or_more(&mut self) -> Result<(), JsonFault> {
        match self.peek() {
            Some(b'0'..=b'9') => {
                self.digits();
                Ok(())
            }
            _ => Err(self.fault(JsonFaultKind::Number)),
        }
    }

    /// Passes `true`, `false` or `null`.
    pub(super) fn word(&mut self) -> Result<(), JsonFault> {
        let rest = &self.bytes[self.at..];
        match [&b"true"[..], b"false", b"null"].into_iter().find(|word| rest.starts_with(word)) {
            Some(word) => {
                self.at += word.len();
                Ok(())
            }
            None => Err(self.fault(JsonFaultKind::Expected("true, false or null"))),
        }
    }
}

/// How many whole words of 8 bytes at the beginning of a string's rest have nothing to look at: no quote, no backslash,
/// no control character. Several bytes are tested at once (the exact zero-byte test of "Hacker's Delight", 6-1, once for
/// each of the three).
fn plain_prefix(rest: &[u8]) -> usize {
    const LOW: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    let has_zero = |word: u64| word.wrapping_sub(LOW) & !word & HIGH != 0;
    let (words, _) = rest.as_chunks::<8>();
    let plain = |chunk: &&[u8; 8]| {
        let word = u64::from_ne_bytes(**chunk);
        let control = word.wrapping_sub(LOW * 0x20) & !word & HIGH != 0;
        !control && !has_zero(word ^ (LOW * u64::from(b'"'))) && !has_zero(word ^ (LOW * u64::from(b'\\')))
    };
    words.iter().take_while(plain).count() * 8
}
