//! A day where nothing goes wrong, for tests of one thing at a time.

use std::sync::Arc;
use std::time::Duration;

use afn::seam::fault::Rates;
use afn::seam::rng::SeededRng;
use afn::submit::call::Request;

use super::play::plan::Plan;
use super::play::stage::Stage;
use super::play::world::{Journal, World};

/// A store and queues that are well, with functions and nobody who works.
pub async fn stage() -> Stage {
    let plan = Plan { rates: Rates::default(), ..Plan::draw(&SeededRng::new(1), false) };
    Stage::set(Arc::new(World::new(1, plan.rates, plan.page, Journal::default())), plan).await
}

/// A single call of `/long`, with nothing said of it.
pub fn call(stage: &Stage) -> Request {
    Request {
        app: stage.app.clone(),
        route: "/long".parse().expect("a route"),
        payload: Default::default(),
        content_type: None,
        headers: Default::default(),
        delay: Duration::ZERO,
        idempotency_key: None,
    }
}
