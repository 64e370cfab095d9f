//! Archives: whatever they hold, nothing lies outside the folder and no link leads out of it.
#![no_main]

use std::io::Write as _;
use std::path::Path;

use libfuzzer_sys::fuzz_target;

fn check(root: &Path, dir: &Path) {
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let entry = entry.expect("an entry");
        let kind = entry.file_type().expect("a kind");
        if kind.is_symlink() {
            if let Ok(real) = std::fs::canonicalize(entry.path()) {
                assert!(real.starts_with(root), "{:?} leads to {real:?}", entry.path());
            }
        } else if kind.is_dir() {
            check(root, &entry.path());
        }
    }
}

/// Entries of which kind, name, target and content are chosen, with checksums that hold.
fn tar_of(mut rest: &[u8]) -> Vec<u8> {
    const NAME: usize = 0;
    const KIND: usize = 156;
    const LINK: usize = 157;
    const BLOCK: usize = 512;
    let mut tar = Vec::new();
    while let [kind, name, link, size, more @ ..] = rest {
        let lengths = [*name % 40, *link % 40, *size].map(usize::from);
        let Some((name, more)) = more.split_at_checked(lengths[0]) else { break };
        let Some((link, more)) = more.split_at_checked(lengths[1]) else { break };
        let Some((content, more)) = more.split_at_checked(lengths[2]) else { break };
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[NAME..NAME + name.len()].copy_from_slice(name);
        header.as_mut_bytes()[LINK..LINK + link.len()].copy_from_slice(link);
        // Of a file, a link, a folder, a long name, a long target, what pax adds; or anything.
        header.as_mut_bytes()[KIND] = *b"025LKx".get(usize::from(kind % 8)).unwrap_or(kind);
        header.set_mode(0o777);
        header.set_size(content.len() as u64);
        header.set_cksum();
        tar.extend_from_slice(header.as_bytes());
        tar.extend_from_slice(content);
        tar.resize(tar.len().next_multiple_of(BLOCK), 0);
        rest = more;
    }
    tar.resize(tar.len() + 2 * BLOCK, 0);
    tar
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    gzip.write_all(bytes).expect("in memory");
    gzip.finish().expect("in memory")
}

// The first byte says what is unpacked: entries, the bytes as a tar file, or the bytes as they are.
fuzz_target!(|data: &[u8]| {
    let Some((how, data)) = data.split_first() else { return };
    let packed = match how % 4 {
        0 | 1 => gzip(&tar_of(data)),
        2 => gzip(data),
        _ => data.to_vec(),
    };
    let outer = tempfile::tempdir().expect("a folder");
    let folder = outer.path().join("a/b/c/d");
    if afn::archive::unpack(&packed[..], &folder).is_ok() {
        check(&folder.canonicalize().expect("it is there"), &folder);
    }
    let names: Vec<_> = std::fs::read_dir(outer.path())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(names, ["a"]);
});
