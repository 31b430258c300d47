//! How often systemd wants to hear that the service is alive: sd_watchdog_enabled(3).

use std::ffi::OsString;

use super::Env;

/// The watchdog that is set on this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watchdog {
    /// `WatchdogSec=`: without a word for this long, the process is killed. In milliseconds.
    pub interval_ms: u64,
}

impl Watchdog {
    /// The one that `$WATCHDOG_USEC` sets, if `$WATCHDOG_PID` does not say that another process is meant.
    pub(super) fn from_env(env: Env<'_>, pid: u32) -> Option<Self> {
        let number = |text: OsString| text.to_str().and_then(|text| text.parse::<u64>().ok());
        let usec = env("WATCHDOG_USEC")?;
        if env("WATCHDOG_PID").filter(|text| !text.is_empty()).is_some_and(|text| number(text) != Some(u64::from(pid)))
        {
            return None;
        }
        let interval_ms = number(usec.clone()).unwrap_or(0) / 1000;
        if interval_ms == 0 {
            tracing::warn!(?usec, "WATCHDOG_USEC is no time that anybody could keep; the watchdog is not served");
            return None;
        }
        Some(Self { interval_ms })
    }

    /// Time between two words, in milliseconds: a third of the interval, so that one that is lost or late does no harm.
    #[must_use]
    pub fn ping_ms(self) -> u64 {
        (self.interval_ms / 3).max(1)
    }

    /// How long the parts of the daemon may take to answer before the word is withheld, in milliseconds.
    #[must_use]
    pub fn answer_ms(self) -> u64 {
        (self.interval_ms / 2).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Option<u64> {
        let env = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        Watchdog::from_env(&env, 7).map(|watchdog| watchdog.interval_ms)
    }

    #[test]
    fn the_watchdog_is_served_where_this_process_is_meant() {
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[("WATCHDOG_USEC", "30000000")]), Some(30_000));
        assert_eq!(read(&[("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "7")]), Some(30_000));
        assert_eq!(read(&[("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "8")]), None);
        assert_eq!(read(&[("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "x")]), None);
        for nonsense in ["", "0", "999", "-1", "30s", "99999999999999999999999"] {
            assert_eq!(read(&[("WATCHDOG_USEC", nonsense)]), None, "{nonsense:?}");
        }
    }

    #[test]
    fn words_come_three_times_as_often_as_asked() {
        let watchdog = Watchdog { interval_ms: 30_000 };
        assert_eq!((watchdog.ping_ms(), watchdog.answer_ms()), (10_000, 15_000));
        let short = Watchdog { interval_ms: 1 };
        assert_eq!((short.ping_ms(), short.answer_ms()), (1, 1));
    }
}
