//! What is wrong with a config: every fault at once, each with its place.

use std::fmt;

/// One fault of a config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Its line, from 1; 0 where the file as a whole is at fault.
    pub line: usize,
    /// Its column in characters, from 1; 0 where the file as a whole is at fault.
    pub column: usize,
    /// The full key, such as `endpoint.billing.timeout`; empty where no key is at fault.
    pub key: String,
    /// What was expected, what was found, what to do. Never a secret.
    pub message: String,
}

/// Every fault of a config file. Shown one a line, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    file_name: String,
    errors: Vec<ConfigError>,
}

impl ConfigErrors {
    pub(super) fn new(file_name: &str, mut errors: Vec<ConfigError>) -> Self {
        assert!(!errors.is_empty(), "a config is refused for a reason");
        errors.sort_by_key(|error| (error.line, error.column));
        Self { file_name: file_name.to_owned(), errors }
    }

    /// A fault of the file as a whole.
    pub(super) fn of_file(file_name: &str, message: String) -> Self {
        Self::new(file_name, vec![ConfigError { line: 0, column: 0, key: String::new(), message }])
    }

    /// The file's name, as it was given.
    #[must_use]
    pub fn file_name(&self) -> &str {
        &self.file_name
    }

    /// The faults, in the order of the file. Never empty.
    #[must_use]
    pub fn errors(&self) -> &[ConfigError] {
        &self.errors
    }

    /// The faults as `check` prints them, each as `file:line:column: key: message`.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.errors.iter().map(|error| {
            let mut line = self.file_name.clone();
            if error.line > 0 {
                line.push_str(&format!(":{}:{}", error.line, error.column));
            }
            if !error.key.is_empty() {
                line.push_str(&format!(": {}", error.key));
            }
            format!("{line}: {}", error.message)
        })
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, line) in self.lines().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            f.write_str(&line)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
