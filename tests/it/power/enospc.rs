//! A disk that fills up under load, and has room again.

use std::time::Duration;

use super::campaign::{Campaign, Keep};
use crate::kit::within;

/// The longest until the daemon notices that the disk is full.
const NOTICED: Duration = Duration::from_secs(10);
/// Most bytes that still fit when the disk begins to fill.
const ROOM_BYTES_MAX: u64 = 4 << 20;

#[test]
#[ignore = "needs /dev/fuse and tests/powercut: tests/run builds it"]
fn a_full_disk_loses_nothing_acknowledged_and_is_left_behind_without_a_restart() {
    let mut campaign = Campaign::new("enospc", Keep::Seconds, false, false);
    let rounds = super::rounds(20);
    let (mut restarts, mut gave_up) = (0, 0);
    campaign.start();
    campaign.load(0);
    for round in 0..rounds {
        campaign.await_acknowledged(10);
        campaign.linger(0..300);
        let shed = campaign.ledger.shed();
        // A quota that is full does not show in what the daemon can ask of the disk.
        let hidden = if campaign.random.bool() { " hidden" } else { "" };
        let space = if round % 3 == 0 { "on".to_owned() } else { campaign.some(ROOM_BYTES_MAX).to_string() };
        campaign.disk.tell(&format!("enospc {space}{hidden}"));
        let ledger = campaign.ledger.clone();
        within(NOTICED, "a post is answered 503 on a full disk", || (ledger.shed() > shed).then_some(()));
        campaign.await_readiness(503, "on a full disk");
        campaign.linger(0..400);
        if round % 4 == 3 {
            restarts += 1;
            campaign.daemon.kill();
            campaign.daemon.spawn(&[]);
            campaign.linger(0..1500);
        }
        let at_the_end = campaign.ledger.accepted();
        campaign.disk.tell("enospc off");
        if !campaign.daemon.alive() {
            // It may refuse to start on a full disk, as long as it says so; a supervisor starts it again.
            gave_up += 1;
            campaign.daemon.kill();
            campaign.start();
        }
        // Events flow again by themselves.
        campaign.await_acknowledged(10);
        campaign.await_readiness(200, "once there is room");
        assert!(campaign.ledger.accepted() > at_the_end);
    }
    campaign.unload();
    campaign.reckon(&format!(
        "{rounds} times a full disk ({restarts} restarts on it, of which {gave_up} did not start before there was room)"
    ));
}
