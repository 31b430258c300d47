//! The command line: one file a command. What several commands share stands in files of its own: the client of the API,
//! the receiver of `listen` and `demo`, tables, and the guard of the terminal.

use std::future::Future;
use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::clock::{SharedClock, SystemClock};

mod api_args;
mod check;
mod client;
mod demo;
mod endpoint;
mod endpoints;
mod event;
mod events;
mod exchange;
mod failure;
mod forward;
mod json_text;
mod judge;
mod key_args;
mod listen;
mod logging;
mod post;
mod receiver;
mod reload;
mod replay;
mod run;
mod screen;
mod secret;
mod send;
mod sign;
mod store;
mod table;
mod tls;
mod verify;
mod view;
mod when;

use failure::{EXIT_FAILED, Outcome};
use screen::{Screen, escape_lines};

/// A webhook daemon that never loses a webhook: one binary, an embedded outbox, no database beside it.
#[derive(Debug, Parser)]
#[command(name = "webhookd", version, arg_required_else_help = true, max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Try it out:
  webhookd demo                      a delivery, a retry and a dead letter, on this machine alone
  webhookd run --config FILE         run the daemon
  webhookd send invoice.paid --data '{\"id\":1}'

Exit codes: 0 done; 1 it did not succeed; 2 wrong usage or a wrong config.";

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Check(check::CheckArgs),
    Demo(demo::DemoArgs),
    Send(send::SendArgs),
    Events(events::EventsArgs),
    Event(event::EventArgs),
    Endpoints(endpoints::EndpointsArgs),
    Endpoint(endpoint::EndpointArgs),
    Replay(replay::ReplayArgs),
    Reload(reload::ReloadArgs),
    Store(store::StoreArgs),
    Listen(listen::ListenArgs),
    Sign(sign::SignArgs),
    Verify(verify::VerifyArgs),
    Secret(secret::SecretArgs),
}

/// What every command is given.
struct Stage {
    screen: Screen,
    clock: SharedClock,
}

/// Runs the command that the process was called with, and says how it ended.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way as well, with exit code 0. A closed output leaves nobody to tell.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(EXIT_FAILED));
        }
    };
    let mut stage = Stage { screen: Screen::stdout(), clock: SystemClock::shared() };
    match perform(cli.command, &mut stage) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(message) = failure.message() {
                complain(&message);
            }
            ExitCode::from(failure.code())
        }
    }
}

fn perform(command: Command, stage: &mut Stage) -> Outcome {
    match command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::run(&args, stage),
        Command::Demo(args) => demo::run(&args, stage),
        Command::Send(args) => block_on(send::run(&args, stage)),
        Command::Events(args) => block_on(events::run(&args, stage)),
        Command::Event(args) => block_on(event::run(&args, stage)),
        Command::Endpoints(args) => block_on(endpoints::run(&args, stage)),
        Command::Endpoint(args) => block_on(endpoint::run(&args, stage)),
        Command::Replay(args) => block_on(replay::run(&args, stage)),
        Command::Reload(args) => block_on(reload::run(&args, stage)),
        Command::Store(args) => store::run(&args, stage),
        Command::Listen(args) => block_on(listen::run(&args, stage)),
        Command::Sign(args) => block_on(sign::run(&args, stage)),
        Command::Verify(args) => verify::run(&args, stage),
        Command::Secret(args) => secret::run(&args, stage),
    }
}

/// Runs a command that waits for the network, on this thread.
fn block_on(command: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("the runtime could not be started")?.block_on(command)
}

/// Runs a daemon: its work is spread over the processors. What still runs when the command returns is left behind.
fn block_on_all_threads(command: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("the runtime could not be started")?;
    let outcome = runtime.block_on(command);
    runtime.shutdown_background();
    outcome
}

/// Prints an error. Its text may hold words of a daemon or of a file.
fn complain(message: &str) {
    tell(&format!("error: {message}"));
}

/// Prints to stderr. Where it is closed or full there is nobody to tell, and the exit code must still be the right one;
/// `eprintln!` would panic.
fn tell(message: &str) {
    let _ = writeln!(io::stderr(), "{}", escape_lines(message));
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_contracts_commands_are_all_there() {
        let known = Cli::command().get_subcommands().map(|c| c.get_name().to_owned()).collect::<Vec<_>>();
        let expected =
            "run check demo send events event endpoints endpoint replay reload store listen sign verify secret";
        assert_eq!(known, expected.split(' ').collect::<Vec<_>>());
    }

    /// Every command explains itself and shows how it is typed.
    #[test]
    fn every_command_has_a_description_and_examples() {
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(examples.contains(&format!("webhookd {}", command.get_name())), "{}", command.get_name());
        }
    }

    /// Every example of every `--help` is a command line that parses.
    #[test]
    fn every_example_parses() {
        let mut root = Cli::command();
        root.build();
        let mut examples = 0;
        for command in root.get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in help.lines().filter_map(|line| line.trim_start().strip_prefix("webhookd ")) {
                let typed = line.split("  ").next().unwrap_or(line);
                let typed = typed.split(" | ").next().unwrap_or(typed).split(" < ").next().unwrap_or(typed);
                let words = std::iter::once("webhookd".to_owned()).chain(shell_words(typed));
                if let Err(error) = Cli::try_parse_from(words) {
                    panic!("{typed}: {error}");
                }
                examples += 1;
            }
        }
        assert!(examples >= 13, "only {examples} examples");
    }

    /// Splits as a shell does, as far as the examples need it.
    fn shell_words(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut quoted = false;
        for c in line.chars() {
            match c {
                '\'' => quoted = !quoted,
                ' ' if !quoted => words.push(String::new()),
                c => words.last_mut().unwrap().push(c),
            }
        }
        words.retain(|word| !word.is_empty());
        words
    }
}
