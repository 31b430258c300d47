//! Where a command prints: colours, width, and a guard against text that would drive the terminal.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use unicode_width::UnicodeWidthStr;

/// Columns assumed for a terminal that does not tell its width.
const WIDTH_DEFAULT: usize = 80;
/// Narrower than this, tables are laid out for this width and wrap.
const WIDTH_MIN: usize = 40;

/// The meaning of a piece of text, shown as a colour where colours are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it is.
    #[default]
    Plain,
    /// It went well.
    Good,
    /// It is under way, or worth a look.
    Warn,
    /// It went wrong.
    Bad,
    /// Of second interest.
    Faint,
    /// A heading.
    Strong,
}

impl Tone {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Good => "32",
            Self::Warn => "33",
            Self::Bad => "31",
            Self::Faint => "2",
            Self::Strong => "1",
        }
    }
}

/// The standard output of a command.
pub(super) struct Screen {
    out: Box<dyn Write + Send>,
    colour: bool,
    width: Option<usize>,
}

impl Screen {
    /// The process's standard output. Colours only on a terminal, and not where `NO_COLOR` is set (no-color.org).
    pub(super) fn stdout() -> Self {
        let terminal = io::stdout().is_terminal();
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        let width = terminal.then(|| {
            let told = terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0));
            told.unwrap_or(WIDTH_DEFAULT).max(WIDTH_MIN)
        });
        Self { out: Box::new(io::stdout()), colour: terminal && !no_colour && !dumb, width }
    }

    /// Columns of the terminal; `None` where the output goes elsewhere and lines may be as long as they like.
    pub(super) fn width(&self) -> Option<usize> {
        self.width
    }

    /// Prints one line. The text must have gone through [`escape`] where any of it came from outside.
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }

    /// Wraps `text` in the colour of `tone`.
    pub(super) fn paint(&self, tone: Tone, text: &str) -> String {
        if self.colour && tone != Tone::Plain { format!("\x1b[{}m{text}\x1b[0m", tone.code()) } else { text.to_owned() }
    }

    /// Prints a JSON document as it came, on lines of its own.
    pub(super) fn json(&mut self, body: &[u8]) -> io::Result<()> {
        let text = String::from_utf8_lossy(body);
        self.line(&escape_json(text.trim_end()))
    }

    #[cfg(test)]
    pub(super) fn into_buffer(buffer: std::sync::Arc<std::sync::Mutex<Vec<u8>>>, width: Option<usize>) -> Self {
        struct Shared(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);
        impl Write for Shared {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        Self { out: Box::new(Shared(buffer)), colour: false, width }
    }
}

/// Columns that `text` takes on a terminal.
pub(super) fn columns(text: &str) -> usize {
    text.width()
}

/// Whether a terminal might act on the character, or show text in another order than it has.
fn drives_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Makes text from outside safe to print on one line: whatever a terminal might act on is written as its escape.
pub(super) fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(drives_terminal) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if drives_terminal(c) { safe.extend(c.escape_default()) } else { safe.push(c) }
    }
    Cow::Owned(safe)
}

/// As [`escape`], for text of several lines: line feeds stay, a carriage return before one is dropped, tabs become spaces.
pub(super) fn escape_lines(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            safe.push('\n');
        }
        let line = line.strip_suffix('\r').unwrap_or(line);
        safe.push_str(&escape(&line.replace('\t', "    ")));
    }
    safe
}

/// Makes JSON text safe to print without changing what it says: such characters can only stand inside its strings, where
/// `\uXXXX` means the same.
pub(super) fn escape_json(text: &str) -> Cow<'_, str> {
    let acts = |c: char| drives_terminal(c) && !matches!(c, '\n' | '\t');
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if acts(c) {
            // Every such character lies in the basic plane: one unit each.
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                safe.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// Cuts `text` to at most `width` columns; a cut is shown as `…`.
pub(super) fn shorten(text: &str, width: usize) -> Cow<'_, str> {
    if columns(text) <= width {
        return Cow::Borrowed(text);
    }
    let mut short = String::new();
    let mut used = 1;
    for c in text.chars() {
        let wide = columns(c.encode_utf8(&mut [0; 4]));
        if used + wide > width {
            break;
        }
        used += wide;
        short.push(c);
    }
    if width > 0 {
        short.push('…');
    }
    Cow::Owned(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_reaches_the_terminal_as_a_command() {
        assert_eq!(escape("a\x1b]0;owned\x07b"), "a\\u{1b}]0;owned\\u{7}b");
        assert_eq!(escape("one\ntwo\r"), "one\\ntwo\\r");
        assert_eq!(escape("\u{9b}31m"), "\\u{9b}31m", "C1 controls are commands as well");
        assert_eq!(escape("abc\u{202e}cba"), "abc\\u{202e}cba", "text that runs backwards");
        assert!(matches!(escape("grüße 🎉"), Cow::Borrowed(_)));
    }

    #[test]
    fn lines_stay_lines_and_nothing_else_does() {
        assert_eq!(escape_lines("a\r\nb\tc\x1b[2J\rd"), "a\nb    c\\u{1b}[2J\\rd");
    }

    #[test]
    fn json_says_the_same_after_it_was_made_safe() {
        let text = "{\n\t\"a\": \"x\u{9b}y\u{7f}\u{202e}\"}";
        let safe = escape_json(text);
        assert_eq!(safe, "{\n\t\"a\": \"x\\u009by\\u007f\\u202e\"}");
        let before: serde_json::Value = serde_json::from_str(text).unwrap();
        let after: serde_json::Value = serde_json::from_str(&safe).unwrap();
        assert_eq!(before, after);
    }

    #[test]
    fn a_cut_counts_columns_and_not_bytes() {
        assert_eq!(shorten("invoice.paid", 12), "invoice.paid");
        assert_eq!(shorten("invoice.paid", 8), "invoice…");
        assert_eq!(shorten("日本語", 5), "日本…");
        assert_eq!(shorten("日本語", 4), "日…");
        assert_eq!(shorten("abc", 1), "…");
        assert_eq!(shorten("abc", 0), "");
    }
}
