//! What a function's author writes: nothing makes it panic, and what can be read can be read again.
#![no_main]

use std::path::Path;

use afn::deploy::func_yaml::{AppFile, FuncFile};
use afn::deploy::ignore::Ignore;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let read = || FuncFile::parse(Path::new("f/func.yaml"), text);
    if let Ok(file) = read() {
        assert_eq!(read().ok(), Some(file));
    }
    let _ = AppFile::parse(Path::new("app.yaml"), text);
    if let Ok(ignore) = Ignore::parse(text) {
        let _ = ignore.is_ignored("a/b.c", false);
    }
});
