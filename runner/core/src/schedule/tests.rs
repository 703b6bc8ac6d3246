use std::time::Duration;

use proptest::prelude::*;

use super::*;

const MACHINE: Machine = Machine { has: Need { cpu: 2000, memory: 100, gpu: 1 }, jobs: 3 };

fn spec(waits: &[usize]) -> Spec {
    Spec {
        waits: waits.iter().map(|index| (NodeId(*index), Edge::Data)).collect(),
        need: Need { cpu: 1000, memory: 10, gpu: 0 },
        retry: RetryPolicy::never(),
        tolerated: false,
        left_out: false,
        gathers: false,
    }
}

#[test]
fn a_fan_out_that_gathers_looks_again_when_its_instances_ended_well() {
    for (last, then) in [(Ok(()), None), (Err(FailureKind::Step), Some(SkipWhy::Failed(NodeId(0))))] {
        let mut scheduler = Scheduler::new(vec![Spec { gathers: true, ..spec(&[]) }, spec(&[0])], MACHINE, false);
        scheduler.take_orders();
        let made = scheduler.fan(NodeId(0), 2);
        assert_eq!(scheduler.take_orders(), [Order::Look(made[0]), Order::Look(made[1])]);
        scheduler.hit(made[0]);
        scheduler.miss(made[1]);
        scheduler.take_orders();
        scheduler.ended(made[1], last);
        match then {
            None => {
                assert_eq!(scheduler.take_orders(), [Order::Look(NodeId(0))]);
                scheduler.miss(NodeId(0));
                assert_eq!(scheduler.take_orders(), [Order::Start(NodeId(0), 1)]);
                scheduler.ended(NodeId(0), Ok(()));
                assert_eq!(scheduler.take_orders(), [Order::Look(NodeId(1))]);
            }
            Some(why) => assert_eq!(scheduler.take_orders(), [Order::Skip(NodeId(1), why)]),
        }
    }
}

#[test]
fn a_failure_skips_dependents_by_name_and_stops_the_rest() {
    let mut scheduler = Scheduler::new(vec![spec(&[]), spec(&[0]), spec(&[1]), spec(&[])], MACHINE, false);
    assert_eq!(scheduler.take_orders(), [Order::Look(NodeId(0)), Order::Look(NodeId(3))]);
    scheduler.miss(NodeId(0));
    assert_eq!(scheduler.take_orders(), [Order::Start(NodeId(0), 1)]);
    scheduler.ended(NodeId(0), Err(FailureKind::Step));
    let orders = scheduler.take_orders();
    assert_eq!(
        orders,
        [Order::Skip(NodeId(1), SkipWhy::Failed(NodeId(0))), Order::Skip(NodeId(2), SkipWhy::Failed(NodeId(0)))]
    );
    scheduler.miss(NodeId(3));
    assert_eq!(scheduler.take_orders(), [Order::Skip(NodeId(3), SkipWhy::Stopped)]);
    assert!(scheduler.is_done());
}

#[test]
fn it_is_known_whether_a_step_is_looked_up_and_one_may_end_before_it_was() {
    let mut scheduler = Scheduler::new(vec![spec(&[]), spec(&[]), spec(&[1])], MACHINE, false);
    assert!(scheduler.is_looking());
    scheduler.miss(NodeId(0));
    assert!(scheduler.is_looking(), "the other still is");
    scheduler.hit(NodeId(1));
    assert!(scheduler.is_looking(), "what waited for it is now");
    scheduler.take_orders();
    // What it stands on cannot be had.
    scheduler.ended(NodeId(2), Err(FailureKind::Step));
    assert!(!scheduler.is_looking() && scheduler.is_busy() && scheduler.is_stopping());
    assert_eq!(scheduler.take_orders(), []);
    // It was told to start, and has not: it gives its room back.
    scheduler.away(NodeId(0));
    assert_eq!(scheduler.take_orders(), [Order::Skip(NodeId(0), SkipWhy::Stopped)]);
    assert!(scheduler.is_done() && !scheduler.is_busy());
}

#[test]
fn retries_pause_twice_as_long_each_time() {
    let mut only = spec(&[]);
    only.retry = RetryPolicy { attempts: 3, backoff: Duration::from_secs(1), on: vec![FailureKind::Infrastructure] };
    let mut scheduler = Scheduler::new(vec![only], MACHINE, false);
    scheduler.take_orders();
    scheduler.miss(NodeId(0));
    for (attempt, pause) in [(1, 1), (2, 2)] {
        assert_eq!(scheduler.take_orders(), [Order::Start(NodeId(0), attempt)]);
        scheduler.ended(NodeId(0), Err(FailureKind::Infrastructure));
        assert_eq!(scheduler.take_orders(), [Order::Pause(NodeId(0), attempt, Duration::from_secs(pause))]);
        scheduler.resume(NodeId(0));
    }
    scheduler.take_orders();
    scheduler.ended(NodeId(0), Err(FailureKind::Infrastructure));
    assert_eq!(*scheduler.state(NodeId(0)), State::Done(End::Failed));
}

#[test]
fn a_fan_out_is_done_when_its_instances_are_and_the_same_result_is_made_once() {
    let mut scheduler = Scheduler::new(vec![spec(&[]), spec(&[0])], MACHINE, false);
    scheduler.take_orders();
    let made = scheduler.fan(NodeId(0), 2);
    assert_eq!(scheduler.take_orders(), [Order::Look(made[0]), Order::Look(made[1])]);
    scheduler.miss(made[0]);
    scheduler.hold(made[1], made[0]);
    assert_eq!(scheduler.take_orders(), [Order::Start(made[0], 1)]);
    scheduler.ended(made[0], Ok(()));
    assert_eq!(scheduler.take_orders(), [Order::Look(made[1])]);
    scheduler.hit(made[1]);
    assert_eq!(scheduler.take_orders(), [Order::Look(NodeId(1))]);
}

#[test]
fn a_step_that_another_run_makes_takes_no_room_and_looks_again() {
    let machine = Machine { jobs: 1, ..MACHINE };
    let mut scheduler = Scheduler::new(vec![spec(&[]), spec(&[]), spec(&[0])], machine, false);
    let (first, second, after) = (NodeId(0), NodeId(1), NodeId(2));
    scheduler.take_orders();
    scheduler.miss(first);
    scheduler.miss(second);
    assert_eq!(scheduler.take_orders(), [Order::Start(first, 1)]);
    scheduler.away(first);
    assert_eq!(*scheduler.state(first), State::Away);
    assert_eq!(scheduler.take_orders(), [Order::Start(second, 1)], "the only slot is free again");
    scheduler.ended(second, Ok(()));
    assert!(scheduler.take_orders().is_empty() && scheduler.is_busy(), "waiting for another run is no standstill");
    scheduler.back(first);
    assert_eq!(scheduler.take_orders(), [Order::Look(first)]);
    scheduler.miss(first);
    assert_eq!(scheduler.take_orders(), [Order::Start(first, 1)]);
    // Made by the other run between the look and the start.
    scheduler.hit(first);
    assert_eq!(scheduler.take_orders(), [Order::Look(after)]);
    scheduler.miss(after);
    assert_eq!(scheduler.take_orders(), [Order::Start(after, 1)], "and the slot is free once more");
}

#[test]
fn a_stop_ends_the_waiting_for_another_run() {
    let mut scheduler = Scheduler::new(vec![spec(&[]), spec(&[])], MACHINE, false);
    let (first, second) = (NodeId(0), NodeId(1));
    scheduler.take_orders();
    scheduler.miss(first);
    scheduler.miss(second);
    scheduler.take_orders();
    scheduler.away(first);
    scheduler.stop();
    assert_eq!(scheduler.take_orders(), [Order::Skip(first, SkipWhy::Stopped)]);
    scheduler.back(first);
    assert!(scheduler.take_orders().is_empty(), "what is over does not come back");
    scheduler.away(second);
    assert_eq!(scheduler.take_orders(), [Order::Skip(second, SkipWhy::Stopped)]);
    assert!(scheduler.is_done());
}

#[test]
fn what_is_left_out_leaves_out_what_waits_for_it() {
    let left_out = |waits: &[usize]| Spec { left_out: true, ..spec(waits) };
    let mut scheduler = Scheduler::new(vec![spec(&[]), left_out(&[0]), left_out(&[1])], MACHINE, false);
    let orders = scheduler.take_orders();
    let skip = |index| Order::Skip(NodeId(index), SkipWhy::LeftOut);
    assert_eq!(orders, [Order::Look(NodeId(0)), skip(1), skip(2)]);
    scheduler.hit(NodeId(0));
    assert!(scheduler.take_orders().is_empty() && scheduler.is_done());
}

/// What a step waits for (and whether for data), thousandths of cores, whether it is tolerated, attempts.
type Drawn = (Vec<(usize, bool)>, u64, bool, u32);

/// What a random driver may answer.
#[derive(Clone, Debug)]
struct Script {
    specs: Vec<Drawn>,
    answers: Vec<u8>,
    keep_going: bool,
}

fn scripts() -> impl Strategy<Value = Script> {
    let step = (
        prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..4),
        0u64..3000,
        any::<bool>(),
        1u32..4,
    );
    (prop::collection::vec(step, 1..24), prop::collection::vec(any::<u8>(), 1..200), any::<bool>()).prop_map(
        |(steps, answers, keep_going)| {
            let specs = steps
                .into_iter()
                .enumerate()
                .map(|(index, (waits, cpu, tolerated, attempts))| {
                    let mut before: Vec<(usize, bool)> = waits
                        .into_iter()
                        .filter(|_| index > 0)
                        .map(|(pick, data)| (pick.index(index.max(1)), data))
                        .collect();
                    before.sort();
                    before.dedup_by_key(|wait| wait.0);
                    (before, cpu, tolerated, attempts)
                })
                .collect();
            Script { specs, answers, keep_going }
        },
    )
}

fn build(script: &Script) -> Vec<Spec> {
    let edge = |data: bool| if data { Edge::Data } else { Edge::Order };
    script
        .specs
        .iter()
        .map(|(waits, cpu, tolerated, attempts)| Spec {
            waits: waits.iter().map(|(index, data)| (NodeId(*index), edge(*data))).collect(),
            need: Need { cpu: *cpu, memory: 0, gpu: 0 },
            retry: RetryPolicy { attempts: *attempts, backoff: Duration::ZERO, on: vec![FailureKind::Step] },
            tolerated: *tolerated,
            left_out: false,
            gathers: gathers(*cpu),
        })
        .collect()
}

/// Whether a drawn step gathers what its instances made: every third does.
fn gathers(cpu: u64) -> bool {
    cpu.is_multiple_of(3)
}

/// A driver that answers by chance and watches every promise.
fn drive(script: &Script) {
    let mut scheduler = Scheduler::new(build(script), MACHINE, script.keep_going);
    let mut answers = script.answers.iter().copied().cycle();
    let mut answer = || answers.next().unwrap_or(0);
    let mut running: Vec<NodeId> = Vec::new();
    let mut away: Vec<NodeId> = Vec::new();
    let mut looked = std::collections::BTreeMap::<NodeId, u32>::new();
    for _ in 0..100_000 {
        let orders = scheduler.take_orders();
        let idle = orders.is_empty();
        for order in orders {
            match order {
                Order::Look(id) => {
                    *looked.entry(id).or_default() += 1;
                    before_are_over(&scheduler, script, id);
                    let instances = scheduler.instances(id).to_vec();
                    let well = |id: &NodeId| *scheduler.state(*id) == State::Done(End::Succeeded);
                    assert!(instances.iter().all(well), "it gathers from what did not end well");
                    match answer() % 8 {
                        0 | 1 => scheduler.hit(id),
                        2 => scheduler.skip(id),
                        3 if id.0 < script.specs.len() && instances.is_empty() => {
                            let least = u8::from(gathers(script.specs[id.0].1));
                            drop(scheduler.fan(id, usize::from(answer() % 4 + least)));
                        }
                        4 if !running.is_empty() => scheduler.hold(id, running[0]),
                        5 if !away.is_empty() => scheduler.hold(id, away[0]),
                        _ => scheduler.miss(id),
                    }
                }
                Order::Start(id, attempt) => {
                    assert!(matches!(scheduler.state(id), State::Running(at) if *at == attempt));
                    running.push(id);
                    assert!(running.len() <= MACHINE.jobs, "more steps than jobs");
                    let cpu: u64 = running.iter().map(|id| need(script, &scheduler, *id)).sum();
                    assert!(cpu <= MACHINE.has.cpu, "more cores than there are");
                    // Another run is making it (not for ever), or has made it.
                    match answer() % 8 {
                        0 if looked[&id] < 4 => {
                            running.pop();
                            scheduler.away(id);
                            away.extend((*scheduler.state(id) == State::Away).then_some(id));
                        }
                        1 => {
                            running.pop();
                            scheduler.hit(id);
                        }
                        _ => {}
                    }
                }
                Order::Pause(id, ..) => scheduler.resume(id),
                Order::Skip(id, _) => {
                    assert!(matches!(scheduler.state(id), State::Done(End::Skipped(_))));
                    away.retain(|waiting| *waiting != id);
                }
            }
        }
        if scheduler.is_done() {
            return;
        }
        if idle {
            assert!(scheduler.is_busy(), "nothing can move and nothing is awaited");
            if let Some(id) = away.pop_if(|_| running.is_empty() || answer() % 2 == 0) {
                scheduler.back(id);
                continue;
            }
            assert!(!running.is_empty(), "nothing can move and nothing runs");
            let id = running.remove(usize::from(answer()) % running.len());
            scheduler.ended(id, if answer() % 4 == 0 { Err(FailureKind::Step) } else { Ok(()) });
            if answer() == 77 {
                scheduler.stop();
            }
        }
    }
    panic!("the run never ends");
}

fn need(script: &Script, scheduler: &Scheduler, id: NodeId) -> u64 {
    let owner = (0..script.specs.len()).find(|index| scheduler.instances(NodeId(*index)).contains(&id)).unwrap_or(id.0);
    script.specs[owner].1.min(MACHINE.has.cpu)
}

fn before_are_over(scheduler: &Scheduler, script: &Script, id: NodeId) {
    let Some((waits, ..)) = script.specs.get(id.0) else { return };
    for (index, data) in waits {
        let state = scheduler.state(NodeId(*index));
        let fine = match state {
            State::Done(End::Succeeded) => true,
            State::Done(End::Tolerated | End::Skipped(SkipWhy::Condition)) => !data,
            _ => false,
        };
        assert!(fine, "{id:?} looks although {index} is {state:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Every run ends; nothing starts before what it waits for is over; the machine is never overbooked.
    #[test]
    fn every_run_ends_and_keeps_its_promises(script in scripts()) {
        drive(&script);
    }
}
