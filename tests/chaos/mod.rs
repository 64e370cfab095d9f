//! Real workers on LocalStack that are killed every couple of seconds, and stopped for longer than their leases: a batch
//! and single calls, and at the end every object is looked at. How many calls the batch has, `AFN_CHAOS_CALLS` says; the
//! seed is printed and can be given again (`AFN_CHAOS_SEED`).

use crate::crash::{audit, figures};

mod ground;
mod storm;
