//! A request that is changed before it is sent.

use std::ops::Range;

use crate::inbound::vendor::{Header, Vendor};

#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) headers: Vec<Header>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// A good one of the vendor's.
    pub(crate) fn good(vendor: &Vendor, at_secs: u64) -> Self {
        Self::signed(vendor, 0, at_secs, vendor.body.as_bytes())
    }

    pub(crate) fn signed(vendor: &Vendor, secret: usize, at_secs: u64, body: &[u8]) -> Self {
        Self { path: vendor.path(body), headers: vendor.request(secret, at_secs, body), body: body.to_vec() }
    }

    #[track_caller]
    pub(crate) fn get(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|header| header.0.eq_ignore_ascii_case(name));
        &found.unwrap_or_else(|| panic!("no {name}")).1
    }

    #[track_caller]
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        let found = self.headers.iter_mut().find(|header| header.0.eq_ignore_ascii_case(name));
        found.unwrap_or_else(|| panic!("no {name}")).1 = value.into();
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.headers.retain(|header| !header.0.eq_ignore_ascii_case(name));
    }

    pub(crate) fn append(&mut self, name: &str, value: impl Into<String>) {
        self.headers.push((name.to_owned(), value.into()));
    }

    pub(crate) fn prepend(&mut self, name: &str, value: impl Into<String>) {
        self.headers.insert(0, (name.to_owned(), value.into()));
    }

    /// The signature itself, without what stands around it in its header.
    pub(crate) fn tag(&self, vendor: &Vendor) -> String {
        self.get(vendor.signature)[self.place(vendor)].to_owned()
    }

    pub(crate) fn set_tag(&mut self, vendor: &Vendor, tag: &str) {
        let mut value = self.get(vendor.signature).to_owned();
        value.replace_range(self.place(vendor), tag);
        self.set(vendor.signature, value);
    }

    /// Writes something else in the place of the marker.
    pub(crate) fn set_marker(&mut self, vendor: &Vendor, marker: &str) {
        let mut value = self.get(vendor.signature).to_owned();
        let start = self.place(vendor).start;
        value.replace_range(start - vendor.marker.len()..start, marker);
        self.set(vendor.signature, value);
    }

    fn place(&self, vendor: &Vendor) -> Range<usize> {
        let value = self.get(vendor.signature);
        let start = value.find(vendor.marker).expect("the marker") + vendor.marker.len();
        start..value[start..].find(',').map_or(value.len(), |len| start + len)
    }
}
