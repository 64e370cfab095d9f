//! Tells somebody outside that a batch is over.

use async_trait::async_trait;

#[async_trait]
pub trait Webhook: Send + Sync {
    /// Posts `body` to `url`, signed. `delivery` is the same in every try, so that the receiver can tell a repeated
    /// delivery. `Ok` is what a receiver that took it answered; `Err` why it did not, which may be tried again.
    async fn post(&self, url: &str, delivery: &str, body: &str) -> Result<String, String>;
}
