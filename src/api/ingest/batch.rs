//! A batch: a JSON array of events, whatever their form, in which each fault points at its event.

use super::draft::Draft;
use super::json::no_json;
use crate::front::body::Body;
use crate::front::problem::{Faults, Problem, ProblemKind};
use crate::intake::scan::{JsonFault, Kind, Reader};
use crate::limits;

/// Reads a batch. `read` reads the object that comes next, at the pointer it is given; `None` where it has faults. `item` is
/// what such an object is called.
///
/// # Errors
/// 400 where it is no JSON, 422 with the faults of its events.
pub(super) fn read(
    body: &Body,
    item: &str,
    mut read: impl FnMut(&mut Reader<'_>, &str, &mut Faults) -> Result<Option<Draft>, JsonFault>,
) -> Result<Vec<Draft>, Problem> {
    let mut reader = Reader::new(body.bytes()).map_err(no_json)?;
    let mut faults = Faults::default();
    let mut drafts = Vec::new();
    enter(&mut reader)?;
    let (mut first, mut index) = (true, 0);
    while reader.next_item(&mut first).map_err(no_json)? {
        if index == limits::BATCH_EVENTS_MAX {
            let detail = format!("the batch has more than {index} events; send several");
            return Err(Problem::new(ProblemKind::BatchSize, detail).at(format!("/{index}")));
        }
        let at = format!("/{index}");
        let no_json = |fault| no_json(fault).at(at.as_str());
        match reader.kind().map_err(no_json)? {
            Kind::Object => drafts.extend(read(&mut reader, &at, &mut faults).map_err(no_json)?),
            kind => {
                reader.value().map_err(no_json)?;
                let detail = format!("{item} must be a JSON object, not {}", kind.words());
                faults.add(ProblemKind::InvalidField, at.clone(), detail);
            }
        }
        index += 1;
    }
    reader.finish().map_err(no_json)?;
    if index == 0 {
        return Err(Problem::new(ProblemKind::BatchSize, "the batch has no events").at(""));
    }
    faults.into_problem().map_or(Ok(drafts), Err)
}

/// Steps into the array.
fn enter(reader: &mut Reader<'_>) -> Result<(), Problem> {
    match reader.kind().map_err(no_json)? {
        Kind::Array => reader.enter(Kind::Array).map_err(no_json),
        kind => {
            reader.value().and_then(|_| reader.finish()).map_err(no_json)?;
            let detail = format!("the body of a batch must be a JSON array of events, not {}", kind.words());
            Err(Problem::new(ProblemKind::InvalidField, detail).at(""))
        }
    }
}
