//! How a command ends when it does not end well: what to say, and the exit code.

use std::fmt;
use std::io;

/// Exit code of a command that did what was asked.
pub(super) const EXIT_OK: u8 = 0;
/// Exit code of a command that was understood and did not succeed.
pub(super) const EXIT_FAILED: u8 = 1;
/// Exit code of a command that was called wrongly, or with a config that is wrong. It is the one clap uses as well.
pub(super) const EXIT_USAGE: u8 = 2;

/// Why a command did not succeed.
#[derive(Debug)]
pub(super) struct Failure {
    code: u8,
    cause: Option<anyhow::Error>,
}

/// What every command returns.
pub(super) type Outcome = Result<(), Failure>;

impl Failure {
    /// The command line or a file it names is at fault: exit code 2.
    pub(super) fn usage(message: impl fmt::Display) -> Self {
        Self { code: EXIT_USAGE, cause: Some(anyhow::anyhow!("{message}")) }
    }

    /// The thing asked for did not succeed: exit code 1.
    pub(super) fn failed(message: impl fmt::Display) -> Self {
        Self { code: EXIT_FAILED, cause: Some(anyhow::anyhow!("{message}")) }
    }

    /// Everything has been said already.
    pub(super) fn silent(code: u8) -> Self {
        Self { code, cause: None }
    }

    /// The exit code.
    pub(super) fn code(&self) -> u8 {
        self.code
    }

    /// What to print after `error: `, causes included; `None` where nothing is left to say.
    pub(super) fn message(&self) -> Option<String> {
        let mut chain = self.cause.as_ref()?.chain().map(ToString::to_string);
        let mut message = chain.next()?;
        for cause in chain {
            // Many errors tell their cause themselves.
            if !message.contains(&cause) {
                message = format!("{message}: {cause}");
            }
        }
        Some(message)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(cause: anyhow::Error) -> Self {
        Self { code: EXIT_FAILED, cause: Some(cause) }
    }
}

/// For writing the output: a reader that went away (`webhookd events | head`) has seen enough, and that is no failure.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::silent(EXIT_OK);
        }
        Self { code: EXIT_FAILED, cause: Some(anyhow::Error::new(error).context("the output could not be written")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let cause = || io::Error::other("the disk is on fire");
        let told = Failure::from(anyhow::Error::new(cause()).context("no data folder: the disk is on fire"));
        assert_eq!(told.message().as_deref(), Some("no data folder: the disk is on fire"));
        let added = Failure::from(anyhow::Error::new(cause()).context("no data folder"));
        assert_eq!(added.message().as_deref(), Some("no data folder: the disk is on fire"));
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let gone = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((gone.code(), gone.message()), (EXIT_OK, None));
        let full = Failure::from(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(full.code(), EXIT_FAILED);
        assert!(full.message().is_some_and(|text| text.starts_with("the output could not be written: ")));
    }
}
