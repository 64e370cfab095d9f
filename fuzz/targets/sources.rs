//! Sources of batches: the first byte chooses the format, the second how long the pieces are that the rest is cut into. The
//! same items come of it whole.
#![no_main]

use afn::submit::source::{Compression, Format, Kind, SourceRecord, pieces_of_text};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

/// Of what a few bytes inflate to, no more is held.
const ITEMS_MAX: usize = 10_000;

fn read(pieces: Vec<Bytes>, format: Format) -> (Vec<SourceRecord>, bool) {
    let mut source = pieces_of_text(pieces, format, "x");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let mut items = Vec::new();
        while items.len() < ITEMS_MAX {
            match source.next().await {
                Ok(more) if more.is_empty() => return (items, false),
                Ok(more) => items.extend(more),
                Err(_) => return (items, true),
            }
        }
        items.truncate(ITEMS_MAX);
        (items, false)
    })
}

fuzz_target!(|data: &[u8]| {
    let [format, piece, text @ ..] = data else { return };
    let kind = [Kind::Jsonl, Kind::Json, Kind::Csv, Kind::Tsv, Kind::Lines][usize::from(format % 5)];
    let compressions = [
        None,
        Some(Compression::Gzip),
        Some(Compression::Zstd),
        Some(Compression::Bzip2),
        Some(Compression::Xz),
    ];
    let compression = compressions[usize::from(format / 5 % 5)];
    let format = Format { kind, compression };
    let (whole, failed) = read(vec![Bytes::copy_from_slice(text)], format);
    let pieces = text.chunks(usize::from(*piece).max(1)).map(Bytes::copy_from_slice).collect();
    let (pieces, failed_too) = read(pieces, format);
    // How much comes before an error hangs on the pieces.
    let least = whole.len().min(pieces.len());
    assert_eq!(whole[..least], pieces[..least]);
    assert!(least == ITEMS_MAX || (failed == failed_too && (failed || whole.len() == pieces.len())));
});
