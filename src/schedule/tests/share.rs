use super::*;

/// A schedule with so many permits, and lanes without limits of their own.
fn shared(total: usize, lanes: u16) -> Schedule {
    let mut schedule = Schedule::new(total);
    for lane in 0..lanes {
        schedule.open_lane(EndpointNo(lane), &rules(1_000), Kept::default(), MonoMs(0));
    }
    schedule
}

fn admit_many(schedule: &mut Schedule, endpoint: EndpointNo) {
    for seq in 0..100 {
        schedule.admit(entry(endpoint, seq, 0), None, MonoMs(0));
    }
}

#[test]
fn a_greedy_lane_leaves_permits_for_others() {
    let mut schedule = shared(40, 3);
    admit_many(&mut schedule, A);
    assert_eq!(started(&mut schedule, 0).len(), 10, "half of the 20 that are shared");
    admit_many(&mut schedule, B);
    assert_eq!(started(&mut schedule, 0).len(), 5, "half of what is left");
    schedule.admit(entry(EndpointNo(2), 0, 0), None, MonoMs(0));
    assert_eq!(started(&mut schedule, 0), [(2, 0)], "and who comes later finds a permit at once");
}

#[test]
fn each_lane_has_a_permit_of_its_own_whatever_the_others_do() {
    let mut schedule = shared(40, 20);
    for lane in 0..19 {
        admit_many(&mut schedule, EndpointNo(lane));
        assert!(!started(&mut schedule, 0).is_empty());
    }
    admit_many(&mut schedule, EndpointNo(19));
    assert!(!started(&mut schedule, 0).is_empty());
}

#[test]
fn a_permit_given_back_goes_to_who_has_fewest() {
    let mut schedule = shared(40, 2);
    admit_many(&mut schedule, A);
    assert_eq!(started(&mut schedule, 0).len(), 10);
    admit_many(&mut schedule, B);
    assert_eq!(started(&mut schedule, 0).len(), 5);
    assert_eq!(schedule.next_wake(), None, "nothing to do until one ends");
    delivered(&mut schedule, A, 0, 1);
    assert_eq!(schedule.next_wake(), Some(MonoMs(0)), "at once");
    assert_eq!(started(&mut schedule, 1), [(1, 5)]);
    for seq in 1..4 {
        delivered(&mut schedule, A, seq, 2);
        started(&mut schedule, 2);
    }
    let share = [schedule.in_flight(A), schedule.in_flight(B)];
    assert!(share[0].abs_diff(share[1]) <= 1, "{share:?}");
}

#[test]
fn nobody_in_the_crowd_is_forgotten() {
    let mut schedule = shared(10, 5);
    (0..5).for_each(|lane| admit_many(&mut schedule, EndpointNo(lane)));
    let mut under_way = Vec::new();
    let mut ended = 0;
    loop {
        under_way.extend(started(&mut schedule, 0));
        let Some((lane, seq)) = under_way.pop() else { break };
        delivered(&mut schedule, EndpointNo(lane), seq, 0);
        ended += 1;
    }
    assert_eq!((ended, schedule.total_pending()), (500, 0));
}

#[test]
fn a_lane_of_the_crowd_may_be_paused_and_closed() {
    let mut schedule = shared(10, 3);
    admit_many(&mut schedule, A);
    admit_many(&mut schedule, B);
    let under_way = started(&mut schedule, 0);
    schedule.set_active(A, false);
    schedule.close_lane(B);
    for (lane, seq) in under_way {
        delivered(&mut schedule, EndpointNo(lane), seq, 1);
        assert_eq!(started(&mut schedule, 1), []);
    }
    schedule.set_active(A, true);
    schedule.open_lane(B, &rules(1), Kept::default(), MonoMs(2));
    let lanes: Vec<u16> = started(&mut schedule, 2).into_iter().map(|(lane, _)| lane).collect();
    assert_eq!(lanes, [0, 1, 0]);
}
