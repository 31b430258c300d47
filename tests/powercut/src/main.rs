//! A FUSE file system that simulates power loss, full disks and failing fsyncs.
//!
//! Everything is held in memory twice: as processes see it, and as a power cut leaves it. What carries data from the one to
//! the other is fsync, fdatasync, msync, a write with `O_SYNC` or `O_DSYNC`, and for names the fsync of their directory.
//! `README.md` says what is simulated and what is not.
//!
//! | file | job |
//! |---|---|
//! | `image/` | the model, without FUSE |
//! | `faults.rs` | full disk, failing fsync and read |
//! | `disk.rs` | the model, the power, the faults behind one lock |
//! | `filesystem.rs` | the kernel's requests |
//! | `control.rs` | the commands |
//! | `backing.rs` | the folder behind it |
//! | `mount.rs` | from the mount to its end |

mod backing;
mod control;
mod disk;
mod faults;
mod filesystem;
mod image;
mod mount;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use mount::MountOptions;

const USAGE: &str = "\
powercut mount --at MOUNTPOINT --control SOCKET [--backing FOLDER] [--seed N] [--capacity BYTES]
               [--strict-dirs] [--ordered] [--fsync-us N]
powercut ctl SOCKET COMMAND";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["mount", options @ ..] => {
            parse(options).and_then(|options| mount::run(&options).map_err(|error| error.to_string()))
        }
        ["ctl", socket, command @ ..] if !command.is_empty() => ask(socket, &command.join(" ")),
        ["--help" | "-h"] => {
            println!("{USAGE}\n\ncommands:\n{}", control::COMMANDS);
            Ok(())
        }
        _ => Err(format!("it is used so:\n{USAGE}\nThe commands: powercut --help")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("powercut: {error}");
            ExitCode::FAILURE
        }
    }
}

fn ask(socket: &str, command: &str) -> Result<(), String> {
    let answer = control::ask(Path::new(socket), command).map_err(|error| format!("{socket}: {error}"))?;
    answer.map(|answer| println!("{answer}"))
}

fn parse(words: &[&str]) -> Result<MountOptions, String> {
    let mut options = MountOptions { seed: 1, ..MountOptions::default() };
    let mut words = words.iter();
    while let Some(option) = words.next() {
        match *option {
            "--strict-dirs" => options.rules.strict_dirs = true,
            "--ordered" => options.rules.ordered = true,
            "--backing" | "--at" | "--control" | "--seed" | "--capacity" | "--fsync-us" => {
                let value = words.next().ok_or(format!("{option} needs a value"))?;
                let number = || value.parse::<u64>().map_err(|error| format!("{option} {value}: {error}"));
                match *option {
                    "--backing" => options.backing = Some(value.into()),
                    "--at" => options.at = value.into(),
                    "--control" => options.control = value.into(),
                    "--seed" => options.seed = number()?,
                    "--capacity" => options.capacity_bytes = number()?,
                    _ => options.fsync_delay = Duration::from_micros(number()?),
                }
            }
            unknown => return Err(format!("unknown option {unknown}; it is used so:\n{USAGE}")),
        }
    }
    for (option, path) in [("--at", &options.at), ("--control", &options.control)] {
        if path.as_os_str().is_empty() {
            return Err(format!("{option} is missing; it is used so:\n{USAGE}"));
        }
    }
    Ok(options)
}
