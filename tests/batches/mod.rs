//! Batches end to end: the `afn` binary as people run it, submitters and workers that are killed, stopped and told to
//! end, messages that come twice or never. Every test runs in the embedded context and on LocalStack, by one parameter.
//! Needs LocalStack, and Python with DuckDB and pandas.

/// The tests named here, `async fn(World)`, once for each kind of context.
macro_rules! everywhere {
    ($($test:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::support::World::embedded().with_short_leases()).await
            })*
        }

        // Not `localstack`: names of tests are chosen by what they contain.
        mod s3 {
            $(#[tokio::test]
            async fn $test() {
                let world = crate::services::world(stringify!($test)).await;
                super::$test(world.with_short_leases()).await
            })*
        }
    };
}

use crate::services::{localstack as harness, proxy};
use crate::support::command;

mod facts;
mod ground;
mod world;

mod datasets;
mod ends;
mod fairness;
mod fetch;
mod follow_ups;
mod large;
mod limits;
mod messages;
mod sources;
mod submitters;
mod workers;
