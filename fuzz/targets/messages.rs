//! What travels on the queues: what can be read is written back the same.
#![no_main]

use afn::layout::Message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &str| {
    if let Ok(message) = Message::decode(body) {
        assert_eq!(Message::decode(&message.encode()), Ok(message));
    }
});
