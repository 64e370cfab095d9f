//! What supervisors tell of the work that is left.

use afn::event::Event;

use super::script::{Script, answers, h, s};
use super::world::World;

#[tokio::test(start_paused = true)]
async fn a_supervisor_tells_what_is_left_and_how_many_slots_that_wants() {
    let world = World::new();
    world.publish(1, s(1), h(1)).await;
    let batch = world.batch(4_000, 0).await;
    let _worker = world.start("w", 4, &Script::always(answers(s(2))));
    tokio::time::sleep(s(60)).await;
    let (mut left, mut mean, mut wanted, mut oldest) = (vec![], vec![], vec![], vec![]);
    world.each_event(|event| match event {
        Event::CallsLeft { calls, .. } => left.push(*calls),
        Event::SecondsPerCall { seconds, .. } => mean.push(*seconds),
        Event::WorkersWanted { slots, .. } => wanted.push(*slots),
        Event::OldestUndecidedSeconds { seconds, .. } => oldest.push(*seconds),
        _ => {}
    });
    println!("calls left {left:?}, seconds {mean:?}, slots {wanted:?}, oldest {oldest:?}");
    assert!(left[0] == 4_000 && left.is_sorted_by(|one, next| one >= next), "{left:?}");
    assert!(mean.iter().all(|seconds| (1.9..=2.1).contains(seconds)), "{mean:?}");
    // 4,000 × 2 s in ten minutes.
    assert_eq!((wanted[0], wanted.iter().max()), (1, Some(&14)), "{wanted:?}");
    assert!(oldest.last().is_some_and(|seconds| (20.0..=61.0).contains(seconds)), "{oldest:?}");
    world.over(batch, h(2)).await.expect("over");
    assert_eq!(world.said(|event| matches!(event, Event::CallsLeft { calls: 0, .. })), 1);
    assert_eq!(world.said(|event| matches!(event, Event::WorkersWanted { slots: 0, .. })), 1);
}
