//! What is persisted comes back as it was: ids, names, keys, messages, metadata, times.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::str::FromStr;

use afn::layout::message::Idle;
use afn::layout::message::{Unreadable, VERSION};
use afn::layout::{CallMessage, Key, Message, RangeMessage, SuperviseMessage, key, metadata};
use afn::limits;
use afn::model::id::NUMBER_MAX;
use afn::model::{
    AppName, AttemptHistory, AttemptId, BatchId, CallId, DeliveryId, Digest, FunctionName, MarkId, MessageId,
    Nonce, PanicId, Route, Time, VersionId, WatermarksId,
};
use proptest::prelude::*;
use proptest::sample::Index;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// 9999-12-31T23:59:59.999Z.
const LAST_MS: u64 = 253_402_300_799_999;

fn times() -> impl Strategy<Value = Time> {
    prop_oneof![Just(0), Just(LAST_MS), 0..=LAST_MS].prop_map(Time)
}

fn calls() -> impl Strategy<Value = CallId> {
    let single = (times(), any::<u128>()).prop_map(|(time, random)| CallId::single(time, random));
    prop_oneof![single, (batches(), numbers()).prop_map(|(batch, number)| batch.call(number))]
}

fn batches() -> impl Strategy<Value = BatchId> {
    (times(), any::<u128>()).prop_map(|(time, random)| BatchId::new(time, random))
}

fn numbers() -> impl Strategy<Value = u64> {
    prop_oneof![Just(1), Just(NUMBER_MAX), 1..=NUMBER_MAX]
}

fn messages() -> impl Strategy<Value = MessageId> {
    (times(), any::<u128>()).prop_map(|(time, random)| MessageId::new(time, random))
}

fn deliveries() -> impl Strategy<Value = DeliveryId> {
    (messages(), 1..=u32::MAX).prop_map(|(message, delivery)| DeliveryId { message, delivery })
}

fn attempts() -> impl Strategy<Value = AttemptId> {
    (deliveries(), 1..=u32::MAX).prop_map(|(delivery, attempt)| AttemptId { delivery, attempt })
}

fn parsed<T: FromStr<Err: Debug> + Debug>(pattern: &'static str) -> impl Strategy<Value = T> {
    pattern.prop_map(|text| text.parse().expect("the pattern is of valid names"))
}

fn apps() -> impl Strategy<Value = AppName> {
    parsed("[A-Za-z0-9_-]{1,30}")
}

fn functions() -> impl Strategy<Value = FunctionName> {
    parsed("[A-Za-z0-9_-]{1,64}")
}

fn versions() -> impl Strategy<Value = VersionId> {
    parsed("[A-Za-z0-9._+-]{1,80}")
}

fn routes() -> impl Strategy<Value = Route> {
    parsed("(/[a-zA-Z0-9_.~:@!$&'()*+,;=-]{0,8}[a-z0-9ä✓|\"<>]){1,6}/?")
}

fn digests() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest::from_bytes)
}

/// Its text is read back as it is, as text and as JSON.
fn round_trip<T>(value: &T) -> Result<(), TestCaseError>
where
    T: Display + FromStr<Err: Debug> + Serialize + DeserializeOwned + PartialEq + Debug,
{
    let text = value.to_string();
    prop_assert_eq!(&text.parse::<T>().unwrap(), value);
    let json = serde_json::to_string(value).unwrap();
    prop_assert_eq!(&json, &format!("\"{text}\""));
    prop_assert_eq!(&serde_json::from_str::<T>(&json).unwrap(), value);
    Ok(())
}

/// Whatever is accepted has this one spelling.
fn one_spelling<T: Display + FromStr>(text: &str) -> Result<(), TestCaseError> {
    if let Ok(value) = text.parse::<T>() {
        prop_assert_eq!(value.to_string(), text);
    }
    Ok(())
}

proptest! {
    #[test]
    fn every_id_round_trips(
        call in calls(), batch in batches(), delivery in deliveries(), attempt in attempts(), random: u64,
    ) {
        round_trip(&call)?;
        round_trip(&batch)?;
        round_trip(&delivery.message)?;
        round_trip(&delivery)?;
        round_trip(&attempt)?;
        round_trip(&Nonce::new(random))?;
    }

    #[test]
    fn a_single_call_says_that_it_is_one(time in times(), random: u128) {
        let call = CallId::single(time, random);
        prop_assert_eq!((call.time(), call.batch(), call.number()), (time, None, None));
        let text = call.to_string();
        prop_assert!(('0'..='F').contains(&text.chars().nth(10).unwrap()), "{}", text);
        prop_assert!(text.parse::<BatchId>().is_err());
    }

    #[test]
    fn a_call_of_a_batch_names_batch_and_number(batch in batches(), number in numbers()) {
        let call = batch.call(number);
        prop_assert_eq!((call.time(), call.batch(), call.number()), (batch.time(), Some(batch), Some(number)));
        let text = call.to_string();
        prop_assert!(('G'..='Z').contains(&text.chars().nth(10).unwrap()), "{}", text);
        prop_assert_eq!(&text[..18], &batch.to_string()[..18]);
        prop_assert!(text.parse::<BatchId>().is_err());
        prop_assert!(batch.to_string().parse::<CallId>().is_err(), "number 0 is the batch itself");
    }

    #[test]
    fn ids_sort_by_time_then_by_number(
        earlier in times(), later in times(), randoms: [u128; 2], batch in batches(), numbers in [numbers(), numbers()],
    ) {
        let [a, b] = [CallId::single(earlier, randoms[0]), CallId::single(later, randoms[1])];
        if earlier != later {
            prop_assert_eq!(a.cmp(&b), earlier.cmp(&later));
        }
        prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        let [a, b] = numbers.map(|number| batch.call(number));
        prop_assert_eq!(a.cmp(&b), numbers[0].cmp(&numbers[1]));
        prop_assert_eq!(a.to_string().cmp(&b.to_string()), numbers[0].cmp(&numbers[1]));
        prop_assert!(batch.to_string() < a.to_string(), "a batch's own id sorts before its calls");
    }

    #[test]
    fn ids_have_one_spelling(text in "[0-9A-Za-z]{25,27}|[0-9A-HJKMNP-TV-Z]{26}(\\.[0-9+]{1,3}){0,2}|[0-9a-fA-F]{15,17}|.*") {
        one_spelling::<CallId>(&text)?;
        one_spelling::<BatchId>(&text)?;
        one_spelling::<MessageId>(&text)?;
        one_spelling::<DeliveryId>(&text)?;
        one_spelling::<AttemptId>(&text)?;
        one_spelling::<Nonce>(&text)?;
    }

    #[test]
    fn names_round_trip(
        app in apps(), function in functions(), version in versions(), route in routes(), digest in digests(),
    ) {
        round_trip(&app)?;
        round_trip(&function)?;
        round_trip(&version)?;
        round_trip(&digest)?;
        prop_assert_eq!(&route.to_string().parse::<Route>().unwrap(), &route);
        let json = serde_json::to_string(&route).unwrap();
        prop_assert_eq!(serde_json::from_str::<Route>(&json).unwrap(), route);
    }

    #[test]
    fn names_have_one_spelling(text in "[A-Za-z0-9_-]{0,70}|/.*|[0-9a-f]{63,65}|.*") {
        one_spelling::<AppName>(&text)?;
        one_spelling::<FunctionName>(&text)?;
        one_spelling::<VersionId>(&text)?;
        one_spelling::<Route>(&text)?;
        one_spelling::<Digest>(&text)?;
        if let Ok(app) = text.parse::<AppName>() {
            prop_assert!((1..=limits::APP_NAME_BYTES_MAX).contains(&app.as_str().len()));
        }
    }

    #[test]
    fn times_round_trip_and_sort_as_they_read(a in times(), b in times()) {
        let text = a.to_string();
        prop_assert_eq!(text.parse::<Time>(), Ok(a));
        prop_assert_eq!(text.len(), "2017-10-03T22:31:01.258Z".len());
        prop_assert_eq!(a.cmp(&b), text.cmp(&b.to_string()));
        let json = serde_json::to_string(&a).unwrap();
        prop_assert_eq!(serde_json::from_str::<Time>(&json).unwrap(), a);
    }

    #[test]
    fn times_past_the_last_are_shown_as_the_last(ms in LAST_MS..) {
        prop_assert_eq!(Time(ms).to_string(), "9999-12-31T23:59:59.999Z");
        prop_assert!(Time(ms).plus_ms(u64::MAX) >= Time(ms));
        prop_assert_eq!(Time(0).minus_ms(ms), Time(0));
    }
}

#[test]
fn ids_of_fn_itself_are_single_calls() {
    for text in ["01BVJ2NZ1N07WGA00000000000", "01BVJ5T7CA07WGE00000000000"] {
        let call: CallId = text.parse().unwrap();
        assert_eq!((call.batch(), call.number()), (None, None));
        assert_eq!(call.to_string(), text);
        assert!(text.parse::<BatchId>().is_err());
        assert!(call.time().to_string().starts_with("2017-10-03T"), "{}", call.time());
    }
}

/// How many kinds of keys there are; a new one does not compile until it is drawn below.
const KINDS: usize = 37;

fn kind(key: &Key) -> usize {
    match key {
        Key::App(..) => 0,
        Key::Route(..) => 1,
        Key::Function(..) => 2,
        Key::Version(..) => 3,
        Key::Archive(..) => 4,
        Key::Idempotency(..) => 5,
        Key::Payload(..) => 6,
        Key::Started(..) => 7,
        Key::Void(..) => 8,
        Key::Unsuited(..) => 9,
        Key::Result(..) => 10,
        Key::Log(..) => 11,
        Key::Status(..) => 12,
        Key::Reconciled(..) => 13,
        Key::Probe(..) => 14,
        Key::Pointer(..) => 15,
        Key::Batch(..) => 16,
        Key::Chunk(..) => 17,
        Key::Input(..) => 18,
        Key::Sealed(..) => 19,
        Key::Part(..) => 20,
        Key::BatchResult(..) => 21,
        Key::Mark(..) => 22,
        Key::MarkVoid(..) => 23,
        Key::Cancelled(..) => 24,
        Key::Summary(..) => 25,
        Key::Retry(..) => 26,
        Key::Fired(..) => 27,
        Key::BatchUnsuited(..) => 28,
        Key::Store => 29,
        Key::Panic(..) => 30,
        Key::Control(..) => 31,
        Key::Shares(..) => 32,
        Key::Watermarks(..) => 33,
        Key::Deleted(..) => 34,
        Key::Settings => 35,
        Key::Dispatched(..) => 36,
        Key::Text(text) => panic!("`{text}` is a key that no part of the layout makes"),
    }
}

/// One key of each kind, about the same app, function, call.
fn keys() -> impl Strategy<Value = [Key; KINDS]> {
    let names = (apps(), functions(), versions(), routes());
    let batch = (batches(), numbers(), 0u64..1_000_000, 1u32..);
    (names, digests(), calls(), attempts(), any::<u64>(), batch).prop_map(
        |((app, function, version, route), digest, call, attempt, random, (batch, number, part, count))| {
            [
                Key::App(app.clone()),
                Key::Route(app.clone(), route),
                Key::Function(app.clone(), function.clone()),
                Key::Version(app.clone(), function, version),
                Key::Archive(app.clone(), digest.clone()),
                Key::Idempotency(app.clone(), digest.clone()),
                Key::Payload(app.clone(), call),
                Key::Started(app.clone(), call, attempt.delivery),
                Key::Void(app.clone(), call, attempt.delivery),
                Key::Unsuited(app.clone(), call, attempt.delivery.message),
                Key::Result(app.clone(), call, attempt),
                Key::Log(app.clone(), call, attempt),
                Key::Status(app.clone(), call),
                Key::Reconciled(random),
                Key::Probe(Nonce::new(random)),
                Key::Pointer(batch),
                Key::Batch(app.clone(), batch),
                Key::Chunk(app.clone(), batch, number),
                Key::Input(app.clone(), batch, number),
                Key::Sealed(app.clone(), batch),
                Key::Part(app.clone(), batch, number, part),
                Key::BatchResult(app.clone(), batch, number, attempt),
                Key::Mark(app.clone(), batch, number, MarkId { delivery: attempt.delivery, n: count }),
                Key::MarkVoid(app.clone(), batch, number, attempt.delivery),
                Key::Cancelled(app.clone(), batch),
                Key::Summary(app.clone(), batch),
                Key::Retry(app.clone(), batch, count),
                Key::Fired(app.clone(), batch),
                Key::BatchUnsuited(app.clone(), batch, digest),
                Key::Store,
                Key::Panic(PanicId::new(call.time(), random.into())),
                Key::Control(app.clone(), batch),
                Key::Shares(app.clone(), batch),
                Key::Watermarks(WatermarksId::new(call.time(), random.into())),
                Key::Deleted(app.clone(), batch),
                Key::Settings,
                Key::Dispatched(app, batch, count),
            ]
        },
    )
}

proptest! {
    #[test]
    fn every_key_round_trips(keys in keys()) {
        for (at, key) in keys.iter().enumerate() {
            prop_assert_eq!(kind(key), at, "each kind is drawn");
            let text = key.to_string();
            prop_assert_eq!(&text.parse::<Key>().unwrap(), key);
            prop_assert!(text.len() <= limits::OBJECT_KEY_BYTES_MAX);
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{}", text);
        }
    }

    #[test]
    fn different_keys_are_different_objects(a in keys(), b in keys(), at: Index) {
        let (a, b) = (at.get(&a), at.get(&b));
        prop_assert_eq!(a == b, a.to_string() == b.to_string());
    }

    #[test]
    fn keys_of_one_app_never_meet(keys in keys()) {
        let texts: std::collections::BTreeSet<String> = keys.iter().map(Key::to_string).collect();
        prop_assert_eq!(texts.len(), KINDS);
    }

    #[test]
    fn keys_have_one_spelling(keys in keys(), at: Index, cut: Index, noise in "[/.%A-Za-z0-9]{0,3}") {
        let mut text = at.get(&keys).to_string();
        text.insert_str(cut.index(text.len() + 1), &noise);
        one_spelling::<Key>(&text)?;
        text.truncate(cut.index(text.len() + 1));
        one_spelling::<Key>(&text)?;
    }

    #[test]
    fn whatever_is_a_name_or_an_id_has_one_spelling(text in "\\PC{0,40}|[0-9A-Za-z./_-]{0,60}") {
        one_spelling::<Key>(&text)?;
        one_spelling::<CallId>(&text)?;
        one_spelling::<BatchId>(&text)?;
        one_spelling::<AttemptId>(&text)?;
        one_spelling::<AppName>(&text)?;
        one_spelling::<FunctionName>(&text)?;
        one_spelling::<VersionId>(&text)?;
        one_spelling::<Digest>(&text)?;
        one_spelling::<Nonce>(&text)?;
    }

    #[test]
    fn keys_lie_under_the_prefixes_that_are_listed(
        app in apps(), function in functions(), call in calls(), attempt in attempts(),
    ) {
        let under = |key: Key, prefix: String| key.to_string().starts_with(&prefix) && prefix.ends_with('/');
        prop_assert!(under(Key::App(app.clone()), key::apps()));
        prop_assert!(under(Key::Function(app.clone(), function), key::functions(&app)));
        prop_assert!(under(Key::Payload(app.clone(), call), key::calls(&app)));
        prop_assert!(under(Key::Status(app.clone(), call), key::call(&app, call)));
        prop_assert!(under(Key::Started(app.clone(), call, attempt.delivery), key::started(&app, call)));
        prop_assert!(under(Key::Void(app.clone(), call, attempt.delivery), key::started(&app, call)));
        prop_assert!(!under(Key::Payload(app.clone(), call), key::call(&app, CallId::single(Time(1), 1))));
    }
}

fn histories() -> impl Strategy<Value = AttemptHistory> {
    let count = || 0..=limits::ATTEMPTS_ENDED_MAX;
    let counts = (count(), count(), count());
    counts.prop_map(|(attempts, failures, start_failures)| AttemptHistory {
        attempts,
        failures,
        start_failures,
    })
}

fn call_messages() -> impl Strategy<Value = CallMessage> {
    let losses = proptest::collection::vec(deliveries(), 0..=limits::LOSSES_MAX);
    let rest = (histories(), losses, any::<bool>(), proptest::option::of(times()));
    (messages(), apps(), calls(), rest).prop_map(|(id, app, call, (history, losses, again, alone_since))| {
        CallMessage { history, losses, again, alone_since, ..CallMessage::new(id, app, call) }
    })
}

fn range_messages() -> impl Strategy<Value = RangeMessage> {
    let marks = (deliveries(), 0u32..).prop_map(|(delivery, n)| MarkId { delivery, n });
    let marks = proptest::collection::vec(marks, 1..=limits::LOSSES_MAX);
    let calls = proptest::collection::btree_map(numbers_of_a_chunk(), histories(), 1..9);
    let losses = proptest::collection::btree_map(numbers_of_a_chunk(), marks, 0..4);
    let pace = (proptest::option::of(0..=limits::ms(limits::LEASE_MAX)), any::<bool>());
    let rest = (pace, any::<bool>(), proptest::option::of(times()));
    (messages(), apps(), batches(), calls, losses, rest).prop_map(
        |(id, app, batch, calls, losses, ((mean_ms, lost_before), again, alone_since))| RangeMessage {
            mean_ms,
            lost_before,
            again,
            losses: losses.into_iter().collect(),
            alone_since,
            ..RangeMessage::new(id, app, batch, limits::CHUNK_CALLS_MAX, calls.into_iter().collect())
        },
    )
}

fn numbers_of_a_chunk() -> impl Strategy<Value = u64> {
    1..=limits::CHUNK_CALLS_MAX
}

fn any_message() -> impl Strategy<Value = Message> {
    let idle = (times(), any::<u64>(), any::<u64>(), times())
        .prop_map(|(since, chunks, parts, look_at)| Idle { since, chunks, parts, look_at });
    let supervise = (
        messages(),
        apps(),
        batches(),
        any::<bool>(),
        proptest::option::of(idle),
        proptest::collection::btree_map(numbers_of_a_chunk(), histories(), 0..4),
        0u32..20,
    );
    prop_oneof![
        call_messages().prop_map(Message::Call),
        range_messages().prop_map(Message::Range),
        supervise.prop_map(|(id, app, batch, extra, idle, retried, webhook_tries)| Message::Supervise(
            SuperviseMessage {
                id,
                app,
                batch,
                extra,
                idle,
                retried: retried.into_iter().collect(),
                webhook_tries,
            }
        )),
    ]
}

/// What metadata may hold.
#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Texts {
    texts: BTreeMap<String, String>,
}

proptest! {
    #[test]
    fn messages_round_trip(message in any_message()) {
        let body = message.encode();
        // Eight runs of calls with their histories, and fifteen names of lost marks.
        prop_assert!(body.len() <= 2_000, "a pointer is small: {}", body);
        prop_assert_eq!(Message::decode(&body), Ok(message));
    }

    #[test]
    fn messages_of_newer_programs_are_told_from_garbage(message in any_message(), newer in VERSION + 1..) {
        let body = message.encode();
        let mut value: serde_json::Value = serde_json::from_str(&body).unwrap();
        value["new field"] = "may be ignored".into();
        prop_assert_eq!(Message::decode(&value.to_string()), Ok(message));
        value["v"] = newer.into();
        value["kind"] = "unheard of".into();
        value["call"] = serde_json::Value::Null;
        prop_assert_eq!(Message::decode(&value.to_string()), Err(Unreadable::Newer(newer)));
        value["v"] = VERSION.into();
        prop_assert!(matches!(Message::decode(&value.to_string()), Err(Unreadable::Malformed(_))));
        value["v"] = "1".into();
        prop_assert!(matches!(Message::decode(&value.to_string()), Err(Unreadable::Malformed(_))));
    }

    #[test]
    fn what_is_no_message_is_malformed(text in ".*|[\\[\\]{}\":,0-9a-z ]{0,30}", message in any_message(), cut: Index) {
        prop_assert!(matches!(Message::decode(&text), Err(Unreadable::Malformed(_))));
        let body = message.encode();
        let cut = cut.index(body.len());
        prop_assert!(matches!(Message::decode(&body[..cut]), Err(Unreadable::Malformed(_))));
    }

    #[test]
    fn metadata_is_ascii_and_come_back(texts in proptest::collection::btree_map(".{0,20}", ".{0,40}", 0..6)) {
        let facts = Texts { texts };
        let text = metadata::encode(&facts).unwrap();
        prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{}", text);
        prop_assert!(text.len() as u64 <= limits::METADATA_BYTES_MAX);
        let back: Texts = metadata::decode("an object", &text).unwrap();
        prop_assert_eq!(back, facts);
    }

    #[test]
    fn metadata_past_the_limit_is_refused(text in "[a-zä✓😀]{0,3000}") {
        let encoded: usize = text.chars().map(|c| if c.is_ascii() { 1 } else { 6 * c.len_utf16() }).sum();
        let fits = encoded + r#"{"v":1,"texts":{"a":""}}"#.len() <= limits::METADATA_BYTES_MAX as usize;
        let facts = Texts { texts: [("a".to_owned(), text)].into() };
        prop_assert_eq!(metadata::encode(&facts).is_ok(), fits, "{} bytes", encoded);
    }
}
