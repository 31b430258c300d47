//! What is never shown.

use std::sync::Arc;

use crate::clock::SystemClock;
use crate::config::{Delivery, Endpoint};
use crate::deliver::{HttpCourier, OwnListeners};
use crate::model::text::EndpointName;

#[tokio::test]
async fn debug_shows_neither_path_nor_query_nor_headers() {
    let url = url::Url::parse("https://a.example.com/hidden-path?key=hidden-query").unwrap();
    let mut endpoint = Endpoint::new(EndpointName::parse("a").unwrap(), url, &Delivery::default());
    let mut value = hyper::header::HeaderValue::from_static("hidden-header");
    value.set_sensitive(true);
    endpoint.headers.push((hyper::header::HeaderName::from_static("x-key"), value));
    let endpoint = Arc::new(endpoint);
    let courier =
        HttpCourier::new([&endpoint].into_iter(), SystemClock::shared(), OwnListeners::from_iter([])).unwrap();
    for shown in [format!("{courier:?}"), format!("{courier:#?}")] {
        assert!(shown.contains("https://a.example.com") && !shown.contains("hidden"), "{shown}");
    }
}
