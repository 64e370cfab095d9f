//! Whole pages: hostile, large, of nothing, and one to look at.

use super::*;
use crate::layout::part::{Row, RowResult};
use crate::model::State;
use crate::results::batch::fixture::{Made, batch_at, row};
use crate::results::batch::load;
use crate::results::fixture::{NOW, World};
use crate::results::rows::ResultRow;

fn page(view: &BatchView, gathered: &ReportData) -> String {
    let mut out = Vec::new();
    write(view, gathered, None, &mut out).expect("in memory");
    String::from_utf8(out).expect("text")
}

/// Tags that are opened are closed, one in the other; attributes are quoted.
fn check_markup(page: &str) {
    const ALONE: [&str; 2] = ["meta", "!doctype"];
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page;
    while let Some((text, after)) = rest.split_once('<') {
        assert!(!text.contains('>') || open.last() == Some(&"style"), "a stray > in {text}");
        let mut quoted = false;
        let end = after.find(|c| {
            quoted ^= c == '"';
            c == '>' && !quoted
        });
        let tag = &after[..end.expect("an end of the tag")];
        rest = &after[tag.len() + 1..];
        let name = tag.split([' ', '/']).find(|name| !name.is_empty()).expect("a name");
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "in {}", &text[text.len().saturating_sub(80)..]);
        } else if !tag.ends_with('/') && !ALONE.contains(&name) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?} are not closed");
}

fn decided(number: u64, outcome: Row) -> ResultRow {
    let call = batch_at(NOW, 1).call(number);
    ResultRow {
        number,
        call,
        status: outcome.status,
        outcome: Some(outcome),
        source: None,
        key: None,
        input: None,
    }
}

#[tokio::test]
async fn names_and_reasons_are_text_and_never_markup() {
    let world = World::new();
    let made = Made::begun(&world, batch_at(NOW, 1)).await;
    made.chunk(1, 4).await;
    let evil =
        "</title></svg><script>alert(1)</script><img src=x onerror=alert(1)>\" onload='x' &lt; \u{202e}\0";
    let mut rows: Vec<Row> = (1..=4).map(|number| row(number, State::Error)).collect();
    for row in &mut rows {
        row.error = Some(evil.to_owned());
        row.worker = evil.into();
    }
    made.part(4, &rows).await;
    made.sealed(4, &[]).await;
    let mut view = load(&world.deps, made.id).await.expect("the batch");
    view.reason = Some(evil.to_owned());
    if let Some(source) = &mut view.source {
        source.location = evil.to_owned();
    }
    view.requests.insert(evil.to_owned(), 3);
    let gathered = gather(&world.deps, &view).await.expect("gathered");
    let page = page(&view, &gathered);
    check_markup(&page);
    for bad in ["<script", "<img", "\u{202e}", "\0", "onload='"] {
        assert!(!page.contains(bad), "{bad}");
    }
    assert!(page.contains("&lt;script&gt;alert(1)"), "it is shown all the same");
    for outside in ["http://", "https://", "url(", "@import", "src="] {
        let own = page.replace("src=x onerror", "");
        assert!(!own.contains(outside), "{outside}: the page asks for nothing");
    }
}

#[tokio::test]
async fn a_page_of_a_million_calls_is_small() {
    let mut gathered = ReportData { origin: NOW, ..ReportData::default() };
    for number in 1..=1_000_000u64 {
        let status = if number % 100 == 0 { State::Error } else { State::Success };
        let mut outcome = row(number, status);
        outcome.result = RowResult::None;
        outcome.worker = format!("worker-{}", number % 300).into();
        outcome.error =
            (status == State::Error).then(|| format!("reason {}", number.wrapping_mul(2_654_435_761)));
        outcome.run_ms = number.wrapping_mul(2_654_435_761) % 100_000;
        outcome.started_at = Some(NOW.plus_ms(number));
        outcome.completed_at = NOW.plus_ms(number + outcome.run_ms);
        gathered.add(&decided(number, outcome));
    }
    assert_eq!((gathered.calls, gathered.failed(), gathered.workers.len()), (1_000_000, 10_000, 49));
    assert!(gathered.drawn.is_empty());
    let world = World::new();
    let made = Made::begun(&world, batch_at(NOW, 1)).await;
    let view = load(&world.deps, made.id).await.expect("the batch");
    let page = page(&view, &gathered);
    check_markup(&page);
    assert!(page.len() < 400_000, "{} bytes", page.len());
    assert!(page.contains("1,000,000") && page.contains("more than 48 workers"));
}

#[tokio::test]
async fn a_batch_of_nothing_has_a_page_too() {
    let world = World::new();
    let made = Made::begun(&world, batch_at(NOW, 1)).await;
    let view = load(&world.deps, made.id).await.expect("the batch");
    let gathered = gather(&world.deps, &view).await.expect("gathered");
    check_markup(&page(&view, &gathered));
    made.chunk(1, 2).await;
    let view = load(&world.deps, made.id).await.expect("the batch");
    let gathered = gather(&world.deps, &view).await.expect("gathered");
    let page = page(&view, &gathered);
    check_markup(&page);
    assert!(page.contains("2 not decided"), "{page}");
}

#[tokio::test]
async fn every_call_of_a_small_batch_is_drawn() {
    let world = World::new();
    let made = Made::begun(&world, batch_at(NOW, 1)).await;
    made.chunk(1, 1_000).await;
    let rows: Vec<Row> = (1..=1_000).map(sample).collect();
    made.part(1_000, &rows).await;
    made.sealed(1_000, &[]).await;
    let view = load(&world.deps, made.id).await.expect("the batch");
    let gathered = gather(&world.deps, &view).await.expect("gathered");
    let page = page(&view, &gathered);
    check_markup(&page);
    let drawn = page.matches(&format!("<title>{}", &made.id.to_string()[..18])).count();
    assert_eq!(drawn, 1_000);
    assert!(page.len() < 400_000, "{} bytes", page.len());
    assert!(page.contains("negative volatility"));
}

/// A call of a batch that four workers of four slots each run, most in about half a second.
fn sample(number: u64) -> Row {
    let noise = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
    let status = match noise % 97 {
        0 => State::Timeout,
        1..=3 => State::Error,
        4 if noise.is_multiple_of(3) => State::Killed,
        _ => State::Success,
    };
    let mut row = row(number, status);
    let slot = (number - 1) % 16;
    row.worker = format!("worker-{}", slot / 4 + 1).into();
    row.run_ms = if status == State::Timeout { 2_000 } else { 180 + noise % 500 + (noise >> 9) % 17 * 10 };
    row.queued_ms = (number - 1) / 16 * 560 + slot * 7;
    row.started_at = Some(NOW.plus_ms(row.queued_ms + 2));
    row.completed_at = NOW.plus_ms(row.queued_ms + 2 + row.run_ms);
    row.error = match status {
        State::Success => None,
        State::Timeout => Some("timed out after 2 s".to_owned()),
        State::Killed => Some("its worker was lost 5 times".to_owned()),
        _ if noise.is_multiple_of(2) => Some("exit code 3: negative volatility".to_owned()),
        _ => Some("exit code 75: quote feed busy".to_owned()),
    };
    row
}
