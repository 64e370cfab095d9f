//! Keys for whose objects somebody in this process waits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

#[derive(Clone, Default)]
pub(super) struct Watched(Arc<Mutex<BTreeMap<String, Arc<Notify>>>>);

impl Watched {
    /// From now on [`Watch::created`] hears of the key.
    pub fn watch(&self, key: String) -> Watch {
        let mut keys = self.0.lock().expect("no holder of this lock panics");
        let notify = keys.entry(key.clone()).or_default().clone();
        drop(keys);
        Watch { watched: self.clone(), key, notify }
    }

    pub fn notify(&self, key: &str) {
        if let Some(notify) = self.0.lock().expect("no holder of this lock panics").remove(key) {
            notify.notify_waiters();
        }
    }
}

pub(super) struct Watch {
    watched: Watched,
    key: String,
    notify: Arc<Notify>,
}

impl Watch {
    pub async fn created(&self) {
        let heard = self.notify.notified();
        // An object written between the watch and this line has taken the key out.
        let is_watched = {
            let keys = self.watched.0.lock().expect("no holder of this lock panics");
            keys.get(&self.key).is_some_and(|notify| Arc::ptr_eq(notify, &self.notify))
        };
        if is_watched {
            heard.await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut keys = self.watched.0.lock().expect("no holder of this lock panics");
        let is_last =
            |notify: &Arc<Notify>| Arc::ptr_eq(notify, &self.notify) && Arc::strong_count(notify) == 2;
        if keys.get(&self.key).is_some_and(is_last) {
            keys.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn every_waiter_hears_of_its_own_key() {
        let watched = Watched::default();
        let [first, second, other] = ["a", "a", "b"].map(|key| watched.watch(key.to_owned()));
        assert!(first.created().now_or_never().is_none());
        watched.notify("a");
        first.created().await;
        second.created().await;
        assert!(other.created().now_or_never().is_none());
        let later = watched.watch("a".to_owned());
        assert!(later.created().now_or_never().is_none(), "it watches from now on");
    }

    #[test]
    fn nothing_is_kept_of_those_who_have_gone() {
        let watched = Watched::default();
        let [first, second] = ["a", "a"].map(|key| watched.watch(key.to_owned()));
        drop(first);
        assert_eq!(watched.0.lock().expect("a lock").len(), 1);
        drop(second);
        assert!(watched.0.lock().expect("a lock").is_empty());
    }
}
