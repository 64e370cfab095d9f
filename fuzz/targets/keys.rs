//! Keys, names and ids: whatever is accepted has this one spelling.
#![no_main]

use std::fmt::Display;
use std::str::FromStr;

use afn::layout::Key;
use afn::model::{
    AppName, AttemptId, BatchId, CallId, DeliveryId, Digest, FunctionName, MessageId, Nonce, Time, VersionId,
};
use libfuzzer_sys::fuzz_target;

fn one_spelling<T: Display + FromStr>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string(), text);
    }
}

fuzz_target!(|text: &str| {
    one_spelling::<Key>(text);
    one_spelling::<CallId>(text);
    one_spelling::<BatchId>(text);
    one_spelling::<MessageId>(text);
    one_spelling::<DeliveryId>(text);
    one_spelling::<AttemptId>(text);
    one_spelling::<AppName>(text);
    one_spelling::<FunctionName>(text);
    one_spelling::<VersionId>(text);
    one_spelling::<Digest>(text);
    one_spelling::<Nonce>(text);
    let _ = text.parse::<Time>();
});
