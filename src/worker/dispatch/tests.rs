//! The window by a table: what a supervisor sees, and how many calls it sends.

use std::time::Duration;

use super::window::{Sight, Window};
use crate::limits;
use crate::seam::queue::Depth;

fn sight(seconds: f64, visible: u64, in_flight: u64, out: u64, decided: u64) -> Sight {
    let now = Duration::from_secs_f64(seconds);
    let depth = Depth { visible, in_flight, delayed: 0 };
    Sight {
        now,
        elapsed: now,
        depth,
        counts_delayed: false,
        empty_receive: None,
        out,
        decided,
        mean: Duration::ZERO,
    }
}

fn window() -> Window {
    Window::new(limits::FIRST_CALLS)
}

#[test]
fn a_queue_with_messages_is_left_alone_while_nothing_ends() {
    assert_eq!(window().calls(&sight(1.0, 3, 4, 1_536, 0)), 0);
}

#[test]
fn an_empty_queue_gets_more_each_time_it_is_soon_empty_again() {
    let mut window = window();
    let mut sent = Vec::new();
    for look in 0..5 {
        let now = f64::from(look);
        sent.push(window.calls(&sight(now, 0, 16, 1_536, 0)));
        window.sent(Duration::from_secs_f64(now), 8);
    }
    assert_eq!(sent, [512, 1_024, 2_048, 4_096, 8_192]);
}

#[test]
fn what_lasts_long_is_halved_and_what_lasts_half_a_minute_stays() {
    let mut window = window();
    let mut at = 0.0;
    let mut sent = Vec::new();
    for lasted in [1.0, 1.0, 30.0, 60.0, 60.0, 60.0] {
        at += lasted;
        sent.push(window.calls(&sight(at, 0, 16, 1_536, 0)));
        window.sent(Duration::from_secs_f64(at), 8);
    }
    assert_eq!(sent, [512, 1_024, 1_024, 512, 512, 512]);
}

#[test]
fn a_count_that_lags_is_not_believed_for_five_seconds() {
    let mut window = window();
    window.sent(Duration::from_secs(10), 40);
    // Nothing of the forty messages is to be seen.
    assert_eq!(window.calls(&sight(11.0, 0, 4, 1_536, 0)), 0);
    assert!(window.calls(&sight(15.0, 0, 4, 1_536, 0)) > 0);
    window.sent(Duration::from_secs(20), 40);
    let received_nothing = Some(Duration::from_secs(21));
    assert!(window.calls(&Sight { empty_receive: received_nothing, ..sight(21.5, 0, 4, 1_536, 0) }) > 0);
    window.sent(Duration::from_secs(22), 40);
    assert_eq!(window.calls(&Sight { empty_receive: received_nothing, ..sight(22.5, 0, 4, 1_536, 0) }), 0);
}

#[test]
fn a_queue_full_of_other_batches_does_not_stop_this_one() {
    assert_eq!(window().calls(&sight(100.0, 500, 16, 0, 1_536)), 512, "nothing of it is out");
    let mut window = window();
    assert_eq!(window.calls(&sight(0.0, 500, 16, 1_536, 0)), 0);
    // 100 calls a second, of which 30 s are to wait, and 20 s more are not recorded yet.
    assert_eq!(window.calls(&sight(60.0, 500, 16, 1_000, 6_000)), 4_000);
    assert_eq!(window.calls(&sight(60.0, 500, 16, 5_000, 6_000)), 0);
    let long = Sight { mean: Duration::from_secs(10), ..sight(60.0, 500, 16, 5_000, 6_000) };
    assert_eq!(window.calls(&long), 1_000, "ten seconds' calls run");
}

#[test]
fn messages_that_wait_for_a_limit_are_not_an_empty_queue() {
    let delayed = Depth { delayed: 3, ..Depth::default() };
    let sight = Sight { depth: delayed, ..sight(1.0, 0, 0, 1_536, 0) };
    assert_eq!(window().calls(&Sight { counts_delayed: true, ..sight }), 0);
    assert_eq!(window().calls(&sight), 512);
}
