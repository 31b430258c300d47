//! The field's words as types: event, endpoint, delivery, attempt. Pure data; parsing makes a value that cannot be wrong.

pub mod attempt;
pub mod delivery;
pub mod endpoint;
pub mod event;
pub mod roster;
pub mod text;
