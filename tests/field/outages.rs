//! What functions call is away for minutes: the back-off that they ask for is kept, whoever is lost, drained, sick or
//! unsuited meanwhile.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use afn::model::{CallId, State};

use super::script::{Execution, Script, answers, fails, falls_sick, h, ms, s};
use super::world::{Of, Running, World};

single_and_batch!(
    an_outage_is_outlasted,
    a_lost_worker_does_not_shorten_the_backoff,
    a_drained_worker_does_not_shorten_the_backoff,
    a_sick_worker_does_not_shorten_the_backoff,
    workers_that_do_not_suit_do_not_shorten_the_backoff,
);

const OUTAGE: Duration = s(400);
const CALLS: u64 = 20;
/// After the first attempts; while all wait; and when some are in their second.
const MOMENTS: [Duration; 3] = [ms(200), s(30), s(100)];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Loss {
    Nobody,
    /// Killed so long after the calls were submitted.
    Killed(Duration),
    Drained(Duration),
    /// Cannot run anything for a moment, when it begins its first call.
    Sick,
}

/// Five attempts with a back-off of a minute and more outlast the outage: no call fails, whoever is lost meanwhile, and
/// beside so many workers that do not suit.
async fn no_call_fails(of: Of, loss: Loss, unsuited: usize) {
    let world = World::new();
    world.publish(5, s(60), s(300)).await;
    let is_well = AtomicBool::new(loss != Loss::Sick);
    let script = Script::new(move |execution: &Execution| match execution.at < OUTAGE {
        _ if !is_well.swap(true, Relaxed) => falls_sick(),
        true => fails(),
        false => answers(ms(500)),
    });
    let _unsuited: Vec<Running> =
        (0..unsuited).map(|n| world.start_unsuited(&format!("unsuited-{n}"), 4)).collect();
    let first = world.start("w1", 4, &script);
    let mut calls: Vec<CallId> = Vec::new();
    match of {
        Of::Single => {
            for _ in 0..CALLS {
                calls.push(world.call("x").await);
            }
        }
        Of::Batch => {
            let batch = world.batch(CALLS, CALLS).await;
            calls.extend((1..=CALLS).map(|number| batch.call(number)));
        }
    }
    let _first = match loss {
        Loss::Nobody | Loss::Sick => Some(first),
        Loss::Killed(after) => {
            tokio::time::sleep(after).await;
            first.kill().await;
            None
        }
        Loss::Drained(after) => {
            tokio::time::sleep(after).await;
            first.drain().await;
            None
        }
    };
    let _second = world.start("w2", 4, &script);
    for call in calls {
        let end = world.end_within(call, h(4)).await.expect("it is decided");
        let executions = world.executions().into_iter().filter(|execution| execution.call == call);
        let tried: Vec<(u32, Duration)> =
            executions.map(|execution| (execution.attempt, execution.at)).collect();
        assert_eq!(end.status, State::Success, "{loss:?}, {unsuited} unsuited: {end:?}, {tried:?}");
    }
}

async fn an_outage_is_outlasted(of: Of) {
    no_call_fails(of, Loss::Nobody, 0).await;
}

async fn a_lost_worker_does_not_shorten_the_backoff(of: Of) {
    for moment in MOMENTS {
        no_call_fails(of, Loss::Killed(moment), 0).await;
    }
}

async fn a_drained_worker_does_not_shorten_the_backoff(of: Of) {
    for moment in MOMENTS {
        no_call_fails(of, Loss::Drained(moment), 0).await;
    }
}

async fn a_sick_worker_does_not_shorten_the_backoff(of: Of) {
    no_call_fails(of, Loss::Sick, 0).await;
}

/// A message that workers put back because they do not suit has lost nobody.
async fn workers_that_do_not_suit_do_not_shorten_the_backoff(of: Of) {
    for unsuited in [1, 3] {
        no_call_fails(of, Loss::Nobody, unsuited).await;
    }
}
