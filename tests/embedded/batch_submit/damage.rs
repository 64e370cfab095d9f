//! Batches with objects that were damaged or deleted.

use afn::layout::Key;
use afn::model::{BatchId, State};
use afn::results::export::joblog;
use afn::results::{batch, report};
use afn::seam::store::PutObject;

use super::ground::{Ground, lines};

/// A finished batch of 200 calls. Returns the last numbers of its chunks.
async fn finished(ground: &Ground) -> (BatchId, Vec<u64>) {
    let batch = ground.submit(lines(200)).await.unwrap().batch;
    let chunks: Vec<u64> = ground.ranges().await.iter().map(|range| range.chunk).collect();
    let mut first = 1;
    for last in &chunks {
        ground.decide(batch, *last, (first..=*last).map(|number| (number, State::Success))).await;
        first = last + 1;
    }
    ground.end(batch).await;
    (batch, chunks)
}

impl Ground {
    async fn damage(&self, key: &Key) {
        self.delete(key.clone()).await;
        self.deps.store.put(key, PutObject::create("damaged")).await.unwrap();
    }
}

#[tokio::test]
async fn joblog_and_report_have_what_can_be_read_and_name_the_rest() {
    let ground = Ground::new().await;
    let (id, chunks) = finished(&ground).await;
    let view = batch::load(&ground.deps, id).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.tsv");
    let joblog = async || joblog::write(&ground.deps, id, "cat", &path, true).await.unwrap();
    let logged = || std::fs::read_to_string(&path).unwrap().lines().count() - 1;
    let page = async || {
        let gathered = report::gather(&ground.deps, &view).await.unwrap();
        let mut page = Vec::new();
        report::write(&view, &gathered, None, &mut page).unwrap();
        (gathered.incomplete, String::from_utf8(page).unwrap())
    };
    assert!(joblog().await.is_none() && page().await.0.is_none());
    assert_eq!(logged(), 200);

    // The joblog loses the bytes that each call was sent with. The report needs none of it.
    let payloads = Key::Chunk(ground.app.clone(), id, chunks[0]);
    ground.damage(&payloads).await;
    let error = joblog().await.expect("a chunk is damaged").to_string();
    assert!(error.contains(&payloads.to_string()) && error.contains("no call is missing"), "{error}");
    assert_eq!(logged(), 200);
    assert!(page().await.0.is_none());

    let part = Key::Part(ground.app.clone(), id, chunks[1], 0);
    ground.damage(&part).await;
    let missing = chunks[1] - chunks[0];
    let error = joblog().await.expect("a part is damaged").to_string();
    for named in [payloads.to_string(), part.to_string(), format!("{missing} calls are missing")] {
        assert!(error.contains(&named), "{named}: {error}");
    }
    assert_eq!(logged() as u64, 200 - missing);
    let (incomplete, page) = page().await;
    let error = incomplete.expect("a part is damaged").to_string();
    for text in [&error, &page] {
        assert!(text.contains(&part.to_string()), "{text}");
        assert!(text.contains(&format!("{missing} calls are missing")), "{text}");
    }
    assert!(page.ends_with("</html>\n"));
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, [path], "no temporary file is left");
}
