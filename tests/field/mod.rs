//! Days in the field, under virtual time: a store and queues in memory that never fail, workers of one to hundreds, scripted
//! functions. Each test looks at what a user can see: outcomes, executions with their attempt numbers, times, requests.

/// The tests named here, `async fn(Of)`, for a single call and for the one call of a batch.
macro_rules! single_and_batch {
    ($($test:ident),* $(,)?) => {
        mod single {
            $(#[tokio::test(start_paused = true)]
            async fn $test() {
                super::$test(crate::field::world::Of::Single).await
            })*
        }

        mod batch {
            $(#[tokio::test(start_paused = true)]
            async fn $test() {
                super::$test(crate::field::world::Of::Batch).await
            })*
        }
    };
}

mod script;
mod world;

mod failures;
mod fetch;
mod histories;
mod limits;
mod losses;
mod makespan;
mod mixed_fleets;
mod neighbours;
mod outages;
mod pending;
mod reconciler;
mod retention;
mod starts;
mod strangers;
mod supervisors;
mod tells;
mod unreadable;
mod upkeep;
mod waiting;
mod webhooks;
