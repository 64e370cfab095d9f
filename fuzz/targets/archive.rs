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

/// Entries of which kind, name and target are chosen, with checksums that hold.
fn tar_of(mut rest: &[u8]) -> Vec<u8> {
    const NAME: usize = 0;
    const KIND: usize = 156;
    const LINK: usize = 157;
    let mut tar = Vec::new();
    while let [kind, name, link, body @ ..] = rest {
        let (name, link) = (usize::from(*name % 40), usize::from(*link % 40));
        let Some((name, body)) = body.split_at_checked(name) else { break };
        let Some((link, body)) = body.split_at_checked(link) else { break };
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[NAME..NAME + name.len()].copy_from_slice(name);
        header.as_mut_bytes()[LINK..LINK + link.len()].copy_from_slice(link);
        header.as_mut_bytes()[KIND] = match kind % 4 {
            0 => b'0',
            1 => b'2',
            2 => b'5',
            _ => *kind,
        };
        header.set_mode(0o777);
        header.set_size(0);
        header.set_cksum();
        tar.extend_from_slice(header.as_bytes());
        rest = body;
    }
    tar.resize(tar.len() + 1_024, 0);
    tar
}

fuzz_target!(|data: &[u8]| {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    gzip.write_all(&tar_of(data)).expect("in memory");
    let packed = gzip.finish().expect("in memory");
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
