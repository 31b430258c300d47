//! What is kept of endpoints: noted at once, written within a second, and once the disk takes it.

use std::path::PathBuf;

use super::super::endpoints::EndpointRecords;
use super::*;
use crate::model::endpoint::{Failing, OpenBreaker};

const PAUSED: EndpointRecord = record(EndpointState::Paused);

const fn record(state: EndpointState) -> EndpointRecord {
    let (resumed_at, held_until) = (UnixMs(0), UnixMs(0));
    EndpointRecord { state, resumed_at, held_until, failing: None, breaker: None }
}

fn rich() -> EndpointRecord {
    EndpointRecord {
        state: EndpointState::Active,
        resumed_at: START,
        held_until: START.plus_ms(1),
        failing: Some(Failing { since: START.plus_ms(2), for_ms: 3 }),
        breaker: Some(OpenBreaker { since: START.plus_ms(4), probe_at: START.plus_ms(5), cooldown_ms: 6 }),
    }
}

fn name(text: &str) -> EndpointName {
    EndpointName::parse(text).unwrap()
}

impl Bench {
    fn endpoints_file(&self) -> PathBuf {
        self.dir.path().join("data/endpoints")
    }
}

impl Open {
    fn note(&self, endpoint: &str, record: EndpointRecord) {
        self.opened.outbox.note_endpoint(self.endpoint(endpoint), record);
    }

    /// What stands in the file.
    fn written(&self) -> Vec<(EndpointName, EndpointRecord)> {
        let folder = self.store().folder();
        EndpointRecords::open(folder.endpoints(), folder.mark()).unwrap().all()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_noted_is_written_by_itself_when_asked_and_at_the_end() {
    let bench = Bench::new();
    {
        let open = bench.open();
        open.note("a", PAUSED);
        assert!(open.written().is_empty(), "whoever notes something does not wait for the disk");
        bench.until("it is written within a second", || open.written() == [(name("a"), PAUSED)]).await;
        open.note("a", rich());
        open.note("b", PAUSED);
        open.note("b", rich());
        open.note("c", PAUSED);
        open.opened.outbox.store_endpoints().await.unwrap();
        assert_eq!(open.written(), [(name("a"), rich()), (name("b"), rich()), (name("c"), PAUSED)]);
        let inode = || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(bench.endpoints_file()).unwrap());
        let before = inode();
        open.note("b", rich());
        open.opened.outbox.store_endpoints().await.unwrap();
        assert_eq!(inode(), before, "what makes no difference is not written");
        open.note("c", EndpointRecord::default());
        open.opened.outbox.close().await;
    }
    // Another config may lack some of them: they may come back.
    for _ in 0..2 {
        let open = bench.open();
        assert_eq!(open.opened.endpoints, [(name("a"), rich()), (name("b"), rich())]);
        open.opened.outbox.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_that_the_disk_refused_is_in_force_and_the_newest_is_written_once_the_disk_takes_it() {
    let bench = Bench::new();
    let obstacle = bench.dir.path().join("data/endpoints.draft");
    {
        let open = bench.open();
        open.note("kept", PAUSED);
        open.opened.outbox.store_endpoints().await.unwrap();
        std::fs::create_dir(&obstacle).unwrap();
        open.note("a", PAUSED);
        open.note("kept", EndpointRecord::default());
        for _ in 0..2 {
            assert_eq!(open.opened.outbox.store_endpoints().await, Err(AcceptError::Failed));
        }
        assert_eq!(open.written(), [(name("kept"), PAUSED)], "refused is refused");
        let failed = open.metrics.commits_failed.get();
        bench.until("it is tried again", || open.metrics.commits_failed.get() > failed).await;
        // What is noted meanwhile is newer than what was refused.
        open.note("a", rich());
        std::fs::remove_dir(&obstacle).unwrap();
        bench.until("it is written", || open.written() == [(name("a"), rich())]).await;
        open.opened.outbox.store_endpoints().await.unwrap();
        open.opened.outbox.close().await;
    }
    assert_eq!(bench.open().opened.endpoints, [(name("a"), rich())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_that_goes_back_to_what_was_written_before_a_refusal_is_written_all_the_same() {
    let bench = Bench::new();
    let obstacle = bench.dir.path().join("data/endpoints.draft");
    let open = bench.open();
    open.note("a", PAUSED);
    open.opened.outbox.store_endpoints().await.unwrap();
    std::fs::create_dir(&obstacle).unwrap();
    open.note("a", rich());
    assert!(open.opened.outbox.store_endpoints().await.is_err());
    // As where the new file has taken the old one's place, and only that this is durable was refused.
    std::fs::remove_file(bench.endpoints_file()).unwrap();
    std::fs::remove_dir(&obstacle).unwrap();
    open.note("a", PAUSED);
    open.opened.outbox.store_endpoints().await.unwrap();
    assert_eq!(open.written(), [(name("a"), PAUSED)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_damaged_is_set_aside_and_nothing_is_kept_then() {
    let bench = Bench::new();
    {
        let open = bench.open();
        open.note("a", rich());
        open.opened.outbox.close().await;
    }
    let file = bench.endpoints_file();
    let mut bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let open = bench.open();
    assert!(open.opened.endpoints.is_empty());
    assert_eq!(std::fs::read(file.with_extension("damaged")).unwrap(), bytes);
    open.note("b", PAUSED);
    open.opened.outbox.store_endpoints().await.unwrap();
    assert_eq!(open.written(), [(name("b"), PAUSED)]);
}
