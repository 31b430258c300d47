//! Power cuts: under load, while the daemon starts, while generations are begun and sealed, while retries settle.

use std::time::{Duration, Instant};

use super::campaign::{Campaign, Keep};

/// Longest that an armed cut is waited for before the power is cut by hand.
const ARMED: Duration = Duration::from_secs(3);
/// When the first generation is sealed after a start: at the first housekeeping it is a quarter of the retention old.
const SEALED: Duration = Duration::from_millis(1000);
/// How long before that nothing is posted any more, and when the cut is armed.
const QUIET: Duration = Duration::from_millis(400);
const LEAD: Duration = Duration::from_millis(60);
/// Operations that sealing takes, and what follows it.
const SEAL_OPERATIONS: u64 = 10;

/// Where the power is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// Before the daemon is ready.
    Start,
    /// Under load.
    Load,
    /// While a generation is begun.
    Begin,
    /// While a generation is sealed because of its age.
    Seal,
    /// While attempts settle and nothing is posted.
    Settle,
}

/// What comes up in turn: where generations are sealed and begun within a round, and where they are not.
const MOMENTS: [Moment; 6] = [Moment::Start, Moment::Load, Moment::Begin, Moment::Start, Moment::Seal, Moment::Settle];
const MOMENTS_OF_ONE: [Moment; 3] = [Moment::Start, Moment::Load, Moment::Settle];

struct Cuts {
    campaign: Campaign,
    /// Operations that a start took.
    start_operations: u64,
    in_start: u64,
    armed: u64,
    pages: [u64; 3],
}

/// Cuts the power again and again. `keep` says whether generations are sealed and removed meanwhile.
fn cut(name: &'static str, keep: Keep, strict_dirs: bool, ordered: bool) {
    let campaign = Campaign::new(name, keep, strict_dirs, ordered);
    let mut cuts = Cuts { campaign, start_operations: 60, in_start: 0, armed: 0, pages: [0; 3] };
    let rounds = super::rounds(15);
    let moments = if keep == Keep::Seconds { MOMENTS.as_slice() } else { &MOMENTS_OF_ONE };
    for round in 0..rounds {
        cuts.round(round, moments[round as usize % moments.len()]);
    }
    let Cuts { mut campaign, in_start, armed, pages: [unsynced, lost, torn], .. } = cuts;
    campaign.start();
    campaign.reckon(&format!(
        "{rounds} power cuts{}{}{} ({armed} armed, {in_start} of them during a start; {unsynced} pages not synced, {lost} of \
         them lost, {torn} torn)",
        if strict_dirs { ", strict directories" } else { "" },
        if ordered { ", ordered data" } else { "" },
        if keep == Keep::Seconds { ", retention 4 s" } else { "" },
    ));
}

impl Cuts {
    fn round(&mut self, round: u64, moment: Moment) {
        let mode = match self.campaign.random.u8(..10) {
            0..6 => "random",
            6..8 => "nothing",
            _ => "everything",
        };
        if moment == Moment::Start {
            self.start_under_a_cut(round, mode);
        } else {
            let before = self.campaign.disk.operations();
            self.campaign.start();
            self.start_operations = (self.campaign.disk.operations() - before).max(10);
            self.run_into_a_cut(round, moment, mode);
        }
        if !self.campaign.disk.power_is_off() {
            self.campaign.disk.tell(&format!("cut {mode}"));
        }
        let last = &self.campaign.disk.stats()["last_cut"];
        for (sum, name) in self.pages.iter_mut().zip(["pages", "pages_lost", "pages_torn"]) {
            *sum += last[name].as_u64().unwrap();
        }
        if self.campaign.random.bool() {
            // The daemon meets a dead disk for a while. What it acknowledges then is lost, and will be missed.
            self.campaign.linger(0..200);
        }
        self.campaign.daemon.kill();
        self.campaign.unload();
        self.campaign.disk.tell("restore");
    }

    /// A cut at one of the operations of a start; under load where it was ready first.
    fn start_under_a_cut(&mut self, round: u64, mode: &str) {
        let operation = self.campaign.random.u64(1..=self.start_operations);
        self.campaign.disk.tell(&format!("arm {operation} {mode}"));
        self.campaign.daemon.spawn(&[]);
        let begin = Instant::now();
        let mut ready = false;
        while !self.campaign.disk.power_is_off() {
            match self.campaign.daemon.ready_or_ended() {
                Some(Ok(())) if !ready => {
                    ready = true;
                    self.campaign.load(round);
                }
                // With the power on there is no reason to give up.
                Some(Err(status)) if !self.campaign.disk.power_is_off() => {
                    panic!("the daemon ended with {status} at its start:\n{}", self.campaign.daemon.log());
                }
                _ => {}
            }
            if ready && begin.elapsed() > ARMED {
                return;
            }
            assert!(begin.elapsed() < Duration::from_secs(30), "the daemon does not get ready");
            std::thread::sleep(Duration::from_millis(1));
        }
        self.armed += 1;
        self.in_start += u64::from(!ready);
    }

    fn run_into_a_cut(&mut self, round: u64, moment: Moment, mode: &str) {
        let ready = Instant::now();
        self.campaign.load(round);
        self.campaign.await_acknowledged(10);
        let arm = match moment {
            Moment::Start | Moment::Load => {
                self.campaign.linger(50..1200);
                if self.campaign.random.bool() {
                    return;
                }
                format!("arm {} {mode}", self.campaign.some(200))
            }
            Moment::Begin => format!("arm {} {mode} mkdir", self.campaign.some(60)),
            Moment::Seal => {
                // With nothing else to do, what the disk sees then is the sealing.
                self.campaign.ledger.refuse(0);
                std::thread::sleep(SEALED.saturating_sub(QUIET).saturating_sub(ready.elapsed()));
                self.campaign.unload();
                std::thread::sleep(SEALED.saturating_sub(LEAD).saturating_sub(ready.elapsed()));
                format!("arm {} {mode}", self.campaign.random.u64(1..=SEAL_OPERATIONS))
            }
            Moment::Settle => {
                self.campaign.ledger.refuse(60);
                self.campaign.linger(100..400);
                self.campaign.unload();
                format!("arm {} {mode}", self.campaign.some(40))
            }
        };
        self.campaign.disk.tell(&arm);
        self.armed += u64::from(self.campaign.disk.wait_for_cut(ARMED));
        self.campaign.ledger.refuse(10);
    }
}

#[test]
#[ignore = "needs /dev/fuse and tests/powercut: tests/run builds it"]
fn power_cuts_lose_nothing_acknowledged() {
    cut("cuts", Keep::Seconds, false, false);
}

#[test]
#[ignore = "needs /dev/fuse and tests/powercut: tests/run builds it"]
fn power_cuts_lose_nothing_acknowledged_where_names_need_their_directory_synced() {
    cut("cuts-strict", Keep::Seconds, true, false);
}

#[test]
#[ignore = "needs /dev/fuse and tests/powercut: tests/run builds it"]
fn power_cuts_lose_nothing_acknowledged_where_data_is_ordered() {
    cut("cuts-ordered", Keep::All, false, true);
}

#[test]
#[ignore = "needs /dev/fuse and tests/powercut: tests/run builds it"]
fn power_cuts_lose_nothing_acknowledged_where_data_is_ordered_and_names_are_not() {
    cut("cuts-strict-ordered", Keep::All, true, true);
}
