//! The wheel's memory: numbered cells in chunks.
//!
//! A plain vector doubles, and copies itself while it does: at a million entries that is twice the memory for a moment
//! and a pause. Chunks grow one by one, and a chunk whose last entry has left gives its memory back, so that a backlog
//! that has drained costs nothing any more.

/// The number of no cell.
pub(super) const NIL: u32 = u32::MAX;

/// Cells in one chunk: a power of two.
const CHUNK_CELLS: usize = 1024;

/// A cell: in use, or a link of its chunk's list of free ones.
#[derive(Debug)]
pub(super) enum Cell<N> {
    Free { next: u32 },
    Used(N),
}

#[derive(Debug)]
struct Chunk<N> {
    cells: Vec<Cell<N>>,
    /// The first free cell within `cells`.
    free: u32,
    used: u32,
    /// Whether `roomy` names this chunk.
    listed: bool,
}

impl<N> Chunk<N> {
    fn has_room(&self) -> bool {
        self.free != NIL || self.cells.len() < CHUNK_CELLS
    }
}

/// Cells by number. A number is given out again once its cell is free.
#[derive(Debug)]
pub(super) struct Slab<N> {
    chunks: Vec<Chunk<N>>,
    /// Every chunk that has room, and perhaps some that are full by now.
    roomy: Vec<u32>,
    len: usize,
}

impl<N> Slab<N> {
    pub(super) fn new() -> Self {
        Self { chunks: Vec::new(), roomy: Vec::new(), len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// A number above that of every cell in use.
    pub(super) fn bound(&self) -> u32 {
        u32::try_from(self.chunks.len() * CHUNK_CELLS).unwrap_or(NIL)
    }

    /// Cells for which memory is held, in use or not.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.cells.capacity()).sum()
    }

    /// # Panics
    /// With four billion entries, which no machine that runs this has the memory for.
    pub(super) fn insert(&mut self, node: N) -> u32 {
        let number = self.chunk_with_room();
        let chunk = &mut self.chunks[number as usize];
        let within = if chunk.free == NIL {
            chunk.cells.push(Cell::Used(node));
            chunk.cells.len() - 1
        } else {
            let within = chunk.free as usize;
            match std::mem::replace(&mut chunk.cells[within], Cell::Used(node)) {
                Cell::Free { next } => chunk.free = next,
                Cell::Used(_) => unreachable!("a chunk's free list names free cells only"),
            }
            within
        };
        chunk.used += 1;
        self.len += 1;
        let index = number as usize * CHUNK_CELLS + within;
        u32::try_from(index).ok().filter(|index| *index != NIL).expect("fewer than 2^32 - 1 entries fit any memory")
    }

    fn chunk_with_room(&mut self) -> u32 {
        while let Some(&number) = self.roomy.last() {
            let chunk = &mut self.chunks[number as usize];
            if chunk.has_room() {
                return number;
            }
            chunk.listed = false;
            self.roomy.pop();
        }
        let number = u32::try_from(self.chunks.len()).expect("a chunk's number is smaller than a cell's");
        self.chunks.push(Chunk { cells: Vec::new(), free: NIL, used: 0, listed: true });
        self.roomy.push(number);
        number
    }

    pub(super) fn get(&self, index: u32) -> Option<&N> {
        let (number, within) = split(index);
        match self.chunks.get(number)?.cells.get(within)? {
            Cell::Used(node) => Some(node),
            Cell::Free { .. } => None,
        }
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut N> {
        let (number, within) = split(index);
        match self.chunks.get_mut(number)?.cells.get_mut(within)? {
            Cell::Used(node) => Some(node),
            Cell::Free { .. } => None,
        }
    }

    /// Empties a cell; `None` if it was free.
    pub(super) fn remove(&mut self, index: u32) -> Option<N> {
        let (number, within) = split(index);
        let chunk = self.chunks.get_mut(number)?;
        let cell = chunk.cells.get_mut(within)?;
        if matches!(cell, Cell::Free { .. }) {
            return None;
        }
        let Cell::Used(node) = std::mem::replace(cell, Cell::Free { next: chunk.free }) else {
            unreachable!("the cell was found in use");
        };
        chunk.free = u32::try_from(within).expect("a cell's place in its chunk is below CHUNK_CELLS");
        chunk.used -= 1;
        self.len -= 1;
        if !chunk.listed {
            chunk.listed = true;
            self.roomy.push(u32::try_from(number).expect("a chunk's number is smaller than a cell's"));
        }
        if chunk.used == 0 {
            chunk.free = NIL;
            // The last chunk with room keeps its memory, lest a wheel with one entry allocates at every turn.
            if self.roomy.len() > 1 {
                chunk.cells = Vec::new();
            } else {
                chunk.cells.clear();
            }
        }
        Some(node)
    }
}

fn split(index: u32) -> (usize, usize) {
    let index = index as usize;
    (index / CHUNK_CELLS, index % CHUNK_CELLS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_used_again_and_numbers_in_use_stay() {
        let mut slab = Slab::new();
        let numbers: Vec<u32> = (0..3000).map(|n| slab.insert(n)).collect();
        assert_eq!(slab.remove(numbers[5]), Some(5));
        assert_eq!(slab.remove(numbers[5]), None);
        assert_eq!(slab.get(numbers[5]), None);
        let again = slab.insert(7000);
        assert_eq!(slab.get(again), Some(&7000));
        assert_eq!(slab.len(), 3000);
        for (n, number) in numbers.iter().enumerate().filter(|(n, _)| *n != 5) {
            assert_eq!(slab.get(*number), Some(&n));
        }
        assert_eq!(slab.get(NIL), None);
    }

    #[test]
    fn memory_follows_the_entries_up_and_down() {
        let mut slab = Slab::new();
        let numbers: Vec<u32> = (0..100_000).map(|n| slab.insert(n)).collect();
        let high = slab.capacity();
        assert!(high < 100_000 + CHUNK_CELLS, "no more than one chunk is not full: {high}");
        for number in numbers {
            slab.remove(number);
        }
        assert_eq!(slab.len(), 0);
        assert!(slab.capacity() <= CHUNK_CELLS, "at most one chunk is kept: {}", slab.capacity());
        // What was given back is taken up again, and no chunk is made beside it.
        for n in 0..100_000 {
            slab.insert(n);
        }
        assert!(slab.capacity() <= high);
    }
}
