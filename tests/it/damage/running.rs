//! Damage done under the feet of a running daemon.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::scene::{GENERATIONS, Scene, events_of, folder, template, used};
use crate::kit::within;

/// A daemon on a copy of the folder, running: what is damaged under it, or deleted, is met by a read or a delivery, and the
/// others go on.
fn running(what: &str, generation: u32, strike: impl FnOnce(&Path)) {
    let mut scene = Scene::new(what, &template().stopped);
    scene.daemon.run();
    let hit = format!("g{generation}-0");
    assert_eq!(scene.client().get(&format!("/v1/events/{hit}")).status, 200, "the generation is open");
    strike(&scene.daemon.data());
    // Others are taken and delivered meanwhile.
    scene.client().post("/v1/endpoints/down/resume", "").expect(200);
    let meanwhile = scene.client().event("damage.fresh", "1");
    scene.up.wait_for("the fresh event", |requests| requests.iter().any(|request| request.id() == meanwhile));
    let told = within(Duration::from_secs(30), &format!("{what}: it is found"), || {
        for event in scene.events.iter().filter(|event| event.generation == generation) {
            scene.client().get(&format!("/v1/events/{}", event.id));
        }
        let ready = scene.ready();
        ready["damaged"].is_array().then_some(ready)
    });
    let fresh = scene.client().event("damage.fresh", "2");
    scene.client().await_state(&fresh, "up", "delivered");
    let fate = scene.look();
    assert_eq!(fate.damaged.len(), 1, "{what}: {told}");
    scene.named(&fate);
    let lost: BTreeSet<String> = fate.missing.union(&fate.bodiless).cloned().collect();
    assert!(lost.is_subset(&events_of(&[generation])), "{what}: {lost:?}");
    let page = scene.client().get("/v1/events?limit=1000").expect(200).json();
    // What came while nobody knew yet went with the current generation.
    let fresh_ones = if generation == GENERATIONS { 1 } else { 2 };
    let left = scene.events.len() + fresh_ones - fate.missing.len();
    assert_eq!(page["events"].as_array().unwrap().len(), left, "{what}");
    let whole = scene.events.iter().filter(|event| !lost.contains(&event.id));
    let whole: BTreeSet<&str> = whole.map(|event| event.id.as_str()).chain([fresh.as_str()]).collect();
    scene.down.wait_for(&format!("{what}: what waited"), |requests| {
        let ids: BTreeSet<&str> = requests.iter().map(|request| request.id()).collect();
        whole.is_subset(&ids)
    });
    // What was lost and waited is dead and not pending for ever.
    for id in &fate.bodiless {
        scene.client().await_state(id, "down", "dead");
    }
    scene.daemon.restart();
    let again = scene.look();
    assert_eq!(again, fate, "{what}: after a restart");
    scene.client().get(&format!("/v1/events/{fresh}")).expect(200);
    assert!(!scene.daemon.log().contains("panicked at 'src"), "{}", scene.daemon.log());
    println!("{what}: {} lost, {} without body", fate.missing.len(), fate.bodiless.len());
}

#[test]
fn damage_under_a_running_daemon_is_found_by_a_read_or_a_delivery_and_the_others_go_on() {
    for generation in [1, 2] {
        running("a sealed database overwritten", generation, |data| {
            use std::os::unix::fs::FileExt;
            let db = folder(data, generation).join("db");
            let file = fs::File::options().write(true).open(&db).unwrap();
            let used = used(&db);
            for at in (0..used).step_by(20_000) {
                file.write_all_at(&[0xA5; 700], at as u64).unwrap();
            }
        });
    }
    running("a sealed generation deleted", 2, |data| fs::remove_dir_all(folder(data, 2)).unwrap());
    running("the database of a sealed generation deleted", 1, |data| {
        fs::remove_file(folder(data, 1).join("db")).unwrap();
    });
    running("a sealed database cut to nothing", 2, |data| {
        fs::File::options().write(true).open(folder(data, 2).join("db")).unwrap().set_len(0).unwrap();
    });
    running("the current generation deleted", 3, |data| fs::remove_dir_all(folder(data, 3)).unwrap());
}
