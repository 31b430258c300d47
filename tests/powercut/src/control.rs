//! The control socket: one command a line, one line comes back, `ok …` or `err …`.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use thiserror::Error;

use crate::backing;
use crate::disk::{Armed, Disk};
use crate::faults::{Failing, Space};
use crate::image::{CutMode, FileImage};

/// How long `cut` waits for the kernel to drop its cache. A page that a process holds locked must not hang the control.
const FORGET_LIMIT: Duration = Duration::from_secs(5);
/// How long `wait-cut` waits where it is not told.
const WAIT_CUT: Duration = Duration::from_secs(60);

/// The commands, as `--help` shows them.
pub(crate) const COMMANDS: &str = "\
  cut [MODE]                    the power goes: random (the default), nothing, everything reaches the disk
  arm N [MODE] [mkdir]          the same at the N-th changing operation from now, or from the next mkdir on; 0 disarms
  wait-cut [SECONDS]            waits until the power is off
  restore                       the power is back; what was open before stays dead
  enospc on|off|BYTES [hidden]  the disk is full, is not, will be after so many bytes; statfs says so, unless hidden
  eio on|once|off               fsync fails; its pages count as clean and are never written
  eio-read on|off               read fails
  flip PATH OFFSET              inverts a byte of what the disk holds
  seed N                        the seed of the next cuts
  sync                          all is durable now
  dump FOLDER                   writes what a cut has left to a folder
  stats                         counters, as JSON
  quit                          clean unmount";

#[derive(Debug, Error)]
enum CommandError {
    #[error("unknown command {0:?}; see --help")]
    Unknown(String),
    #[error("{0:?}: expected {1}")]
    Argument(String, &'static str),
    #[error("the power is off already")]
    PowerOff,
    #[error("the power is on")]
    PowerOn,
    #[error("no cut within {0:?}")]
    NoCut(Duration),
    #[error("{path}: {source}")]
    File { path: String, source: std::io::Error },
    #[error("{path}: the disk holds no byte {offset} of it")]
    NoByte { path: String, offset: u64 },
}

/// Serves every connection until the process ends. `quit` gets the connection that asked for the end.
pub(crate) fn serve(listener: UnixListener, disk: Arc<Disk>, quit: Sender<Option<UnixStream>>) {
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (disk, quit) = (Arc::clone(&disk), quit.clone());
            std::thread::spawn(move || {
                // A client that went away needs no answer.
                let _ = converse(stream, &disk, &quit);
            });
        }
    });
}

fn converse(stream: UnixStream, disk: &Disk, quit: &Sender<Option<UnixStream>>) -> std::io::Result<()> {
    let mut out = stream.try_clone()?;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            ["quit"] => {
                // It is answered once it is done.
                let _ = quit.send(Some(out));
                return Ok(());
            }
            [command, arguments @ ..] => match obey(command, arguments, disk) {
                Ok(answer) if answer.is_empty() => writeln!(out, "ok")?,
                Ok(answer) => writeln!(out, "ok {answer}")?,
                Err(error) => writeln!(out, "err {error}")?,
            },
        }
    }
    Ok(())
}

/// Says one line to a control socket; what came back.
pub(crate) fn ask(socket: &Path, line: &str) -> std::io::Result<Result<String, String>> {
    let mut stream = UnixStream::connect(socket)?;
    writeln!(stream, "{line}")?;
    let mut reply = String::new();
    BufReader::new(stream).read_line(&mut reply)?;
    let reply = reply.trim_end();
    Ok(match reply.strip_prefix("err ") {
        Some(error) => Err(error.to_owned()),
        None => Ok(reply.to_owned()),
    })
}

fn obey(command: &str, arguments: &[&str], disk: &Disk) -> Result<String, CommandError> {
    let done = Ok(String::new());
    match (command, arguments) {
        ("cut", arguments) => cut(disk, mode(arguments)?),
        ("arm", [operations, arguments @ ..]) => {
            let after_mkdir = arguments.last() == Some(&"mkdir");
            let arguments = if after_mkdir { &arguments[..arguments.len() - 1] } else { arguments };
            let operations = number(operations)?;
            let armed = Armed { operations, mode: mode(arguments)?, after_mkdir };
            disk.lock().armed = (operations > 0).then_some(armed);
            done
        }
        ("wait-cut", arguments) => {
            let limit = arguments.first().map(|seconds| number(seconds)).transpose()?;
            let limit = limit.map_or(WAIT_CUT, Duration::from_secs);
            disk.wait_for_cut(limit).map(json).ok_or(CommandError::NoCut(limit))
        }
        ("restore", []) => {
            let mut state = disk.lock();
            if !state.power_off {
                return Err(CommandError::PowerOn);
            }
            state.power_off = false;
            done
        }
        ("enospc", [space] | [space, "hidden"]) => {
            let mut state = disk.lock();
            state.faults.space_hidden = arguments.len() > 1;
            state.faults.space = match *space {
                "on" => Space::Full,
                "off" => Space::Free,
                bytes => Space::Bytes(number(bytes)?),
            };
            done
        }
        ("eio", [failing]) => {
            disk.lock().faults.fsync = self::failing(failing)?;
            done
        }
        ("eio-read", [failing]) => {
            disk.lock().faults.reads_fail = match *failing {
                "on" => true,
                "off" => false,
                other => return Err(CommandError::Argument(other.to_owned(), "on or off")),
            };
            done
        }
        ("flip", [path, offset]) => flip(disk, path, number(offset)?),
        ("seed", [seed]) => {
            let mut state = disk.lock();
            (state.seed, state.cuts) = (number(seed)?, 0);
            done
        }
        ("sync", []) => {
            let mut state = disk.lock();
            if state.power_off {
                return Err(CommandError::PowerOff);
            }
            state.tree.sync_all();
            done
        }
        ("dump", [folder]) => {
            let state = disk.lock();
            if !state.power_off {
                return Err(CommandError::PowerOn);
            }
            let file = |source| CommandError::File { path: (*folder).to_owned(), source };
            backing::write(&state.tree, &PathBuf::from(folder), &Default::default()).map_err(file)?;
            done
        }
        ("stats", []) => Ok(json(disk.lock().stats())),
        _ => Err(CommandError::Unknown([&[command], arguments].concat().join(" "))),
    }
}

fn cut(disk: &Disk, mode: CutMode) -> Result<String, CommandError> {
    let (done, forgotten) = channel();
    let mut state = disk.lock();
    if state.power_off {
        return Err(CommandError::PowerOff);
    }
    disk.cut(&mut state, mode, Some(done));
    let report = state.last_cut;
    drop(state);
    let _ = forgotten.recv_timeout(FORGET_LIMIT);
    Ok(json(report))
}

fn flip(disk: &Disk, path: &str, offset: u64) -> Result<String, CommandError> {
    let (done, forgotten) = channel();
    let mut state = disk.lock();
    let flipped =
        state.tree.at(path).and_then(|ino| Ok((ino, state.tree.with_file(ino, |file| FileImage::flip(file, offset))?)));
    drop(state);
    match flipped {
        Ok((ino, true)) => {
            disk.forget(vec![ino], Some(done));
            let _ = forgotten.recv_timeout(FORGET_LIMIT);
            Ok(String::new())
        }
        Ok((_, false)) => Err(CommandError::NoByte { path: path.to_owned(), offset }),
        Err(error) => Err(CommandError::File { path: path.to_owned(), source: error.into() }),
    }
}

fn json(value: impl serde::Serialize) -> String {
    serde_json::to_string(&value).expect("numbers and words are always JSON")
}

fn number<T: FromStr>(word: &str) -> Result<T, CommandError> {
    word.parse().map_err(|_| CommandError::Argument(word.to_owned(), "a whole number"))
}

fn mode(arguments: &[&str]) -> Result<CutMode, CommandError> {
    match arguments {
        [] | ["random"] => Ok(CutMode::Random),
        ["nothing"] => Ok(CutMode::Nothing),
        ["everything"] => Ok(CutMode::Everything),
        other => Err(CommandError::Argument(other.join(" "), "random, nothing or everything")),
    }
}

fn failing(word: &str) -> Result<Failing, CommandError> {
    match word {
        "on" => Ok(Failing::Always),
        "once" => Ok(Failing::Once),
        "off" => Ok(Failing::Never),
        other => Err(CommandError::Argument(other.to_owned(), "on, once or off")),
    }
}
