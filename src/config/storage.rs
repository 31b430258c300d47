//! `[storage]`.

use super::keys::STORAGE;
use super::reader::{Item, Reading, Table};
use super::{Durability, Storage};
use crate::limits;

const DAY_MS: u64 = 24 * 3600 * 1000;

impl Default for Storage {
    fn default() -> Self {
        Self {
            dir: "/var/lib/webhookd".into(),
            retention_ms: 7 * DAY_MS,
            size_bytes_max: 10 << 30,
            free_bytes_min: None,
            durability: Durability::Fsync,
        }
    }
}

/// Reads `[storage]`.
pub(super) fn read(reading: &mut Reading<'_>, item: Option<&Item<'_>>) -> Storage {
    let default = Storage::default();
    let Some(table) = item.and_then(|item| Table::open(reading, item, &STORAGE)) else { return default };
    let dir = table.get("dir").and_then(|item| {
        let dir = item.text(reading, "the path of the data folder")?;
        if dir.is_empty() || dir.contains('\0') {
            reading.expected(&item, "the path of the data folder");
            return None;
        }
        Some(reading.resolve(dir))
    });
    let retention = limits::RETENTION_MS_MIN..=limits::RETENTION_MS_MAX;
    let retention_ms = table.duration_ms(reading, "retention", &retention, default.retention_ms);
    let sizes = limits::STORAGE_BYTES_MIN..=u64::MAX;
    let size_bytes_max = table.size_bytes(reading, "max_size", &sizes, default.size_bytes_max);
    let free_bytes_min = table.get("min_free").and_then(|item| item.size_bytes(reading, &(0..=u64::MAX)));
    let words = [("fsync", Durability::Fsync), ("interval", Durability::Interval)];
    let durability = table.word(reading, "durability", &words, default.durability);
    if let (Durability::Interval, Some(item)) = (durability, table.get("durability")) {
        reading.warn(
            &item,
            "\"interval\" answers producers before their events are on the disk: a power cut can lose the last moments",
        );
    }
    Storage { dir: dir.unwrap_or(default.dir), retention_ms, size_bytes_max, free_bytes_min, durability }
}
