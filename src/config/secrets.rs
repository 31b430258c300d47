//! Secrets: given in the config, in a file, in the environment, or as one of systemd's credentials. No error shows one.

use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use toml::de::DeValue;
use zeroize::Zeroizing;

use super::keys::SECRET;
use super::reader::{Item, Reading, Table, looks_like_secret};
use crate::limits;
use crate::signature::secret::Secret;

const WHAT: &str = "a string, { file = \"…\" }, { env = \"…\" } or { credential = \"…\" }";

/// Where systemd puts the credentials of a service (systemd.exec(5), `LoadCredential=`).
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Reads one secret.
pub(super) fn read_secret(reading: &mut Reading<'_>, item: &Item<'_>) -> Option<Secret> {
    let bytes = match item.value {
        DeValue::String(text) => Zeroizing::new(text.as_bytes().to_vec()),
        DeValue::Table(_) => read_elsewhere(reading, item)?,
        _ => {
            reading.expected_unseen(item, WHAT);
            return None;
        }
    };
    if bytes.is_empty() {
        reading.error(item, "the secret is empty; `webhookd secret new` makes one");
        return None;
    }
    if bytes.len() > limits::SECRET_BYTES_MAX {
        reading.error(item, format!("the secret has more than {} bytes", limits::SECRET_BYTES_MAX));
        return None;
    }
    Some(Secret::new(bytes.to_vec()))
}

/// Reads one secret or a list of them, each with its place.
pub(super) fn read_secrets<'a>(reading: &mut Reading<'_>, item: &Item<'a>) -> Option<Vec<(Item<'a>, Secret)>> {
    let items = if item.value.is_array() {
        item.list(reading, "a list of secrets", limits::SECRETS_MAX)?
    } else {
        vec![item.clone()]
    };
    if items.is_empty() {
        reading.error(item, "the list of secrets is empty; give at least one");
        return None;
    }
    // All are read before any is missed, so that each fault is told.
    let secrets: Vec<_> = items.into_iter().map(|item| (read_secret(reading, &item), item)).collect();
    secrets.into_iter().map(|(secret, item)| secret.map(|secret| (item, secret))).collect()
}

fn read_elsewhere(reading: &mut Reading<'_>, item: &Item<'_>) -> Option<Zeroizing<Vec<u8>>> {
    let table = Table::open(reading, item, &SECRET)?;
    let sources = [table.get("file"), table.get("env"), table.get("credential")];
    let [file, env, credential] = match sources {
        [Some(_), None, None] | [None, Some(_), None] | [None, None, Some(_)] => sources,
        [None, None, None] => {
            reading.error(item, format!("expected {WHAT}, found a table with none of these keys"));
            return None;
        }
        _ => {
            reading.error(item, "expected exactly one of file, env and credential, found several");
            return None;
        }
    };
    if let Some(file) = file {
        let path = plain_text(reading, &file, "the path of a file that holds the secret")?;
        let path = reading.resolve(path);
        return read_file(reading, &file, &path, "`webhookd secret new` makes a secret");
    }
    if let Some(env) = env {
        let name = plain_text(reading, &env, "the name of an environment variable")?;
        return read_env(reading, &env, name);
    }
    let credential = credential?;
    let name = plain_text(reading, &credential, "the name of a systemd credential")?;
    let path = credential_path(reading, &credential, name)?;
    read_file(reading, &credential, &path, "name it in LoadCredential= or SetCredential= of the unit")
}

/// A name or path; a secret put in its place is refused without being shown.
fn plain_text<'a>(reading: &mut Reading<'_>, item: &Item<'a>, what: &str) -> Option<&'a str> {
    let Some(text) = item.value.as_str() else {
        reading.expected_unseen(item, what);
        return None;
    };
    if text.is_empty() {
        reading.error(item, format!("expected {what}, found an empty string"));
        return None;
    }
    if text.contains("whsec_") || text.contains("whsk_") {
        reading.error(
            item,
            format!("expected {what}, found the secret itself; a secret in the config is written secret = \"…\""),
        );
        return None;
    }
    Some(text)
}

fn read_env(reading: &mut Reading<'_>, item: &Item<'_>, name: &str) -> Option<Zeroizing<Vec<u8>>> {
    let named =
        name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !name.starts_with(|c: char| c.is_ascii_digit());
    if !named {
        reading
            .error(item, "expected the name of an environment variable (letters, digits and _), found something else");
        return None;
    }
    match (reading.env)(name) {
        Some(value) => Some(Zeroizing::new(value.into_vec())),
        // A variable's name holds words; what has none may be the secret itself.
        None if looks_like_secret(name) && !name.contains('_') => {
            reading
                .error(item, "there is no such environment variable (its name is not shown: it looks like a secret)");
            None
        }
        None => {
            reading.error(item, format!("the environment variable {name} is not set; set it where webhookd starts"));
            None
        }
    }
}

fn credential_path(reading: &mut Reading<'_>, item: &Item<'_>, name: &str) -> Option<PathBuf> {
    if name.contains('/') || name == "." || name == ".." {
        reading
            .error(item, "expected the name of a systemd credential, found a path; for a path, write { file = \"…\" }");
        return None;
    }
    let Some(folder) = (reading.env)(CREDENTIALS_DIRECTORY) else {
        reading.error(
            item,
            format!(
                "the credential {name} cannot be looked up: ${CREDENTIALS_DIRECTORY} is not set; it is when systemd \
                 starts webhookd with LoadCredential= or SetCredential="
            ),
        );
        return None;
    };
    Some(Path::new(&folder).join(name))
}

fn read_file(reading: &mut Reading<'_>, item: &Item<'_>, path: &Path, advice: &str) -> Option<Zeroizing<Vec<u8>>> {
    // Room for the newline that ends the file.
    let mut bytes = Zeroizing::new(read_private(reading, item, path, limits::SECRET_BYTES_MAX + 2, advice)?);
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    Some(bytes)
}

/// Reads a private file of at most so many bytes. Warns where everyone on the machine may read it too.
pub(super) fn read_private(
    reading: &mut Reading<'_>,
    item: &Item<'_>,
    path: &Path,
    bytes_max: usize,
    advice: &str,
) -> Option<Vec<u8>> {
    let read = read_file_bounded(path, bytes_max, advice);
    let (bytes, mode) = read.map_err(|why| reading.error(item, why)).ok()?;
    if let Some(sentence) = seen_by_all(path, mode) {
        reading.warn(item, &sentence);
    }
    Some(bytes)
}

/// A sentence about a private file with these permissions that everyone on the machine may read.
pub(super) fn seen_by_all(path: &Path, mode: u32) -> Option<String> {
    let sentence =
        || format!("everyone on this machine may read {}; `chmod o-r` it, or better `chmod 600`", path.display());
    (mode & 0o004 != 0).then(sentence)
}

/// Reads a file of at most so many bytes, and its permissions (0 for what is no regular file).
pub(super) fn read_file_bounded(path: &Path, bytes_max: usize, advice: &str) -> Result<(Vec<u8>, u32), String> {
    let read = || -> std::io::Result<(Vec<u8>, u32)> {
        let file = File::open(path)?;
        let meta = file.metadata()?;
        let mode = if meta.is_file() { meta.permissions().mode() } else { 0 };
        // The whole room at once: a buffer that grows leaves copies behind that nobody wipes.
        let mut bytes = Vec::with_capacity(bytes_max + 1);
        file.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
        Ok((bytes, mode))
    };
    match read() {
        Ok((bytes, _)) if bytes.len() > bytes_max => {
            Err(format!("{} is too large: more than {bytes_max} bytes", path.display()))
        }
        Ok(read) => Ok(read),
        Err(error) => Err(format!("{} cannot be read: {error}; {advice}", path.display())),
    }
}
