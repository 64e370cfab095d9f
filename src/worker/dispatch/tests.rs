//! The window by a table: what a supervisor sees, and how many calls it sends.

use std::time::Duration;

use super::window::{Observation, Window};
use crate::limits;
use crate::seam::queue::Depth;

fn seen(seconds: f64, visible: u64, in_flight: u64, out: u64, decided: u64) -> Observation {
    let now = Duration::from_secs_f64(seconds);
    let depth = Depth { visible, in_flight, delayed: 0 };
    Observation {
        now,
        elapsed: now,
        depth,
        is_limited: false,
        empty_receive: None,
        out,
        decided,
        mean: Duration::ZERO,
    }
}

/// More than any rate here asks for.
const MANY: u64 = 10_000_000;

fn window() -> Window {
    Window::new(limits::FIRST_CALLS)
}

#[test]
fn a_queue_with_messages_is_left_alone_while_nothing_ends() {
    assert_eq!(window().calls(&seen(1.0, 3, 4, 1_536, 0)), 0);
}

#[test]
fn an_empty_queue_gets_more_each_time_it_is_soon_empty_again() {
    let mut window = window();
    let fills =
        (0..5).map(|look| window.calls(&seen(f64::from(look), 0, 16, MANY, 5_000 * u64::from(look as u32))));
    assert_eq!(fills.collect::<Vec<_>>(), [512, 1_024, 2_048, 4_096, 8_192]);
}

#[test]
fn no_more_is_sent_to_an_empty_queue_than_is_done_in_five_minutes() {
    let mut window = window();
    let fills =
        (0..5).map(|look| window.calls(&seen(f64::from(look), 0, 16, MANY, 3 * u64::from(look as u32))));
    assert_eq!(fills.collect::<Vec<_>>(), [512, 900, 900, 900, 900]);
}

#[test]
fn what_lasts_long_is_halved_and_what_lasts_half_a_minute_stays() {
    let mut window = window();
    let mut at = 0;
    let fills = [1, 1, 30, 60, 60, 60].map(|lasted| {
        at += lasted;
        window.calls(&seen(at as f64, 0, 16, MANY, 100 * at))
    });
    assert_eq!(fills, [512, 1_024, 1_024, 512, 512, 512]);
}

#[test]
fn a_count_that_lags_is_not_believed_for_five_seconds() {
    let mut window = window();
    window.sent(40, &seen(10.0, 0, 4, 1_536, 0));
    // Nothing of the forty messages is to be seen beside the four that were there before.
    assert_eq!(window.calls(&seen(11.0, 0, 4, 1_536, 0)), 0);
    assert!(window.calls(&seen(15.0, 0, 4, 1_536, 0)) > 0);
    window.sent(40, &seen(20.0, 0, 4, 1_536, 0));
    assert!(window.calls(&seen(21.0, 0, 24, 1_536, 0)) > 0, "half of them are held by workers");
    let received_nothing = Some(Duration::from_secs(21));
    let seen_at = |at| Observation { empty_receive: received_nothing, ..seen(at, 0, 4, 1_536, 0) };
    assert!(window.calls(&seen_at(21.5)) > 0);
    window.sent(40, &seen(22.0, 0, 4, 1_536, 0));
    assert_eq!(window.calls(&seen_at(22.5)), 0, "that was before");
}

#[test]
fn what_stands_still_for_ten_minutes_is_not_waited_for() {
    let mut window = window();
    window.sent(8, &seen(10.0, 8, 0, 1_536, 0));
    assert_eq!(window.calls(&seen(600.0, 8, 0, 1_536, 0)), 0);
    assert_eq!(window.calls(&seen(611.0, 8, 0, 1_536, 0)), 512);
}

#[test]
fn a_queue_full_of_other_batches_does_not_stop_this_one() {
    assert_eq!(window().calls(&seen(100.0, 500, 16, 0, 1_536)), 512, "nothing of it is out");
    let mut window = window();
    assert_eq!(window.calls(&seen(0.0, 500, 16, 1_536, 0)), 0);
    // 100 calls a second, of which 30 s are to wait, and 20 s more are not recorded yet.
    assert_eq!(window.calls(&seen(60.0, 500, 16, 1_000, 6_000)), 4_000);
    assert_eq!(window.calls(&seen(60.0, 500, 16, 5_000, 6_000)), 0);
    let long = Observation { mean: Duration::from_secs(10), ..seen(60.0, 500, 16, 5_000, 6_000) };
    assert_eq!(window.calls(&long), 2_000, "ten seconds' calls run, and as many are to wait for their slots");
}

#[test]
fn the_queue_does_not_tell_of_a_batch_with_limits() {
    let seen = seen(1.0, 0, 0, 1_536, 0);
    assert_eq!(window().calls(&Observation { is_limited: true, ..seen }), 0);
    assert_eq!(window().calls(&seen), 512);
}

#[test]
fn what_was_decided_before_its_supervisor_began_is_no_rate() {
    let mut window = window();
    assert_eq!(window.calls(&seen(0.0, 500, 16, 1_536, 100_000)), 0);
    // A part with 1,000 outcomes after a second is no 1,000 calls a second.
    assert_eq!(window.calls(&seen(1.0, 500, 16, 1_536, 101_000)), 1_497);
}
