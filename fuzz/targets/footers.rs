//! Footers of parts, and the facts and definitions of a batch: what can be read is written back the same.
#![no_main]

use afn::layout::footer::Footer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(footer) = Footer::decode("x", text) {
        let again = Footer::decode("x", &footer.encode()).expect("what was read");
        assert_eq!(again.encode(), footer.encode());
    }
});
