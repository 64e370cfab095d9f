//! What tests ask of LocalStack and Docker: contexts, images, containers, and connections that break.

pub mod docker;
pub mod images;
pub mod localstack;
pub mod proxy;

use crate::support::World;

/// A world on a context of its own on LocalStack.
pub async fn world(what: &str) -> World {
    World::on(localstack::made(&what.replace('_', "-")).await)
}
