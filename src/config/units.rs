//! Durations, sizes and rates as the config writes them, both ways. Pure.

use thiserror::Error;

/// Why a quantity is refused. The text says what would do.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum UnitError {
    /// Not a whole number and a unit of time.
    #[error("write a whole number and ms, s, m, h or d, such as \"15s\"")]
    Duration,
    /// Not a whole number and a unit of size.
    #[error("write a whole number and B, KiB, MiB, GiB or TiB, such as \"64KiB\"")]
    Size,
    /// A unit counted in thousands.
    #[error("sizes count in 1024s here: write KiB, MiB, GiB or TiB, such as \"64KiB\"")]
    Thousands,
    /// Not a count and a unit of time.
    #[error("write a whole number, a slash and s, m or h, such as \"100/s\"")]
    Rate,
    /// More than fits.
    #[error("the number is too large")]
    TooLarge,
}

const DURATIONS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
const SIZES: [(&str, u64); 5] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Milliseconds of `"250ms"`, `"5s"`, `"10m"`, `"2h"`, `"7d"`.
///
/// # Errors
/// Anything but a whole number and one of these units.
pub fn parse_duration_ms(text: &str) -> Result<u64, UnitError> {
    let (count, unit) = split(text).ok_or(UnitError::Duration)?;
    let (_, ms) = DURATIONS.iter().find(|(name, _)| *name == unit).ok_or(UnitError::Duration)?;
    times(count, *ms)
}

/// Bytes of `"512B"`, `"64KiB"`, `"1MiB"`, `"10GiB"`, `"1TiB"`.
///
/// # Errors
/// Anything but a whole number and one of these units.
pub fn parse_size_bytes(text: &str) -> Result<u64, UnitError> {
    let (count, unit) = split(text).ok_or(UnitError::Size)?;
    if matches!(unit.to_ascii_lowercase().as_str(), "k" | "kb" | "m" | "mb" | "g" | "gb" | "t" | "tb") {
        return Err(UnitError::Thousands);
    }
    let (_, bytes) = SIZES.iter().find(|(name, _)| *name == unit).ok_or(UnitError::Size)?;
    times(count, *bytes)
}

/// The count and the milliseconds of `"100/s"`, `"100/m"`, `"100/h"`.
///
/// # Errors
/// Anything but a whole number, a slash and one of these units.
pub fn parse_rate(text: &str) -> Result<(u32, u64), UnitError> {
    let (count, unit) = split(text).ok_or(UnitError::Rate)?;
    let per_ms = match unit {
        "/s" => 1000,
        "/m" => 60_000,
        "/h" => 3_600_000,
        _ => return Err(UnitError::Rate),
    };
    Ok((count.parse().map_err(|_| UnitError::TooLarge)?, per_ms))
}

/// The duration in the largest unit that leaves no remainder.
#[must_use]
pub fn show_duration_ms(ms: u64) -> String {
    show(ms, &DURATIONS, "0s")
}

/// The size in the largest unit that leaves no remainder.
#[must_use]
pub fn show_size_bytes(bytes: u64) -> String {
    show(bytes, &SIZES, "0B")
}

/// The digits and what follows them.
fn split(text: &str) -> Option<(&str, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    (digits > 0).then(|| text.split_at(digits))
}

fn times(count: &str, unit: u64) -> Result<u64, UnitError> {
    let count: u64 = count.parse().map_err(|_| UnitError::TooLarge)?;
    count.checked_mul(unit).ok_or(UnitError::TooLarge)
}

fn show(value: u64, units: &[(&str, u64)], zero: &str) -> String {
    let whole = units.iter().find(|(_, size)| value != 0 && value.is_multiple_of(*size));
    whole.map_or_else(|| zero.to_owned(), |(name, size)| format!("{}{name}", value / size))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_of_the_contract_are_read() {
        for (text, ms) in [("250ms", 250), ("5s", 5000), ("10m", 600_000), ("2h", 7_200_000), ("7d", 604_800_000)] {
            assert_eq!(parse_duration_ms(text), Ok(ms), "{text}");
            assert_eq!(show_duration_ms(ms), text);
        }
    }

    #[test]
    fn durations_need_a_whole_number_and_a_unit() {
        for bad in ["", "5", "s", "5 s", " 5s", "5S", "-5s", "+5s", "1.5h", "5sec", "1h30m", "5w", "٥s", "5s "] {
            assert_eq!(parse_duration_ms(bad), Err(UnitError::Duration), "{bad:?}");
        }
        assert_eq!(parse_duration_ms("99999999999999999999s"), Err(UnitError::TooLarge));
        assert_eq!(parse_duration_ms("18446744073709551615d"), Err(UnitError::TooLarge));
    }

    #[test]
    fn sizes_of_the_contract_are_read() {
        for (text, bytes) in [("512B", 512), ("64KiB", 65_536), ("1MiB", 1 << 20), ("10GiB", 10 << 30)] {
            assert_eq!(parse_size_bytes(text), Ok(bytes), "{text}");
            assert_eq!(show_size_bytes(bytes), text);
        }
        for thousands in ["64KB", "64kb", "64k", "10GB", "1M"] {
            assert_eq!(parse_size_bytes(thousands), Err(UnitError::Thousands), "{thousands}");
        }
        for bad in ["", "64", "KiB", "64 KiB", "64kib", "-1B", "1.5MiB"] {
            assert_eq!(parse_size_bytes(bad), Err(UnitError::Size), "{bad:?}");
        }
        assert_eq!(parse_size_bytes("18446744073709551615KiB"), Err(UnitError::TooLarge));
    }

    #[test]
    fn rates_of_the_contract_are_read() {
        assert_eq!(parse_rate("100/s"), Ok((100, 1000)));
        assert_eq!(parse_rate("60/m"), Ok((60, 60_000)));
        assert_eq!(parse_rate("1/h"), Ok((1, 3_600_000)));
        for bad in ["", "100", "/s", "100/d", "100/2s", "100 /s", "-1/s"] {
            assert_eq!(parse_rate(bad), Err(UnitError::Rate), "{bad:?}");
        }
        assert_eq!(parse_rate("4294967296/s"), Err(UnitError::TooLarge));
    }

    proptest! {
        /// What is shown is read back as the same quantity.
        #[test]
        fn shown_quantities_are_read_back(value in any::<u64>()) {
            prop_assert_eq!(parse_duration_ms(&show_duration_ms(value)), Ok(value));
            prop_assert_eq!(parse_size_bytes(&show_size_bytes(value)), Ok(value));
        }

        /// No text makes the readers panic.
        #[test]
        fn any_text_is_answered(text in ".*") {
            let _ = (parse_duration_ms(&text), parse_size_bytes(&text), parse_rate(&text));
        }
    }
}
