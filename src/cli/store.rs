//! `webhookd store check|export|import`: the data folder of a daemon that does not run.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use super::failure::{EXIT_FAILED, EXIT_USAGE, Failure, Outcome};
use super::screen::escape;
use super::{Stage, tell};
use crate::clock::SystemClock;
use crate::config::{Config, process_env};
use crate::limits::GENERATION_BYTES_MAX;
use crate::outbox::offline::{self, Exported, Fault, ImportOptions, Imported, OfflineError, Progress};

mod report;

/// Check, export or import the data folder of a daemon that does not run
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
}

const AFTER_HELP: &str = "\
Examples:
  webhookd store check --config /etc/webhookd/webhookd.toml
  webhookd store check --quick --json
  webhookd store export --out events.ndjson
  webhookd store export | jq -r 'select(.deliveries[]?.state == \"dead\") | .id'
  webhookd store import events.ndjson --config new.toml

Stop the daemon first. Check and export change nothing, and work on a disk that can only be read; export also reads what a \
damaged folder still has. Import fills a new folder. Exit codes: 0 all is sound, or done; 1 something is damaged or missing, \
or it could not be done; 2 wrong usage or a wrong config.";

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Tell whether the data folder is sound: reads and verifies every record, and changes nothing
    Check(CheckArgs),
    /// Print every event with its deliveries and attempts, one JSON object a line
    Export(ExportArgs),
    /// Bring an export into a new data folder, with everything that has happened to its events
    Import(ImportArgs),
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// The config file, which names the data folder
    #[arg(long, value_name = "FILE", default_value = "webhookd.toml")]
    config: PathBuf,

    /// Do not try the storage engine on a copy: faster, and needs no room for temporary files
    #[arg(long)]
    quick: bool,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ExportArgs {
    /// The config file, which names the data folder
    #[arg(long, value_name = "FILE", default_value = "webhookd.toml")]
    config: PathBuf,

    /// Write to this file, which must not be there yet, instead of the standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ImportArgs {
    /// The export; - reads stdin
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,

    /// The config file, which names the data folder: a new or empty one
    #[arg(long, value_name = "FILE", default_value = "webhookd.toml")]
    config: PathBuf,
}

pub(super) fn run(args: &StoreArgs, stage: &mut Stage) -> Outcome {
    crate::daemon::make_files_private();
    match &args.command {
        StoreCommand::Check(args) => check(args, stage),
        StoreCommand::Export(args) => export(args, stage),
        StoreCommand::Import(args) => import(args, stage),
    }
}

/// The data folder that a config names.
fn data_folder(config: &Path) -> Result<PathBuf, Failure> {
    match Config::load_to_run(config, &process_env, SystemClock::shared().wall()) {
        Ok(config) => Ok(config.storage.dir),
        Err(errors) => {
            tell(&errors.to_string());
            Err(Failure::silent(EXIT_USAGE))
        }
    }
}

fn check(args: &CheckArgs, stage: &mut Stage) -> Outcome {
    let dir = data_folder(&args.config)?;
    let bar = bar_over_bytes();
    let checked = offline::check(&dir, args.quick, &mut |progress| show(&bar, progress));
    bar.finish_and_clear();
    let checked = checked.map_err(failure)?;
    if args.json {
        stage.screen.json(report::as_json(&dir, &checked).to_string().as_bytes())?;
    } else {
        report::print(&dir, &checked, &mut stage.screen)?;
    }
    if checked.is_sound() { Ok(()) } else { Err(Failure::silent(EXIT_FAILED)) }
}

fn export(args: &ExportArgs, stage: &mut Stage) -> Outcome {
    let dir = data_folder(&args.config)?;
    // A bar in the midst of the lines would spoil both.
    let bar = if args.out.is_none() && io::stdout().is_terminal() { ProgressBar::hidden() } else { bar_over_bytes() };
    let mut watch = |progress| show(&bar, progress);
    let exported = match &args.out {
        Some(path) => export_to_file(&dir, path, &mut watch),
        None if io::stdout().is_terminal() => {
            offline::export(&dir, &mut |line| stage.screen.json(line), &mut watch).map_err(failure)
        }
        None => {
            let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
            let exported = offline::export(&dir, &mut |line| put(&mut out, line), &mut watch).map_err(failure);
            exported.and_then(|exported| Ok(out.flush().map(|()| exported)?))
        }
    };
    bar.finish_and_clear();
    account_of_export(&exported?)
}

fn export_to_file(dir: &Path, path: &Path, watch: &mut dyn FnMut(Progress)) -> Result<Exported, Failure> {
    let told = || path.display().to_string();
    // What producers sent is nobody else's business.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
        let taken = error.kind() == io::ErrorKind::AlreadyExists;
        let what = if taken { "it is there already; name another file".to_owned() } else { error.to_string() };
        Failure::failed(format!("{} cannot be made: {what}", told()))
    })?;
    let mut out = BufWriter::with_capacity(1 << 16, file);
    let exported = offline::export(dir, &mut |line| put(&mut out, line), watch).map_err(failure).and_then(|exported| {
        let synced = out.flush().and_then(|()| out.get_ref().sync_all());
        synced.with_context(|| format!("{} could not be written", told()))?;
        Ok(exported)
    });
    if exported.is_err() {
        // Half an export must not pass for a whole one.
        let _ = std::fs::remove_file(path);
    }
    exported
}

fn put(out: &mut impl Write, line: &[u8]) -> io::Result<()> {
    out.write_all(line)?;
    out.write_all(b"\n")
}

/// Tells on stderr how an export went, so that its lines can be piped.
fn account_of_export(exported: &Exported) -> Outcome {
    let Exported { events, without_body, endpoints, faults, set_aside } = exported;
    for Fault { what, remedy } in faults {
        tell(&format!("not all of it could be read: {what}\n  {remedy}"));
    }
    if *without_body > 0 {
        tell(&format!(
            "{without_body} events have lost their body: they are told with \"body_lost\", and an import leaves them out"
        ));
    }
    if *set_aside > 0 {
        tell(&format!("{set_aside} damaged generations lie set aside; what could be saved of them is in the export"));
    }
    tell(&format!("{events} events exported{}", kept_of(*endpoints)));
    if faults.is_empty() && *without_body == 0 { Ok(()) } else { Err(Failure::silent(EXIT_FAILED)) }
}

fn import(args: &ImportArgs, stage: &mut Stage) -> Outcome {
    let dir = data_folder(&args.config)?;
    let (mut input, bar) = open_input(&args.file)?;
    let options = ImportOptions { dir, generation_bytes: GENERATION_BYTES_MAX, now: stage.clock.wall() };
    let imported = offline::import(&options, &mut *input);
    bar.finish_and_clear();
    let dir = escape(&options.dir.display().to_string()).into_owned();
    let imported = imported.map_err(|error| match error {
        OfflineError::Folder(_) | OfflineError::NoFolder { .. } | OfflineError::InUse { .. } => failure(error),
        other => Failure::failed(format!(
            "{}: {other}\n{dir} is half made, and webhookd does not start on it: remove it before the next try",
            args.file.display()
        )),
    })?;
    let Imported { events, pending, endpoints, duplicates, duplicates_named, without_body } = imported;
    for (line, id) in &duplicates_named {
        tell(&format!("line {line}: {id} was there before; the first one counts"));
    }
    let unnamed = duplicates - duplicates_named.len() as u64;
    if unnamed > 0 {
        tell(&format!("and {unnamed} more lines whose id was there before"));
    }
    if without_body > 0 {
        tell(&format!("{without_body} events were left out: they had lost their body before they were exported"));
    }
    let kept = kept_of(endpoints);
    stage.screen.line(&format!("{events} events imported into {dir}, {pending} deliveries pending{kept}"))?;
    Ok(())
}

fn kept_of(endpoints: u64) -> String {
    match endpoints {
        0 => String::new(),
        1 => ", and the state of 1 endpoint".to_owned(),
        many => format!(", and the states of {many} endpoints"),
    }
}

fn open_input(path: &Path) -> Result<(Box<dyn BufRead>, ProgressBar), Failure> {
    if path == Path::new("-") {
        return Ok((Box::new(io::stdin().lock()), ProgressBar::hidden()));
    }
    let file = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let bar = bar_over_bytes();
    bar.set_length(file.metadata().map_or(0, |metadata| metadata.len()));
    Ok((Box::new(BufReader::with_capacity(1 << 16, bar.wrap_read(file))), bar))
}

fn failure(error: OfflineError) -> Failure {
    match error {
        // A reader that went away has seen enough.
        OfflineError::Output(error) => error.into(),
        other => Failure::from(anyhow::Error::new(other)),
    }
}

/// A progress bar on stderr, if that is a terminal.
fn bar_over_bytes() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    match ProgressStyle::with_template("{bar:30} {bytes} of {total_bytes}  {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn show(bar: &ProgressBar, progress: Progress) {
    bar.set_length(progress.total_bytes);
    bar.set_position(progress.done_bytes);
}
