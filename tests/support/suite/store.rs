//! The contract of `Store`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use afn::layout::Key;
use afn::limits;
use afn::seam::body::{Body, BodyWriter};
use afn::seam::store::{ByteRange, ETag, List, ListPage, PutObject, past_prefix};
use afn::seam::{Store, StoreError, StoreExt};
use bytes::Bytes;
use futures_util::future::join_all;

/// A store to be examined, and what it may do its own way.
pub struct StoreStand {
    pub store: Arc<dyn Store>,
    /// Keys are put under it; nothing else writes there.
    pub root: String,
    /// What it says of an object that was written without a content type.
    pub untyped: Option<String>,
    /// Whatever the store lives in, kept as long as it is used.
    pub keep: Box<dyn Send + Sync>,
}

impl StoreStand {
    pub fn new(store: Arc<dyn Store>) -> StoreStand {
        StoreStand { store, root: "conformance/".to_owned(), untyped: None, keep: Box::new(()) }
    }

    fn key(&self, name: &str) -> Key {
        Key::text(format!("{}{name}", self.root))
    }

    async fn create(&self, name: &str, body: &'static str) -> ETag {
        self.store.put(&self.key(name), PutObject::create(body)).await.expect("create")
    }

    async fn body(&self, name: &str) -> Bytes {
        self.store.get(&self.key(name), ByteRange::Whole(u64::MAX)).await.expect("get").body
    }

    fn list(&self, prefix: &str) -> List {
        List::all(self.key(prefix).to_string())
    }

    /// The keys of a page, and its common prefixes, without the root.
    fn names(&self, listed: &ListPage) -> (Vec<String>, Vec<String>) {
        let strip = |key: &String| key.strip_prefix(&self.root).expect("under the root").to_owned();
        (
            listed.entries.iter().map(|entry| strip(&entry.key)).collect(),
            listed.prefixes.iter().map(strip).collect(),
        )
    }
}

/// One test for each function below: the attribute it gets, and the expression that makes its stand, which may await.
macro_rules! store_suite {
    ([$($attribute:tt)*], $open:expr) => {
        store_suite!(@ [$($attribute)*] $open;
            creates_race_for_one_winner,
            a_create_never_overwrites,
            a_replace_wants_the_etag_that_stands,
            replaces_race_for_one_winner,
            a_counter_kept_by_compare_and_swap_is_exact,
            an_old_etag_stays_old_when_bodies_carry_a_nonce,
            ranges_name_what_there_is_of_them,
            what_is_larger_than_the_reader_takes_is_an_error,
            what_was_never_written_is_not_found,
            an_empty_body_is_an_object,
            content_type_and_metadata_ride_on_the_object,
            what_no_store_takes_is_refused,
            bodies_of_many_mebibytes_come_back_whole,
            a_list_is_in_byte_order,
            a_list_begins_strictly_after,
            a_list_goes_on_page_by_page,
            groups_are_answered_once,
            groups_go_on_page_by_page,
            a_list_says_what_head_says,
            a_delete_removes_and_does_not_mind_what_is_gone,
            a_deleted_key_can_be_created_again
        );
    };
    (@ $attributes:tt $open:expr; $($name:ident),+) => {
        $(store_suite!(@@ $attributes $open; $name);)+
    };
    (@@ [$($attribute:tt)*] $open:expr; $name:ident) => {
        #[$($attribute)*]
        async fn $name() {
            let stand = $open;
            $crate::support::suite::store::$name(&stand).await;
            // What it lives in goes last.
            drop((stand.store, stand.keep));
        }
    };
}

pub async fn creates_race_for_one_winner(stand: &StoreStand) {
    for round in 0..5 {
        let key = stand.key(&format!("race/{round}"));
        let writers = (0..32).map(|writer| {
            let key = &key;
            async move {
                let body = Bytes::from(format!("written by {writer}"));
                let answer = stand.store.put(key, PutObject::create(body.clone())).await;
                (body, answer)
            }
        });
        let mut winners = Vec::new();
        for (body, answer) in join_all(writers).await {
            match answer {
                Ok(etag) => winners.push((body, etag)),
                Err(error) => assert_eq!(error, StoreError::Exists),
            }
        }
        assert_eq!(winners.len(), 1, "round {round} had {} winners", winners.len());
        let (body, etag) = winners.remove(0);
        let stands = stand.store.get(&key, ByteRange::Whole(u64::MAX)).await.unwrap();
        assert_eq!((stands.body, stands.info.etag), (body, etag));
    }
}

pub async fn a_create_never_overwrites(stand: &StoreStand) {
    let etag = stand.create("once", "first").await;
    for body in ["second", "first"] {
        let answer = stand.store.put(&stand.key("once"), PutObject::create(body)).await;
        assert_eq!(answer, Err(StoreError::Exists));
    }
    let stands = stand.store.get(&stand.key("once"), ByteRange::Whole(u64::MAX)).await.unwrap();
    assert_eq!((&stands.body[..], stands.info.etag), (&b"first"[..], etag));
}

pub async fn a_replace_wants_the_etag_that_stands(stand: &StoreStand) {
    let key = stand.key("definition");
    let first = stand.create("definition", "one").await;
    let second = stand.store.put(&key, PutObject::replace("two", first.clone())).await.unwrap();
    assert_ne!(first, second);
    assert_eq!(stand.store.put(&key, PutObject::replace("three", first)).await, Err(StoreError::Changed));
    assert_eq!(&stand.body("definition").await[..], b"two");
    let missing = stand.store.put(&stand.key("missing"), PutObject::replace("x", second)).await;
    assert_eq!(missing, Err(StoreError::NotFound));
    assert_eq!(stand.store.exists(&stand.key("missing")).await, Ok(false));
}

pub async fn replaces_race_for_one_winner(stand: &StoreStand) {
    let key = stand.key("swap");
    let mut etag = stand.create("swap", "start").await;
    for round in 0..5 {
        let writers = (0..16).map(|writer| {
            let body = format!("round {round} writer {writer}").into_bytes();
            stand.store.put(&key, PutObject::replace(body, etag.clone()))
        });
        let mut winners = Vec::new();
        for answer in join_all(writers).await {
            match answer {
                Ok(etag) => winners.push(etag),
                Err(error) => assert_eq!(error, StoreError::Changed),
            }
        }
        assert_eq!(winners.len(), 1, "round {round} had {} winners", winners.len());
        etag = winners.remove(0);
        assert_eq!(stand.store.head(&key).await.unwrap().etag, etag);
    }
}

pub async fn a_counter_kept_by_compare_and_swap_is_exact(stand: &StoreStand) {
    let key = stand.key("counter");
    stand.create("counter", "0").await;
    let workers = (0..6).map(|_| async {
        let mut done = 0;
        while done < 5 {
            let object = stand.store.get(&key, ByteRange::Whole(u64::MAX)).await.unwrap();
            let count: u64 = std::str::from_utf8(&object.body).unwrap().parse().unwrap();
            let body = (count + 1).to_string().into_bytes();
            match stand.store.put(&key, PutObject::replace(body, object.info.etag)).await {
                Ok(_) => done += 1,
                Err(error) => assert_eq!(error, StoreError::Changed),
            }
        }
    });
    join_all(workers).await;
    assert_eq!(&stand.body("counter").await[..], b"30");
}

pub async fn an_old_etag_stays_old_when_bodies_carry_a_nonce(stand: &StoreStand) {
    let key = stand.key("aba");
    let first = stand.create("aba", "value a, nonce 1").await;
    let second = stand.store.put(&key, PutObject::replace("value b, nonce 2", first.clone())).await.unwrap();
    let third = stand.store.put(&key, PutObject::replace("value a, nonce 3", second.clone())).await.unwrap();
    for old in [first, second] {
        let answer = stand.store.put(&key, PutObject::replace("value c, nonce 4", old)).await;
        assert_eq!(answer, Err(StoreError::Changed));
    }
    stand.store.put(&key, PutObject::replace("value c, nonce 4", third)).await.unwrap();
}

pub async fn ranges_name_what_there_is_of_them(stand: &StoreStand) {
    stand.create("digits", "0123456789").await;
    stand.create("nothing", "").await;
    let part = |offset, length| ByteRange::Part { offset, length };
    let cases = [
        ("digits", ByteRange::Whole(u64::MAX), "0123456789"),
        ("digits", part(0, 1), "0"),
        ("digits", part(3, 4), "3456"),
        ("digits", part(9, 1), "9"),
        ("digits", part(8, 100), "89"),
        ("digits", part(0, 10), "0123456789"),
        ("digits", part(10, 1), ""),
        ("digits", part(11, 5), ""),
        ("digits", part(4, 0), ""),
        ("digits", part(5, u64::MAX), "56789"),
        ("digits", ByteRange::Last(3), "789"),
        ("digits", ByteRange::Last(10), "0123456789"),
        ("digits", ByteRange::Last(11), "0123456789"),
        ("digits", ByteRange::Last(0), ""),
        ("nothing", ByteRange::Whole(u64::MAX), ""),
        ("nothing", part(0, 5), ""),
        ("nothing", part(7, 5), ""),
        ("nothing", ByteRange::Last(5), ""),
    ];
    for (name, range, expected) in cases {
        let object = stand.store.get(&stand.key(name), range).await.unwrap_or_else(|error| {
            panic!("{range:?} of {name}: {error}");
        });
        assert_eq!(object.body, expected, "{range:?} of {name}");
        let whole = stand.store.head(&stand.key(name)).await.unwrap();
        assert_eq!(object.info, whole, "{range:?} of {name} tells of the whole object");
    }
}

pub async fn what_is_larger_than_the_reader_takes_is_an_error(stand: &StoreStand) {
    stand.create("ten", "0123456789").await;
    let key = stand.key("ten");
    let too_large = |bytes_max| StoreError::TooLarge { key: key.to_string(), bytes: 10, bytes_max };
    assert_eq!(stand.store.find(&key, 10).await.unwrap().expect("it was written").body, "0123456789");
    for bytes_max in [0, 9] {
        assert_eq!(stand.store.find(&key, bytes_max).await.unwrap_err(), too_large(bytes_max));
        assert_eq!(stand.store.stream(&key, bytes_max).await.unwrap_err(), too_large(bytes_max));
    }
    stand.create("nothing", "").await;
    assert_eq!(stand.store.find(&stand.key("nothing"), 0).await.unwrap().expect("it was written").body, "");
}

pub async fn what_was_never_written_is_not_found(stand: &StoreStand) {
    stand.create("there/x", "x").await;
    for name in ["missing", "there", "there/", "there/x/y"] {
        let key = stand.key(name);
        assert_eq!(
            stand.store.get(&key, ByteRange::Whole(u64::MAX)).await.unwrap_err(),
            StoreError::NotFound
        );
        assert_eq!(stand.store.get(&key, ByteRange::Last(1)).await.unwrap_err(), StoreError::NotFound);
        assert_eq!(stand.store.head(&key).await.unwrap_err(), StoreError::NotFound);
        assert!(stand.store.find(&key, u64::MAX).await.unwrap().is_none());
    }
}

pub async fn an_empty_body_is_an_object(stand: &StoreStand) {
    let etag = stand.create("empty", "").await;
    let object = stand.store.get(&stand.key("empty"), ByteRange::Whole(u64::MAX)).await.unwrap();
    assert!(object.body.is_empty());
    assert_eq!((object.info.bytes, object.info.etag), (0, etag));
    assert_eq!(
        stand.store.put(&stand.key("empty"), PutObject::create("")).await,
        Err(StoreError::Exists),
        "an empty object is there like any other"
    );
}

pub async fn content_type_and_metadata_ride_on_the_object(stand: &StoreStand) {
    let key = stand.key("noted");
    let metadata = format!("{{\"a\":\"{}\"}}", "~ !\"#%&'()*+,;=\\ b".repeat(20));
    let object = PutObject::create("x").content_type("text/plain; charset=utf-8").metadata(metadata.clone());
    let etag = stand.store.put(&key, object).await.unwrap();
    let head = stand.store.head(&key).await.unwrap();
    assert_eq!(head.content_type.as_deref(), Some("text/plain; charset=utf-8"));
    assert_eq!(head.metadata.as_deref(), Some(metadata.as_str()));
    assert_eq!(stand.store.get(&key, ByteRange::Last(1)).await.unwrap().info, head);

    let longest = "n".repeat(limits::METADATA_BYTES_MAX as usize);
    stand.store.put(&key, PutObject::replace("x2", etag).metadata(longest.clone())).await.unwrap();
    let head = stand.store.head(&key).await.unwrap();
    assert_eq!((head.content_type, head.metadata), (stand.untyped.clone(), Some(longest)));

    stand.create("plain", "x").await;
    let head = stand.store.head(&stand.key("plain")).await.unwrap();
    assert_eq!((head.content_type, head.metadata), (stand.untyped.clone(), None));
}

pub async fn what_no_store_takes_is_refused(stand: &StoreStand) {
    let put = |key: Key, metadata: Option<String>| async move {
        let object = PutObject { metadata, ..PutObject::create("x") };
        stand.store.put(&key, object).await
    };
    let refused = |answer: Result<ETag, StoreError>| matches!(answer, Err(StoreError::Refused(_)));
    assert!(refused(put(stand.key("note"), Some("ümlaut".to_owned())).await));
    assert!(refused(put(stand.key("note"), Some("line\nbreak".to_owned())).await));
    let long = "n".repeat(limits::METADATA_BYTES_MAX as usize + 1);
    assert!(refused(put(stand.key("note"), Some(long)).await));
    assert!(refused(put(stand.key(&"k".repeat(limits::OBJECT_KEY_BYTES_MAX)), None).await));
    assert_eq!(stand.store.exists(&stand.key("note")).await, Ok(false));
    let many: Vec<Key> = (0..=limits::LIST_PAGE_MAX).map(|n| stand.key(&format!("many/{n}"))).collect();
    assert!(matches!(stand.store.delete(&many).await, Err(StoreError::Refused(_))));
}

pub async fn bodies_of_many_mebibytes_come_back_whole(stand: &StoreStand) {
    const MIB: usize = limits::MIB as usize;
    let bytes: Vec<u8> = (0..5 * MIB + 3).map(|n| (n / 7 + n / MIB) as u8).collect();
    let mut spool = BodyWriter::new(limits::RESULT_BYTES_MAX);
    for piece in bytes.chunks(300_000) {
        spool.write(piece).expect("spool");
    }
    let spool = spool.finish();
    assert!(matches!(spool, Body::Spool(_)), "a body of 5 MiB is spooled");
    let memory = Body::from(bytes.clone());
    for (name, body) in [("memory", memory), ("spool", spool)] {
        let key = stand.key(name);
        stand.store.put(&key, PutObject::create(body)).await.unwrap();
        let object = stand.store.get(&key, ByteRange::Whole(u64::MAX)).await.unwrap();
        assert_eq!(object.info.bytes, bytes.len() as u64);
        assert!(object.body == bytes, "{name}: the bytes differ");
        for (offset, length) in
            [(0, 1), (MIB - 1, 2), (MIB, MIB), (2 * MIB - 5, 2 * MIB + 10), (5 * MIB, 100)]
        {
            let range = ByteRange::Part { offset: offset as u64, length: length as u64 };
            let part = stand.store.get(&key, range).await.unwrap().body;
            assert!(part == bytes[offset..bytes.len().min(offset + length)], "{name}: {range:?} differs");
        }
        let end = stand.store.get(&key, ByteRange::Last(4)).await.unwrap().body;
        assert_eq!(end, bytes[bytes.len() - 4..]);
    }
}

/// Every byte that keys of the layout use, and names that are prefixes of one another.
const NAMES: [&str; 14] =
    ["Z", "_", "a", "a-", "a.b", "a/", "a/b", "a/b/c", "a/b0", "a0", "aa", "b%2Fc", "b/é", "~"];

pub async fn a_list_is_in_byte_order(stand: &StoreStand) {
    let mut sorted = NAMES.map(|name| format!("order/{name}"));
    for name in sorted.iter().rev() {
        stand.create(name, "x").await;
    }
    stand.create("order", "before the prefix").await;
    stand.create("order0", "after the prefix").await;
    sorted.sort();
    let listed = stand.store.list(&stand.list("order/")).await.unwrap();
    assert_eq!(stand.names(&listed), (sorted.to_vec(), vec![]));
    assert_eq!(listed.next, None);
    let listed = stand.store.list(&stand.list("order/a/b")).await.unwrap();
    let expected = ["order/a/b", "order/a/b/c", "order/a/b0"].map(str::to_owned);
    assert_eq!(stand.names(&listed).0, expected);
    let listed = stand.store.list(&stand.list("order/nothing")).await.unwrap();
    assert_eq!(listed, ListPage::default());
}

pub async fn a_list_begins_strictly_after(stand: &StoreStand) {
    for name in ["s/1", "s/3", "s/5"] {
        stand.create(name, "x").await;
    }
    let cases: [(&str, &[&str]); 7] = [
        ("r", &["s/1", "s/3", "s/5"]),
        ("s/", &["s/1", "s/3", "s/5"]),
        ("s/1", &["s/3", "s/5"]),
        ("s/2", &["s/3", "s/5"]),
        ("s/5", &[]),
        ("s/9", &[]),
        ("t", &[]),
    ];
    for (after, expected) in cases {
        let listed = stand.store.list(&stand.list("s/").start_after(stand.key(after))).await.unwrap();
        assert_eq!(stand.names(&listed).0, expected, "after {after}");
    }
}

/// Every page of a list, by what each says comes next.
async fn pages(stand: &StoreStand, mut request: List) -> Vec<ListPage> {
    let mut pages = Vec::new();
    loop {
        let page = stand.store.list(&request).await.unwrap();
        request.start_after = page.next.clone();
        pages.push(page);
        if request.start_after.is_none() {
            return pages;
        }
        assert!(pages.len() < 100, "the list has no end");
    }
}

pub async fn a_list_goes_on_page_by_page(stand: &StoreStand) {
    let names: Vec<String> = (0..10).map(|n| format!("pages/{n}")).collect();
    for name in &names {
        stand.create(name, "x").await;
    }
    for max in [1, 3, 5, 9, 10, 11] {
        let pages = pages(stand, stand.list("pages/").max(max)).await;
        let mut seen = Vec::new();
        for page in &pages {
            assert!(page.entries.len() <= max);
            seen.extend(stand.names(page).0);
        }
        assert_eq!(seen, names, "{max} a page");
    }
}

pub async fn groups_are_answered_once(stand: &StoreStand) {
    for name in ["g/a/1", "g/a/2", "g/a/x/3", "g/a0", "g/b", "g/c/1", "g/c/"] {
        stand.create(name, "x").await;
    }
    let listed = stand.store.list(&List::grouped(stand.key("g/").to_string())).await.unwrap();
    let expected = (vec!["g/a0".to_owned(), "g/b".to_owned()], vec!["g/a/".to_owned(), "g/c/".to_owned()]);
    assert_eq!(stand.names(&listed), expected);
    assert_eq!(listed.next, None);
    let listed = stand.store.list(&List::grouped(stand.key("g/a/").to_string())).await.unwrap();
    let expected = (vec!["g/a/1".to_owned(), "g/a/2".to_owned()], vec!["g/a/x/".to_owned()]);
    assert_eq!(stand.names(&listed), expected);
    let past = past_prefix(&stand.key("g/a/").to_string());
    let listed =
        stand.store.list(&List::grouped(stand.key("g/").to_string()).start_after(past)).await.unwrap();
    let expected = (vec!["g/a0".to_owned(), "g/b".to_owned()], vec!["g/c/".to_owned()]);
    assert_eq!(
        stand.names(&listed),
        expected,
        "what sorts right after a common prefix is not skipped with it"
    );
}

pub async fn groups_go_on_page_by_page(stand: &StoreStand) {
    let mut keys = BTreeSet::new();
    let mut prefixes = BTreeSet::new();
    for n in 0..6 {
        for leaf in ["payload", "status", "log/1"] {
            stand.create(&format!("calls/{n}/{leaf}"), "x").await;
        }
        prefixes.insert(format!("calls/{n}/"));
        stand.create(&format!("calls/{n}0"), "x").await;
        keys.insert(format!("calls/{n}0"));
    }
    for max in [1, 2, 3, 5, 11, 12, 13] {
        let request = List { group: true, ..stand.list("calls/").max(max) };
        let mut seen_keys = Vec::new();
        let mut seen_prefixes = Vec::new();
        for page in pages(stand, request).await {
            assert!(page.entries.len() + page.prefixes.len() <= max);
            let (keys, prefixes) = stand.names(&page);
            seen_keys.extend(keys);
            seen_prefixes.extend(prefixes);
        }
        assert_eq!(seen_keys, Vec::from_iter(keys.iter().cloned()), "{max} a page");
        assert_eq!(seen_prefixes, Vec::from_iter(prefixes.iter().cloned()), "{max} a page");
    }
}

pub async fn a_list_says_what_head_says(stand: &StoreStand) {
    let mut etags = BTreeMap::new();
    for (name, body) in [("said/a", ""), ("said/b", "x"), ("said/c", "longer")] {
        etags.insert(stand.key(name), (body.len() as u64, stand.create(name, body).await));
    }
    let listed = stand.store.list(&stand.list("said/")).await.unwrap();
    assert_eq!(listed.entries.len(), etags.len());
    for entry in listed.entries {
        let (bytes, etag) = &etags[&entry.to_key()];
        let head = stand.store.head(&entry.to_key()).await.unwrap();
        assert_eq!((entry.bytes, &entry.etag), (*bytes, etag));
        assert_eq!((head.bytes, &head.etag), (*bytes, etag));
        // S3 tells heads to the second and lists to the millisecond.
        assert_eq!(entry.modified_at.0 / 1_000, head.modified_at.0 / 1_000);
    }
}

pub async fn a_delete_removes_and_does_not_mind_what_is_gone(stand: &StoreStand) {
    for name in ["d/1", "d/2", "d/3"] {
        stand.create(name, "x").await;
    }
    let keys = ["d/1", "d/missing", "d/3"].map(|name| stand.key(name));
    for _ in 0..2 {
        stand.store.delete(&keys).await.unwrap();
        let listed = stand.store.list(&stand.list("d/")).await.unwrap();
        assert_eq!(stand.names(&listed).0, ["d/2"]);
    }
    assert_eq!(
        stand.store.get(&keys[0], ByteRange::Whole(u64::MAX)).await.unwrap_err(),
        StoreError::NotFound
    );
    stand.store.delete(&[]).await.unwrap();
}

pub async fn a_deleted_key_can_be_created_again(stand: &StoreStand) {
    let first = stand.create("again", "one").await;
    stand.store.delete(&[stand.key("again")]).await.unwrap();
    let gone = stand.store.put(&stand.key("again"), PutObject::replace("x", first)).await;
    assert_eq!(gone, Err(StoreError::NotFound));
    stand.create("again", "two").await;
    assert_eq!(&stand.body("again").await[..], b"two");
}
