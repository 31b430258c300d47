//! An fsync that fails, once or for a while, and sometimes a power cut after it: what it did not write is gone for good.

use std::time::Duration;

use super::campaign::{Campaign, Keep};
use crate::kit::within;

/// The longest until a post meets an fsync that fails.
const NOTICED: Duration = Duration::from_secs(10);

#[test]
#[ignore = "needs /dev/fuse and tests/powercut: tests/run builds it"]
fn failing_fsyncs_lose_nothing_acknowledged_even_if_the_power_goes_after_them() {
    let mut campaign = Campaign::new("eio", Keep::Seconds, false, false);
    let rounds = super::rounds(20);
    let mut cuts = 0;
    campaign.start();
    campaign.load(0);
    for round in 0..rounds {
        campaign.await_acknowledged(10);
        campaign.linger(0..300);
        if round % 2 == 0 {
            campaign.disk.tell("eio once");
        } else {
            let shed = campaign.ledger.shed();
            campaign.disk.tell("eio on");
            let ledger = campaign.ledger.clone();
            within(NOTICED, "a post is answered 503 while fsync fails", || (ledger.shed() > shed).then_some(()));
            campaign.linger(0..400);
            if round % 8 != 3 {
                campaign.disk.tell("eio off");
            }
        }
        if round % 5 < 2 || round % 8 == 3 {
            cuts += 1;
            if round % 4 != 3 {
                campaign.linger(0..300);
            }
            campaign.disk.tell(if round % 3 == 0 { "cut nothing" } else { "cut random" });
            campaign.daemon.kill();
            campaign.unload();
            campaign.disk.tell("eio off");
            campaign.disk.tell("restore");
            campaign.start();
            campaign.load(round + 1);
        }
        // Events flow again by themselves.
        campaign.await_acknowledged(10);
        campaign.await_readiness(200, "once fsync works");
    }
    campaign.unload();
    campaign.reckon(&format!("{rounds} times a failing fsync ({cuts} of them with a power cut after it)"));
}
