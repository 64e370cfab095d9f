//! Every format of records, cut into pieces anywhere.

use std::io::Write as _;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// All items of a source.
pub(super) async fn all(mut source: Box<dyn Source>) -> Result<Vec<SourceRecord>> {
    let mut items = Vec::new();
    loop {
        let more = source.next().await?;
        if more.is_empty() {
            return Ok(items);
        }
        items.extend(more);
    }
}

/// All items, and whether an error ended them.
fn read(pieces: Vec<Bytes>, format: Format) -> (Vec<SourceRecord>, bool) {
    let mut source = pieces_of_text(pieces, format, "x");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut items = Vec::new();
        loop {
            match source.next().await {
                Ok(more) if more.is_empty() => return (items, false),
                Ok(more) => items.extend(more),
                Err(_) => return (items, true),
            }
        }
    })
}

fn cut(file: &[u8], cuts: &[Index]) -> Vec<Bytes> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(file.len() + 1)).collect();
    at.extend([0, file.len()]);
    at.sort_unstable();
    at.windows(2).map(|ends| Bytes::copy_from_slice(&file[ends[0]..ends[1]])).collect()
}

/// In one stream, or in two that follow one another.
fn packed(text: &[u8], compression: Option<Compression>, middle: Index) -> Vec<u8> {
    let middle = middle.index(text.len() + 1);
    let gzip = |text: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).and_then(|()| encoder.finish()).unwrap()
    };
    let zstd = |text: &[u8]| zstd::encode_all(text, 1).unwrap();
    let bzip2 = |text: &[u8]| {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        encoder.write_all(text).and_then(|()| encoder.finish()).unwrap()
    };
    let (first, second) = text.split_at(middle);
    match compression {
        None => text.to_vec(),
        Some(Compression::Gzip) => [gzip(first), gzip(second)].concat(),
        Some(Compression::Zstd) => [zstd(first), zstd(second)].concat(),
        Some(Compression::Bzip2) => [bzip2(first), bzip2(second)].concat(),
        Some(Compression::Xz) => unreachable!("nothing here writes it"),
    }
}

fn formats() -> impl Strategy<Value = Format> {
    let kinds = prop::sample::select(vec![Kind::Jsonl, Kind::Json, Kind::Csv, Kind::Tsv, Kind::Lines]);
    let compressions = prop::sample::select(vec![
        None,
        Some(Compression::Gzip),
        Some(Compression::Zstd),
        Some(Compression::Bzip2),
    ]);
    (kinds, compressions).prop_map(|(kind, compression)| Format { kind, compression })
}

/// Anything, and what is nearly a table or JSON.
fn texts() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        "(\u{feff})?[ab,\"\n\r{}\\[\\]:0-9 é]{0,200}".prop_map(String::into_bytes),
        "(\u{feff})?a,b\r?\n((x|\"y,\n\"\"\"|),(1|\"\")\r?\n){0,20}".prop_map(String::into_bytes),
        "(\\[)?((\\{\"a\": [0-9]{1,3}\r?\n?\\}|\\[\\]|\"\\\\\"é\"|[0-9]|nul)(,|\r|\n| )){0,20}(\\])?"
            .prop_map(String::into_bytes),
        "\u{feff}[ab,;\t\"\n\r0-9é\u{1f600}]{0,100}"
            .prop_map(|text| text.encode_utf16().flat_map(u16::to_be_bytes).collect()),
        "((\\{\"a\":[0-9]{1,3}\\}|\\[\\]|\"é\"| |nul)\r?\n){0,20}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #[test]
    fn the_same_items_however_it_is_cut(
        text in texts(), format in formats(), middle: Index, cuts in prop::collection::vec(any::<Index>(), 0..12),
    ) {
        let file = packed(&text, format.compression, middle);
        let (items, failed) = read(vec![file.clone().into()], format);
        prop_assert_eq!(&read(cut(&file, &cuts), format), &(items.clone(), failed));
        let plain = Format::plain(format.kind);
        prop_assert_eq!(&read(vec![text.clone().into()], plain), &(items.clone(), failed), "compressed or not");

        let lines: Vec<u64> = items.iter().filter_map(|item| item.line).collect();
        prop_assert_eq!(lines.len(), items.len());
        // Values of JSON may share a line.
        let is_json = matches!(format.kind, Kind::Json | Kind::Jsonl);
        prop_assert!(lines.windows(2).all(|two| two[0] < two[1] || (is_json && two[0] == two[1])), "{:?}", lines);
        for item in items.iter().filter(|item| item.bad.is_none() && format.kind != Kind::Lines) {
            let value: serde_json::Value = serde_json::from_slice(&item.payload.to_bytes().unwrap()).expect("one JSON value");
            prop_assert!(value.is_object() || is_json, "{}", value);
        }
    }

    #[test]
    fn a_damaged_file_makes_nothing_panic(
        text in texts(), format in formats(), middle: Index, damage in prop::collection::vec((any::<Index>(), any::<u8>()), 1..4),
        end: Index, cuts in prop::collection::vec(any::<Index>(), 0..6),
    ) {
        let mut file = packed(&text, format.compression, middle);
        file.truncate(end.index(2 * file.len() + 1).min(file.len()));
        for (at, byte) in damage {
            if !file.is_empty() {
                *at.get_mut(&mut file) = byte;
            }
        }
        let (whole, failed) = read(vec![file.clone().into()], format);
        let (pieces, failed_too) = read(cut(&file, &cuts), format);
        // zstd checks a frame that it is given whole for what it lets pass in pieces: an empty one that claims a length.
        prop_assert!(failed == failed_too || format.compression == Some(Compression::Zstd));
        // What comes before an error stands; how much of it there is hangs on the pieces.
        let least = whole.len().min(pieces.len());
        prop_assert_eq!(&whole[..least], &pieces[..least]);
        prop_assert!(failed || failed_too || whole.len() == pieces.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_resume_reads_the_same(
        text in texts(), middle: Index, name in prop::sample::select(vec!["x.csv", "x.JSONL", "x.json", "x.tsv", "x.txt", "x"]),
        is_packed: bool, delimiter in prop::option::of(Just(";")),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, packed(&text, is_packed.then_some(Compression::Gzip), middle)).unwrap();
        let delimiter = delimiter.filter(|_| !name.contains("json") && !name.contains("JSON"));
        let options = OpenOptions { delimiter: delimiter.map(|text| text.parse().unwrap()), ..OpenOptions::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let all = |options: OpenOptions| runtime.block_on(async {
            let mut source = open(path.to_str().unwrap(), options, None).await.unwrap();
            let mut items = Vec::new();
            let end = loop {
                match source.next().await {
                    Ok(more) if more.is_empty() => break None,
                    Ok(more) => items.extend(more),
                    Err(error) => break Some(error),
                }
            };
            (source.origin(), items, end)
        });
        let (origin, items, end) = all(options);
        let format = Some(origin.format.parse().unwrap());
        let again = OpenOptions { format, delimiter: origin.delimiter, ..OpenOptions::default() };
        prop_assert_eq!(all(again), (origin, items, end));
    }
}

/// Found by the test above; whatever zstd says of it, nothing is read of it.
#[test]
fn an_empty_frame_that_claims_a_length_has_no_records() {
    let mut frame = zstd::encode_all(&[][..], 1).unwrap();
    frame[5] = 1;
    let format = Format { kind: Kind::Jsonl, compression: Some(Compression::Zstd) };
    for pieces in
        [cut(&frame, &[]), vec![Bytes::copy_from_slice(&frame[..1]), Bytes::copy_from_slice(&frame[1..])]]
    {
        assert_eq!(read(pieces, format).0, []);
    }
}
