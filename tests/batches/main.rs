//! Batches end to end: the `afn` binary as people run it, submitters and workers that are killed, stopped and told to
//! end, messages that come twice or never. Every test runs in the embedded context and on LocalStack, by one parameter.
//! Needs LocalStack, and Python with DuckDB and pandas: `sh tests/run` brings them up. Nothing is skipped: what is missing fails, by name.

/// The tests named here, `async fn(World)`, once for each kind of context.
macro_rules! everywhere {
    ($($test:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::world::World::embedded()).await
            })*
        }

        mod localstack {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::world::World::localstack(stringify!($test)).await).await
            })*
        }
    };
}

#[path = "../e2e/command.rs"]
mod command;
#[expect(dead_code, reason = "shared with the tests of contexts, which use all of it")]
#[path = "../localstack/harness.rs"]
mod harness;
#[expect(dead_code, reason = "shared with the tests of single calls")]
#[path = "../e2e/proxy.rs"]
mod proxy;

mod facts;
mod ground;
mod world;

mod datasets;
mod ends;
mod follow_ups;
mod large;
mod messages;
mod sources;
mod submitters;
mod workers;
