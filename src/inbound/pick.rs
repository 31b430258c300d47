//! One value out of a request: a header, a field of JSON, a field of a form.

use hyper::header::HeaderMap;

use crate::config::Pick;

/// The value at the first of the places that has one.
pub(super) fn pick(places: &[Pick], headers: &HeaderMap, body: &[u8]) -> Option<String> {
    places.iter().find_map(|place| match place {
        Pick::Header(name) => headers.get(name)?.to_str().ok().map(str::to_owned),
        Pick::Json(pointer) => {
            let value: serde_json::Value = serde_json::from_slice(body).ok()?;
            value.pointer(&pointer.to_string())?.as_str().map(str::to_owned)
        }
        Pick::Form(_) => None,
    })
}
