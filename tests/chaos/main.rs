//! Real workers on LocalStack that are killed every couple of seconds, and stopped for longer than their leases: a batch
//! and single calls, and at the end every object is looked at. Needs LocalStack: `sh tests/run` brings it up. How many
//! calls the batch has, `AFN_CHAOS_CALLS` says; the seed is printed and can be given again (`AFN_CHAOS_SEED`).

#[path = "../crash/audit.rs"]
mod audit;
#[expect(dead_code, reason = "shared with the tests of single calls, which use all of it")]
#[path = "../e2e/command.rs"]
mod command;
#[path = "../crash/figures.rs"]
mod figures;
#[expect(dead_code, reason = "shared with the tests of contexts, which use all of it")]
#[path = "../localstack/harness.rs"]
mod harness;

mod ground;
mod storm;
