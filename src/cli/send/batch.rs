//! `webhookd send --batch`: NDJSON in pieces that the daemon takes whole or not at all, with an account of how far it came.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::Stage;
use super::super::client::{self, Answer, Api, ApiError};
use super::super::failure::{Failure, Outcome};
use super::super::view::{Accepted, AcceptedBatch};
use super::open;
use crate::limits;
use crate::model::text::EventType;

/// How often a piece is offered again to a daemon that asks to come back later.
const LATER_TRIES_MAX: u32 = 20;
/// The longest wait before offering it again, in seconds, whatever the daemon asks for.
const LATER_SECONDS_MAX: u64 = 30;

/// One event of the input, as the text that goes into the request.
#[derive(Debug)]
struct Line {
    number: u64,
    text: String,
    /// Bytes of the input up to its end, for the progress bar.
    read_bytes: u64,
}

/// The input, line by line, under a limit for each.
pub(super) struct Lines {
    source: Box<dyn BufRead>,
    origin: String,
    total_bytes: Option<u64>,
    number: u64,
    read_bytes: u64,
}

/// What a line must hold to be sent at all; the daemon looks closer.
#[derive(Deserialize)]
struct Sketch {
    #[serde(rename = "type")]
    event_type: Option<serde::de::IgnoredAny>,
}

impl Lines {
    /// Opens `file`; stdin for `-` and for none.
    pub(super) fn open(file: Option<&Path>) -> Result<Self, Failure> {
        let path = file.unwrap_or(Path::new("-"));
        let (source, origin) = open(path)?;
        let metadata = std::fs::metadata(path).ok().filter(|meta| meta.is_file() && origin != "stdin");
        Ok(Self::new(Box::new(BufReader::new(source)), origin, metadata.map(|meta| meta.len())))
    }

    fn new(source: Box<dyn BufRead>, origin: String, total_bytes: Option<u64>) -> Self {
        Self { source, origin, total_bytes, number: 0, read_bytes: 0 }
    }

    /// The next line that is not blank; `None` at the end.
    fn next(&mut self, default_type: Option<&EventType>) -> Result<Option<Line>, Failure> {
        loop {
            let limit = limits::MAX_BODY_BYTES_MAX;
            let mut bytes = Vec::new();
            let reading = self.source.by_ref().take(limit as u64 + 1).read_until(b'\n', &mut bytes);
            self.number += 1;
            if reading.map_err(|error| self.bad(&format!("could not be read: {error}")))? == 0 {
                return Ok(None);
            }
            self.read_bytes += bytes.len() as u64;
            if bytes.len() > limit {
                return Err(self.bad(&format!("has more than {limit} bytes, which no daemon takes")));
            }
            let text = str::from_utf8(&bytes).map_err(|_| self.bad("is no UTF-8 text"))?.trim();
            if text.is_empty() {
                continue;
            }
            let text = self.checked(text, default_type)?;
            return Ok(Some(Line { number: self.number, text, read_bytes: self.read_bytes }));
        }
    }

    fn checked(&self, text: &str, default_type: Option<&EventType>) -> Result<String, Failure> {
        let sketch =
            serde_json::from_str::<Sketch>(text).map_err(|error| self.bad(&format!("is no event: {error}")))?;
        // An array would pass for the sketch as well.
        let Some(fields) = text.strip_prefix('{') else {
            return Err(self.bad("is no event: expected a JSON object such as {\"type\":\"invoice.paid\",\"data\":{}}"));
        };
        match (sketch.event_type, default_type) {
            (Some(_), _) => Ok(text.to_owned()),
            (None, Some(default)) => {
                let comma = if fields.trim_start().starts_with('}') { "" } else { "," };
                Ok(format!("{{\"type\":\"{default}\"{comma}{fields}"))
            }
            (None, None) => Err(self.bad("has no \"type\"; give one for all lines with `webhookd send TYPE --batch`")),
        }
    }

    fn bad(&self, why: &str) -> Failure {
        Failure::failed(format!("line {} of {} {why}", self.number, self.origin))
    }
}

/// Sends every line, in order; what is stored stays stored when a later line fails.
pub(super) async fn send(
    api: &Api,
    lines: Lines,
    default_type: Option<&EventType>,
    json: bool,
    stage: &mut Stage,
) -> Outcome {
    let progress = progress(lines.total_bytes);
    let mut batch = Batch {
        api,
        lines,
        default_type,
        json,
        stage,
        progress,
        totals: Totals::default(),
        room: limits::CLI_BATCH_BYTES,
    };
    let sent = batch.run().await;
    batch.progress.finish_and_clear();
    let Totals { accepted, duplicates, through } = batch.totals;
    match sent {
        Ok(()) if json => Ok(()),
        Ok(()) => {
            let known = if duplicates > 0 { format!(", {duplicates} of them known already") } else { String::new() };
            Ok(stage.screen.line(&format!("{accepted} events accepted{known}"))?)
        }
        // A reader that went away has nothing more to hear.
        Err(failure) => Err(match failure.message() {
            None => failure,
            Some(message) => Failure::failed(format!("{message}\n{}", where_to_go_on(through))),
        }),
    }
}

fn where_to_go_on(through: u64) -> String {
    match through {
        0 => "no line was accepted before it".to_owned(),
        _ => format!(
            "lines 1 to {through} were accepted; go on with `tail -n +{} FILE | webhookd send --batch`",
            through + 1
        ),
    }
}

#[derive(Clone, Copy, Default)]
struct Totals {
    accepted: u64,
    duplicates: u64,
    /// The last line that was accepted.
    through: u64,
}

struct Batch<'a> {
    api: &'a Api,
    lines: Lines,
    default_type: Option<&'a EventType>,
    json: bool,
    stage: &'a mut Stage,
    progress: ProgressBar,
    totals: Totals,
    /// Bytes that a piece may have; goes down when the daemon takes less.
    room: usize,
}

impl Batch<'_> {
    async fn run(&mut self) -> Outcome {
        let mut waiting: VecDeque<Line> = VecDeque::new();
        let mut end: Option<Outcome> = None;
        loop {
            while end.is_none() && !is_piece(&waiting, self.room) {
                match self.lines.next(self.default_type) {
                    Ok(Some(line)) => waiting.push_back(line),
                    Ok(None) => end = Some(Ok(())),
                    // What came before it is sent first.
                    Err(failure) => end = Some(Err(failure)),
                }
            }
            match (waiting.is_empty(), &mut end) {
                (true, Some(end)) => return std::mem::replace(end, Ok(())),
                (true, None) => {}
                (false, _) => self.send_piece(&mut waiting).await?,
            }
        }
    }

    /// Sends as many of the lines in front as make a piece, and removes those that were accepted.
    async fn send_piece(&mut self, waiting: &mut VecDeque<Line>) -> Outcome {
        let count = piece(waiting, self.room);
        let piece = waiting.range(..count);
        let body = format!("[{}]", piece.map(|line| line.text.as_str()).collect::<Vec<_>>().join(",\n"));
        let body_bytes = body.len();
        let answer = match self.offer(body).await {
            Ok(answer) => answer,
            Err(ApiError::Refused(problem)) if problem.is_too_large() && count > 1 => {
                self.room = (body_bytes / 2).max(1);
                return Ok(());
            }
            Err(error) => return Err(explain(&error, waiting, count)),
        };
        if self.json {
            #[derive(Deserialize)]
            struct Raw {
                events: Vec<Box<RawValue>>,
            }
            let Raw { events } = answer.decode()?;
            for event in &events {
                self.stage.screen.json(event.get().as_bytes())?;
            }
        }
        let AcceptedBatch { events } = answer.decode()?;
        self.totals.accepted += events.len() as u64;
        self.totals.duplicates += events.iter().filter(|event: &&Accepted| event.duplicate).count() as u64;
        if let Some(last) = waiting.drain(..count).next_back() {
            self.totals.through = last.number;
            self.progress.set_position(last.read_bytes);
        }
        self.progress.set_message(format!("{} events", self.totals.accepted));
        Ok(())
    }

    /// Posts a piece, again and again while the daemon asks to come back later: nothing of it is stored then.
    async fn offer(&self, body: String) -> Result<Answer, ApiError> {
        let body = bytes::Bytes::from(body);
        let path = client::path(&["v1", "events", "batch"], &[]);
        let mut tries = 0;
        loop {
            match self.api.post(&path, body.clone()).await {
                Err(ApiError::Refused(problem)) if problem.is_later() && tries < LATER_TRIES_MAX => {
                    tries += 1;
                    let seconds = problem.retry_after_s.unwrap_or(1).clamp(1, LATER_SECONDS_MAX);
                    self.progress.set_message(format!("{}: waiting {seconds} s", problem.title));
                    tokio::time::sleep(Duration::from_secs(seconds)).await;
                }
                other => return other,
            }
        }
    }
}

/// How many of the lines in front fit one request; one always does, for the daemon to judge.
fn piece(waiting: &VecDeque<Line>, room: usize) -> usize {
    let mut bytes = 2;
    let fits = |line: &&Line| {
        bytes += line.text.len() + 2;
        bytes <= room
    };
    waiting.iter().take(limits::BATCH_EVENTS_MAX).take_while(fits).count().max(1)
}

/// Whether the lines that wait make a full request.
fn is_piece(waiting: &VecDeque<Line>, room: usize) -> bool {
    waiting.len() >= limits::BATCH_EVENTS_MAX || (!waiting.is_empty() && piece(waiting, room) < waiting.len())
}

/// Says which line a refusal is about, or what is unknown after a connection broke off.
fn explain(error: &ApiError, waiting: &VecDeque<Line>, count: usize) -> Failure {
    let number = |index: usize| waiting.get(index).map_or(0, |line| line.number);
    let (first, last) = (number(0), number(count.saturating_sub(1)));
    match error {
        ApiError::Refused(problem) if problem.is_too_large() => Failure::failed(format!("line {first}: {error}")),
        ApiError::Refused(problem) => {
            let index = problem.pointer.as_deref().and_then(|pointer| pointer.strip_prefix('/'));
            let index = index.and_then(|rest| rest.split('/').next()?.parse::<usize>().ok());
            match index.filter(|index| *index < count) {
                Some(index) => Failure::failed(format!("line {}: {error}", number(index))),
                None => Failure::failed(format!("lines {first} to {last}: {error}")),
            }
        }
        ApiError::Broken { .. } | ApiError::Timeout { .. } | ApiError::Unexpected { .. } => Failure::failed(format!(
            "{error}\nwhether lines {first} to {last} were accepted is not known; with an \"id\" in each, sending them \
             again is safe"
        )),
        ApiError::NoDaemon { .. } | ApiError::Tls { .. } => Failure::failed(error),
    }
}

/// A progress bar on stderr, if that is a terminal.
fn progress(total_bytes: Option<u64>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match total_bytes {
        Some(total) => (ProgressBar::new(total), "{bar:30} {bytes} of {total_bytes}  {msg}  {eta} left"),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes}  {msg}  {elapsed}"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests;
