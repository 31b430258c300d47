//! How a check of the data folder is shown.

use std::io;
use std::path::Path;

use serde_json::{Value, json};

use crate::cli::screen::{Screen, Tone, escape};
use crate::cli::table::{Cell, Column, Table};
use crate::outbox::Damage;
use crate::outbox::offline::{CheckReport, Engine, Fault, GenerationReport, remedy_of};

/// Prints a table of the generations, then each fault with what to do about it.
pub(super) fn print(dir: &Path, report: &CheckReport, screen: &mut Screen) -> io::Result<()> {
    if !report.generations.is_empty() {
        table(report).print(screen)?;
    }
    let of_generations = report.generations.iter().flat_map(|generation| {
        generation.faults.iter().map(move |fault| (format!("generation {}: ", generation.generation), fault))
    });
    let faults = report.faults.iter().map(|fault| (String::new(), fault)).chain(of_generations);
    for (place, Fault { what, remedy }) in faults {
        tell(screen, Tone::Bad, &format!("{place}{what}"), Some(remedy))?;
    }
    for damage in &report.set_aside {
        tell(screen, Tone::Bad, &set_aside(damage), Some(&remedy_of(damage)))?;
    }
    let notes_of = |generation: &GenerationReport| {
        let number = generation.generation;
        generation.notes.iter().map(move |note| format!("generation {number}: {note}")).collect::<Vec<_>>()
    };
    for note in report.notes.iter().cloned().chain(report.generations.iter().flat_map(notes_of)) {
        tell(screen, Tone::Faint, &note, None)?;
    }
    let dir = dir.display();
    let events: u64 = report.generations.iter().map(|generation| generation.events).sum();
    let verdict = match faults_in(report) {
        0 => screen.paint(Tone::Good, &escape(&format!("{dir} is sound: {events} events"))),
        1 => screen.paint(Tone::Bad, &escape(&format!("{dir}: 1 thing to look at"))),
        many => screen.paint(Tone::Bad, &escape(&format!("{dir}: {many} things to look at"))),
    };
    screen.line(&verdict)
}

fn faults_in(report: &CheckReport) -> usize {
    let of_generations = report.generations.iter().map(|generation| generation.faults.len()).sum::<usize>();
    report.faults.len() + report.set_aside.len() + of_generations
}

fn table(report: &CheckReport) -> Table {
    let mut table = Table::new(&[
        Column::whole("GENERATION"),
        Column::whole("EVENTS"),
        Column::whole("PENDING"),
        Column::whole("DELIVERED"),
        Column::whole("DEAD"),
        Column::whole("ATTEMPTS"),
        Column::whole("RECORDS"),
        Column::whole("SIZE"),
        Column::flexible("STATE", 8),
    ]);
    for generation in &report.generations {
        let (tone, state) = state(generation);
        let number = |number: u64| Cell::plain(number.to_string());
        table.row(vec![
            number(generation.generation.into()),
            number(generation.events),
            number(generation.pending),
            number(generation.delivered),
            number(generation.dead),
            number(generation.attempts),
            number(generation.records),
            Cell::plain(size(generation.disk_bytes)),
            Cell::toned(tone, state),
        ]);
    }
    table
}

fn state(generation: &GenerationReport) -> (Tone, String) {
    let life = match (generation.sealed, generation.rescued) {
        (false, _) => "open",
        (true, false) => "sealed",
        (true, true) => "rescued",
    };
    let without = match generation.without_body {
        0 => String::new(),
        events => format!(", {events} events without body"),
    };
    match generation.faults.len() {
        0 if generation.engine == Engine::Skipped => (Tone::Plain, format!("{life}, engine not tried{without}")),
        0 => (Tone::Good, format!("{life}{without}")),
        _ => (Tone::Bad, format!("{life}, damaged{without}")),
    }
}

fn set_aside(damage: &Damage) -> String {
    format!(
        "generation {}: a damaged one lies set aside since {} ({}): {}",
        damage.generation, damage.at, damage.what, damage.loss
    )
}

/// One line, and under it what to do.
fn tell(screen: &mut Screen, tone: Tone, what: &str, remedy: Option<&str>) -> io::Result<()> {
    let what = screen.paint(tone, &escape(what));
    screen.line(&what)?;
    match remedy {
        Some(remedy) => screen.line(&format!("  {}", escape(remedy))),
        None => Ok(()),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes / 1_048_576),
    }
}

/// The same for programs.
pub(super) fn as_json(dir: &Path, report: &CheckReport) -> Value {
    let fault = |fault: &Fault| json!({"what": fault.what, "remedy": fault.remedy});
    let faults = |faults: &[Fault]| faults.iter().map(fault).collect::<Vec<_>>();
    let generation = |one: &GenerationReport| {
        json!({
            "generation": one.generation,
            "sealed": one.sealed,
            "rescued": one.rescued,
            "events": one.events,
            "without_body": one.without_body,
            "deliveries": {"pending": one.pending, "delivered": one.delivered, "dead": one.dead},
            "attempts": one.attempts,
            "records": one.records,
            "disk_bytes": one.disk_bytes,
            "engine": match one.engine {
                Engine::Opened => "opened",
                Engine::Failed => "failed",
                Engine::Skipped => "skipped",
            },
            "faults": faults(&one.faults),
            "notes": one.notes,
        })
    };
    let aside = |damage: &Damage| {
        json!({
            "generation": damage.generation,
            "at": damage.at.to_string(),
            "what": damage.what,
            "loss": damage.loss.to_string(),
            "events_lost": damage.loss.events_lost,
            "folder": damage.folder.display().to_string(),
            "remedy": remedy_of(damage),
        })
    };
    json!({
        "dir": dir.display().to_string(),
        "sound": report.is_sound(),
        "faults": faults(&report.faults),
        "generations": report.generations.iter().map(generation).collect::<Vec<_>>(),
        "set_aside": report.set_aside.iter().map(aside).collect::<Vec<_>>(),
        "notes": report.notes,
    })
}
