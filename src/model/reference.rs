//! A call or a batch together with its app: what it takes to name its objects.

use super::id::{BatchId, CallId};
use super::name::AppName;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallRef {
    pub app: AppName,
    pub call: CallId,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchRef {
    pub app: AppName,
    pub batch: BatchId,
}

impl CallRef {
    pub fn new(app: &AppName, call: CallId) -> CallRef {
        CallRef { app: app.clone(), call }
    }
}

impl BatchRef {
    pub fn new(app: &AppName, batch: BatchId) -> BatchRef {
        BatchRef { app: app.clone(), batch }
    }
}
