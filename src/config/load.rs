//! From a file to a checked config.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use toml::de::DeTable;
use zeroize::Zeroizing;

use super::delivery::{self, Delivery};
use super::error::{ConfigError, ConfigErrors};
use super::keys::{DELIVERY, ROOT};
use super::reader::{EnvLookup, Item, Reading, Table};
use super::{Config, api, endpoint, inbound, source, storage};
use crate::clock::{SystemClock, UnixMs};
use crate::limits;

/// Looks up a variable of this process's environment.
#[must_use]
pub fn process_env(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

impl Config {
    /// Reads and checks a config file, with the secret and PEM files that it names, at the machine's time.
    ///
    /// # Errors
    /// Every fault at once, each with its place; or one line if the file cannot be read at all.
    pub fn load(path: &Path, env: EnvLookup<'_>) -> Result<Self, ConfigErrors> {
        Self::load_to_run(path, env, SystemClock::shared().wall())?.in_time()
    }

    /// The same for a daemon, at the time `now`. A certificate that has expired, or is not valid yet, is no reason not to start:
    /// what was told of it stands in [`Config::lapsed`].
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_to_run(path: &Path, env: EnvLookup<'_>, now: UnixMs) -> Result<Self, ConfigErrors> {
        let file_name = path.display().to_string();
        let refuse = |message: String| ConfigErrors::of_file(&file_name, message);
        let bytes = read_file(path).map_err(|error| {
            refuse(format!("the config file cannot be read: {error}; check its path and that this user may read it"))
        })?;
        if bytes.len() > limits::CONFIG_BYTES_MAX {
            return Err(refuse(format!("the config file has more than {} bytes", limits::CONFIG_BYTES_MAX)));
        }
        let text = std::str::from_utf8(&bytes).map_err(|error| {
            let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
            refuse(format!("the config file is not UTF-8 (line {line}); save it as UTF-8 text"))
        })?;
        Self::parse_to_run(text, &file_name, path.parent().unwrap_or(Path::new("")), env, now)
    }

    /// Checks a config at the machine's time; see [`Config::parse_at`].
    ///
    /// # Errors
    /// Every fault at once, each with its place.
    pub fn parse(text: &str, file_name: &str, base_dir: &Path, env: EnvLookup<'_>) -> Result<Self, ConfigErrors> {
        Self::parse_at(text, file_name, base_dir, env, SystemClock::shared().wall())
    }

    /// Checks a config at the time `now`. `file_name` is what errors call it; relative paths start at `base_dir`. Nothing is read but the
    /// secret and PEM files that it names.
    ///
    /// # Errors
    /// Every fault at once, each with its place.
    pub fn parse_at(
        text: &str,
        file_name: &str,
        base_dir: &Path,
        env: EnvLookup<'_>,
        now: UnixMs,
    ) -> Result<Self, ConfigErrors> {
        Self::parse_to_run(text, file_name, base_dir, env, now)?.in_time()
    }

    /// The config, unless something in it has lapsed.
    fn in_time(mut self) -> Result<Self, ConfigErrors> {
        self.lapsed.take().map_or(Ok(self), Err)
    }

    fn parse_to_run(
        text: &str,
        file_name: &str,
        base_dir: &Path,
        env: EnvLookup<'_>,
        now: UnixMs,
    ) -> Result<Self, ConfigErrors> {
        let mut reading = Reading::new(text, file_name, base_dir, env, now);
        let (document, faults) = DeTable::parse_recoverable(text);
        for fault in &faults {
            let at = fault.span().map_or(text.len(), |span| span.start);
            reading.error_at(at, "", format!("not TOML: {}", fault.message()));
        }
        if !faults.is_empty() {
            // What the parser made of the rest is a guess.
            return Err(ConfigErrors::new(file_name, first_of_each_line(reading.errors)));
        }
        let config = read(&mut reading, document.get_ref());
        let Reading { mut errors, lapsed, warnings, .. } = reading;
        if !errors.is_empty() {
            errors.extend(lapsed);
            return Err(ConfigErrors::new(file_name, errors));
        }
        let lapsed = (!lapsed.is_empty()).then(|| ConfigErrors::new(file_name, lapsed));
        Ok(Self { lapsed, warnings, ..config })
    }
}

fn read_file(path: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path)?;
    let bytes_max = limits::CONFIG_BYTES_MAX as u64 + 1;
    // It may hold secrets: the whole room at once, for a buffer that grows leaves copies behind that nobody wipes.
    let room = file.metadata()?.len().saturating_add(1).min(bytes_max);
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(room).unwrap_or_default()));
    file.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read(reading: &mut Reading<'_>, document: &DeTable<'_>) -> Config {
    let root = Table::root(reading, document, &ROOT);
    let api = api::read(reading, root.get("api").as_ref());
    let source_item = root.get("source");
    let inbound = inbound::read(reading, root.get("inbound").as_ref(), source_item.as_ref(), &api);
    let at = inbound.clone().unwrap_or_default();
    let sources = source_item.map(|item| source::read_all(reading, &item, &at)).unwrap_or_default();
    let storage = storage::read(reading, root.get("storage").as_ref());
    let delivery = read_delivery(reading, root.get("delivery"));
    let endpoints = root.get("endpoint").map(|item| endpoint::read_all(reading, &item, &delivery)).unwrap_or_default();
    if endpoints.is_empty() {
        reading.warnings.push("there is no [endpoint.NAME] yet: events are stored, and delivered to nobody".to_owned());
    }
    Config { api, inbound, storage, endpoints, sources, lapsed: None, warnings: Vec::new() }
}

fn read_delivery(reading: &mut Reading<'_>, item: Option<Item<'_>>) -> Delivery {
    let table = item.and_then(|item| Table::open(reading, &item, &DELIVERY));
    table.map(|table| delivery::read(reading, &table, &Delivery::default())).unwrap_or_default()
}

/// One slip of the pen sends the parser through several faults; the first of a line is the one to mend.
fn first_of_each_line(mut errors: Vec<ConfigError>) -> Vec<ConfigError> {
    errors.sort_by_key(|error| (error.line, error.column));
    errors.dedup_by_key(|error| error.line);
    errors
}
