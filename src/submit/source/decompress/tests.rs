use std::io::Write as _;

use ::bzip2::write::BzEncoder;
use flate2::write::GzEncoder;

use super::super::input::Memory;
use super::*;
use crate::limits;

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn zstd(text: &[u8]) -> Vec<u8> {
    let mut encoder = ::zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(text: &[u8]) -> Vec<u8> {
    let mut encoder = BzEncoder::new(Vec::new(), ::bzip2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

type Pack = fn(&[u8]) -> Vec<u8>;

const PACKED: [(Compression, Pack); 3] =
    [(Compression::Gzip, gzip), (Compression::Zstd, zstd), (Compression::Bzip2, bzip2)];

async fn inflate(file: &[u8], piece: usize, compression: Compression) -> Result<Vec<u8>> {
    let pieces = file.chunks(piece).map(Bytes::copy_from_slice).collect::<Vec<_>>();
    let mut input = Decompress::new(Box::new(Memory::pieces(pieces)), compression, "x".to_owned());
    let mut text = Vec::new();
    loop {
        let block = input.read().await?;
        assert!(block.len() as u64 <= 2 * limits::SOURCE_BLOCK_BYTES, "bounded: {}", block.len());
        if block.is_empty() {
            return Ok(text);
        }
        text.extend_from_slice(&block);
    }
}

#[tokio::test]
async fn inflates_however_it_is_split_and_joined() {
    let text: Vec<u8> = (0..300_000u32).flat_map(|n| (n % 977).to_le_bytes()).collect();
    for (compression, pack) in PACKED {
        let twice = [pack(&text), pack(b""), pack(&text)].concat();
        for piece in [997, 64 * 1024, 10_000_000] {
            let inflated = inflate(&twice, piece, compression).await.unwrap();
            assert!(inflated == [text.clone(), text.clone()].concat(), "{compression} in pieces of {piece}");
        }
        assert_eq!(inflate(&pack(b"ab"), 1, compression).await.unwrap(), b"ab");
        assert_eq!(inflate(b"", 1, compression).await.unwrap(), b"");
    }
}

#[tokio::test]
async fn a_little_that_inflates_to_much_is_held_in_pieces() {
    for (compression, pack) in PACKED {
        let text = vec![0; 24 * limits::MIB as usize];
        assert_eq!(inflate(&pack(&text), 1 << 20, compression).await.unwrap().len(), text.len());
    }
}

#[tokio::test]
async fn damage_is_told() {
    let text: Vec<u8> = (0..50_000u32).flat_map(|n| (n.wrapping_mul(2_654_435_761)).to_le_bytes()).collect();
    for (compression, pack) in PACKED {
        let file = pack(&text);
        let kind = compression.name();
        let cut = inflate(&file[..file.len() - 3], 4_096, compression).await.unwrap_err();
        let expected = format!("cannot inflate `x` after {} bytes: its {kind} is cut short", file.len() - 3);
        assert_eq!(cut.message(), expected);
        let mut damaged = file.clone();
        damaged[file.len() / 2] ^= 0xff;
        let damage = inflate(&damaged, 4_096, compression).await.unwrap_err();
        assert_eq!(damage.hint_text(), Some(format!("its {kind} is damaged").as_str()), "{damage}");
        assert!(inflate(b"not compressed at all", 4_096, compression).await.is_err());
        for garbage in [b"x".as_slice(), b"not compressed at all"] {
            let trailing =
                inflate(&[file.as_slice(), garbage].concat(), 4_096, compression).await.unwrap_err();
            let expected = format!(
                "cannot inflate `x`: after {} bytes its {kind} ends, and something else follows",
                file.len()
            );
            assert_eq!(trailing.message(), expected);
        }
    }
    assert_eq!(
        inflate(&[gzip(b"a"), vec![0; 5_000], gzip(b"b")].concat(), 100, Compression::Gzip).await.unwrap(),
        b"ab"
    );
}

#[tokio::test]
async fn windows_of_zstd_up_to_the_limit() {
    let long = |window: u32| {
        let mut encoder = ::zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(window).unwrap();
        // A window is as large as the option says only if the encoder does not know that the text is shorter.
        encoder.write_all(b"text").unwrap();
        encoder.flush().unwrap();
        encoder.finish().unwrap()
    };
    let within = inflate(&long(limits::ZSTD_WINDOW_LOG_MAX), 100, Compression::Zstd).await.unwrap();
    assert_eq!(within, b"text");
    let beyond = inflate(&long(limits::ZSTD_WINDOW_LOG_MAX + 1), 100, Compression::Zstd).await.unwrap_err();
    assert!(beyond.message().contains("a window of more than 128 MiB"), "{beyond}");
}

/// Two streams with padding between them, made by `xz`: `printf 'one\n' | xz`, four NULs, `printf 'two\n' | xz`.
const XZ: &[u8] = include_bytes!("two-streams.xz");

#[tokio::test]
async fn streams_of_xz_in_pieces() {
    for piece in [1, 7, 1_000] {
        assert_eq!(inflate(XZ, piece, Compression::Xz).await.unwrap(), b"one\ntwo\n", "{piece}");
    }
    let cut = inflate(&XZ[..XZ.len() - 3], 10, Compression::Xz).await.unwrap_err();
    assert!(cut.message().ends_with("its xz is cut short"), "{cut}");
    let mut damaged = XZ.to_vec();
    damaged[30] ^= 0xff;
    assert!(inflate(&damaged, 10, Compression::Xz).await.is_err());
    assert!(inflate(&[XZ, b"garbage"].concat(), 10, Compression::Xz).await.is_err());
}
