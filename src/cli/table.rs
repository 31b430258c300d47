//! Tables that fit the terminal. Elsewhere nothing is cut, so that a script sees every character.

use std::io;

use super::screen::{Screen, Tone, columns, shorten};

/// Columns between two cells.
const GAP: usize = 2;

/// One column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    /// Its heading.
    pub(super) heading: &'static str,
    /// How narrow it may become where room is short; `None`: it is never cut (names and ids that people copy).
    pub(super) narrowest: Option<usize>,
}

impl Column {
    /// A column that is never cut.
    pub(super) const fn whole(heading: &'static str) -> Self {
        Self { heading, narrowest: None }
    }

    /// A column that may be cut down to `narrowest`.
    pub(super) const fn flexible(heading: &'static str, narrowest: usize) -> Self {
        Self { heading, narrowest: Some(narrowest) }
    }
}

/// One cell; its text is safe to print.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// Plain text.
    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), tone: Tone::Plain }
    }

    /// Text with a meaning.
    pub(super) fn toned(tone: Tone, text: impl Into<String>) -> Self {
        Self { text: text.into(), tone }
    }
}

/// Rows under headings.
pub(super) struct Table {
    head: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// An empty table.
    pub(super) fn new(head: &[Column]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    /// Adds a row with a cell for each column.
    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.head.len());
        self.rows.push(cells);
    }

    /// Prints the headings and the rows.
    pub(super) fn print(&self, screen: &mut Screen) -> io::Result<()> {
        let widths = self.widths(screen.width());
        let heading = self.head.iter().map(|column| Cell::toned(Tone::Strong, column.heading)).collect::<Vec<_>>();
        for row in std::iter::once(&heading).chain(&self.rows) {
            screen.line(&compose(screen, row, &widths))?;
        }
        Ok(())
    }

    fn widths(&self, room: Option<usize>) -> Vec<usize> {
        let natural = |at: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(at)).map(|cell| columns(&cell.text));
            cells.chain([columns(self.head[at].heading)]).max().unwrap_or(0)
        };
        let mut widths = (0..self.head.len()).map(natural).collect::<Vec<_>>();
        if let Some(room) = room {
            fit(&mut widths, &self.head, room.saturating_sub(GAP * self.head.len().saturating_sub(1)));
        }
        widths
    }
}

/// Narrows the flexible columns, the widest first, until all fit into `room` or none can give more.
fn fit(widths: &mut [usize], head: &[Column], room: usize) {
    let mut over = widths.iter().sum::<usize>().saturating_sub(room);
    while over > 0 {
        let spare = |at: usize| head[at].narrowest.map_or(0, |narrowest| widths[at].saturating_sub(narrowest));
        let Some(widest) = (0..widths.len()).filter(|at| spare(*at) > 0).max_by_key(|at| widths[*at]) else { return };
        widths[widest] -= 1;
        over -= 1;
    }
}

fn compose(screen: &Screen, row: &[Cell], widths: &[usize]) -> String {
    let mut line = String::new();
    for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
        if at > 0 {
            line.push_str(&" ".repeat(GAP));
        }
        let text = shorten(&cell.text, *width);
        line.push_str(&screen.paint(cell.tone, &text));
        if at + 1 < row.len() {
            line.push_str(&" ".repeat(width.saturating_sub(columns(&text))));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn shown(width: Option<usize>) -> Vec<String> {
        let mut table = Table::new(&[Column::whole("ID"), Column::flexible("TYPE", 6), Column::flexible("STATE", 5)]);
        table.row(vec![
            Cell::plain("evt_0123456789"),
            Cell::plain("invoice.paid.twice"),
            Cell::toned(Tone::Bad, "billing dead"),
        ]);
        table.row(vec![Cell::plain("evt_1"), Cell::plain("a"), Cell::plain("")]);
        let buffer = Arc::new(Mutex::new(Vec::new()));
        table.print(&mut Screen::into_buffer(Arc::clone(&buffer), width)).unwrap();
        let text = String::from_utf8(buffer.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_table_is_as_wide_as_the_terminal_and_keeps_its_ids_whole() {
        for width in 31..60 {
            let lines = shown(Some(width));
            assert!(lines.iter().all(|line| columns(line) <= width), "{width}: {lines:?}");
            assert!(lines[1].starts_with("evt_0123456789  "), "{width}");
        }
        assert!(shown(Some(36))[1].contains('…'));
    }

    #[test]
    fn nothing_is_cut_where_it_does_not_have_to_be() {
        let whole = "evt_0123456789  invoice.paid.twice  billing dead";
        assert_eq!(shown(None)[1], whole);
        assert_eq!(shown(Some(48))[1], whole);
        assert_eq!(shown(None)[0], "ID              TYPE                STATE");
    }

    #[test]
    fn too_little_room_leaves_each_column_its_least() {
        assert_eq!(shown(Some(10))[1], "evt_0123456789  invoi…  bill…");
    }
}
