//! What requests cost on AWS, by its price list: S3 Standard and SQS standard queues in us-east-1, without the free tier.
//! Storage and traffic are not in.

use std::collections::BTreeMap;

use serde::Serialize;

/// Dollars for one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prices {
    /// PUT, COPY, POST, LIST.
    pub store_write: f64,
    /// GET, HEAD and all others; DELETE is free.
    pub store_read: f64,
    /// Any request to a queue, for each 64 KiB it carries.
    pub queue: f64,
}

pub const PUBLISHED: Prices =
    Prices { store_write: 0.005 / 1_000.0, store_read: 0.0004 / 1_000.0, queue: 0.40 / 1_000_000.0 };

/// What a queue counts as one request.
pub const QUEUE_UNIT_BYTES: u64 = 64 * 1024;

/// Requests in dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Dollars {
    pub store: f64,
    pub queue: f64,
    pub total: f64,
}

impl Prices {
    /// Of one request of an operation, as counts name it.
    pub fn of(&self, operation: &str) -> f64 {
        match operation {
            "put" | "list" => self.store_write,
            "get" | "head" => self.store_read,
            "send" | "receive" | "extend" | "delete_message" | "depth" => self.queue,
            _ => 0.0,
        }
    }

    /// Of requests by operation.
    pub fn dollars(&self, requests: &BTreeMap<String, u64>) -> Dollars {
        let mut dollars = Dollars::default();
        for (operation, count) in requests {
            let price = self.of(operation) * *count as f64;
            match is_of_store(operation) {
                true => dollars.store += price,
                false => dollars.queue += price,
            }
        }
        dollars.total = dollars.store + dollars.queue;
        dollars
    }
}

pub fn is_of_store(operation: &str) -> bool {
    matches!(operation, "put" | "get" | "head" | "list" | "delete")
}

/// Whether it is time that makes these requests, not calls: workers ask queues and keep leases whether much is done or
/// little.
pub fn is_of_time(operation: &str) -> bool {
    matches!(operation, "receive" | "extend" | "depth" | "list")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_cost_what_the_list_says() {
        let requests: BTreeMap<String, u64> = [
            ("put", 1_000_000),
            ("get", 1_000_000),
            ("delete", 1_000_000),
            ("send", 1_000_000),
            ("receive", 1_000_000),
        ]
        .map(|(operation, count)| (operation.to_owned(), count))
        .into();
        let dollars = PUBLISHED.dollars(&requests);
        let rounded =
            [dollars.store, dollars.queue, dollars.total].map(|dollars| (dollars * 1e6).round() / 1e6);
        assert_eq!(rounded, [5.4, 0.8, 6.2]);
        assert_eq!(PUBLISHED.of("list"), PUBLISHED.of("put"));
    }
}
