//! What is said of sources and workers before anything is asked of S3.

use super::world::World;

#[test]
fn what_is_for_buckets_alone_is_refused_elsewhere() {
    let world = World::new();
    world.write("in.txt", "a\n");
    world.write("folder/a", "A");
    let run = |options: &str| {
        let line = format!("batch run {options} -- cat");
        world.afn(&line).failed(2)
    };
    for options in ["--source-region eu-west-1", "--source-profile somebody"] {
        let said = run(&format!("--input in.txt {options}"));
        assert!(said.contains("`in.txt` is no object and no prefix of S3"), "{said}");
        assert!(said.contains("`--source-region` and `--source-profile` are for s3:// sources"), "{said}");
    }
    let said = run("--input folder --pass fetch");
    assert!(said.contains("is a folder, which workers elsewhere cannot read"), "{said}");
    assert!(said.contains("`--pass body` copies each file"), "{said}");
    let said = run("--input in.txt --pass fetch");
    assert!(said.contains("records cannot be passed as `fetch`"), "{said}");
    let said = run("--input s3://bucket/in/ --source-region evil.example.org/");
    assert!(said.contains("`evil.example.org/` cannot name a region"), "{said}");
    let said = run("--input s3://no?bucket/in/");
    assert!(said.contains("`no?bucket` cannot name a bucket"), "{said}");
    let said = world.afn("worker --drain --data-bucket s3://bucket").failed(2);
    assert!(said.contains("`s3://bucket` cannot name a bucket"), "{said}");
    assert!(said.contains("give the name alone, without s3://"), "{said}");
}

/// A profile that does not exist is an error of the submitter, before anything is written.
#[cfg(feature = "aws")]
#[test]
fn a_source_is_read_with_the_profile_that_was_named() {
    let world = World::new();
    let said = world.afn("batch run --input s3://bucket/in/ --source-profile nobody -- cat").failed(2);
    assert!(said.contains("there is no profile `nobody` in the AWS files"), "{said}");
    let listed = world.afn("batch list batch");
    assert!(listed.stderr.contains("No batches found"), "{listed:#?}");
}
