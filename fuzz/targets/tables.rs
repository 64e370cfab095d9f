//! Chunks and parts, whole and from the end: nothing makes them panic, or hold more than a table can. Panics of the library that
//! are caught count as errors here too.
#![no_main]

use afn::layout::chunk;
use afn::layout::footer::Footer;
use afn::layout::part::Part;
use afn::layout::table::{TableEnd, end_of};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

// The fuzzer's hook ends the process at once; what unwinds past the target still does.
fuzz_target!(init: std::panic::set_hook(Box::new(|_| {})), |data: &[u8]| {
    let file = Bytes::copy_from_slice(data);
    if let Ok(records) = chunk::decode("x", file.clone()) {
        assert!(records.windows(2).all(|two| two[0].number + 1 == two[1].number));
        for object in records.iter().filter_map(|record| record.object.as_ref()) {
            assert_eq!(object.check(), Ok(()));
        }
    }
    let _ = chunk::may_have_key("x", data, data.len() as u64, "k");
    if let Ok(part) = Part::open("x", file) {
        let _ = part.footer();
        for group in 0..part.groups() {
            let _ = part.rows(group);
        }
        let _ = part.row(1);
    }
    if let Ok(TableEnd::Complete(end)) = end_of("x", data) {
        let _ = end.footer().and_then(|footer| Footer::decode("x", &footer));
        let _ = end.greatest("worker");
    }
});
