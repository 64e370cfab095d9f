//! Whose a message is: the id of the store that it points into, in the envelope of its body. Contexts that share a queue
//! by mistake tell each other's messages apart by it. Persisted, keep stable.

use serde::Deserialize;

use crate::limits;
use crate::model::StoreId;

/// The body with the id of its store; a body that has one already keeps it.
pub fn stamp(body: String, store: StoreId) -> String {
    match body.strip_prefix('{') {
        Some(rest) if origin(&body).is_none() && body.len() + STAMP_BYTES <= limits::MESSAGE_BYTES_MAX => {
            format!("{{\"store\":\"{store}\",{rest}")
        }
        _ => body,
    }
}

/// What a stamp adds to a body.
const STAMP_BYTES: usize = r#""store":"01BVJ5T7CA07WGE00000000000","#.len();

/// The store of a message. None if the body does not say: it was written by an older program, or is no message.
pub fn origin(body: &str) -> Option<StoreId> {
    #[derive(Deserialize)]
    struct Envelope {
        store: Option<StoreId>,
    }
    serde_json::from_str::<Envelope>(body).ok()?.store
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Message, SuperviseMessage};
    use crate::model::{BatchId, MessageId, Time};

    #[test]
    fn a_stamp_is_read_back_and_never_replaced() {
        let [ours, theirs] = [1, 2].map(|random| StoreId::new(Time(1_790_000_000_000), random));
        let id = MessageId::new(Time(1), 2);
        let message = SuperviseMessage::new(id, "app".parse().unwrap(), BatchId::new(Time(1), 1 << 50));
        let plain = Message::Supervise(message).encode();
        assert_eq!(origin(&plain), None);
        let stamped = stamp(plain.clone(), theirs);
        assert_eq!(stamped.len(), plain.len() + STAMP_BYTES);
        assert_eq!(origin(&stamped), Some(theirs));
        assert_eq!(stamp(stamped.clone(), ours), stamped);
        assert_eq!(Message::decode(&stamped), Message::decode(&plain), "who does not ask sees no difference");
        for no_message in ["", "garbage", "[1]", r#"{"store":7}"#, r#"{"store":"short"}"#] {
            assert_eq!(origin(no_message), None, "{no_message}");
        }
    }
}
