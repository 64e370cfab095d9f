//! Lists of calls, and of batches, newest first.

use futures_util::{FutureExt as _, StreamExt as _, stream};
use serde::Serialize;

use super::batch::BatchRow;
use super::batch::row::load_row;
use super::call::{CallView, load_if};
pub use super::view::Unreadable;
use super::window::{ListedId, NewestFirst, bits};
use crate::error::Result;
use crate::layout::key;
use crate::limits;
use crate::model::{AppName, BatchId, CallId, Route, State, Time};
use crate::seam::Deps;

/// Selects calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Any of these; empty for all.
    pub status: Vec<State>,
    pub route: Option<Route>,
    /// Created after this time, exclusive as in Fn.
    pub from: Option<Time>,
    /// Created before this time, exclusive.
    pub to: Option<Time>,
    pub max: usize,
    /// Only calls older than this one.
    pub cursor: Option<CallId>,
}

impl Default for Filter {
    fn default() -> Filter {
        Filter {
            status: Vec::new(),
            route: None,
            from: None,
            to: None,
            max: limits::LIST_CALLS_DEFAULT,
            cursor: None,
        }
    }
}

impl Filter {
    /// Unknown values fit. A call whose state is unknown has no outcome, so its state is not a final one.
    fn wants(&self, state: Option<State>, route: Option<&Route>) -> bool {
        let state_fits = match state {
            _ if self.status.is_empty() => true,
            Some(state) => self.status.contains(&state),
            None => self.status.iter().any(|wanted| !wanted.is_final()),
        };
        let route_fits = match (&self.route, route) {
            (Some(wanted), Some(route)) => wanted == route,
            _ => true,
        };
        state_fits && route_fits
    }

    /// Whether every call fits.
    fn wants_all(&self) -> bool {
        self.status.is_empty() && self.route.is_none()
    }
}

/// Some calls of an app, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CallList {
    pub calls: Vec<CallView>,
    /// The number of calls that were read to find these.
    pub scanned: usize,
    /// Set when there may be more: the cursor of the filter for the next page.
    pub cursor: Option<CallId>,
    /// Calls whose objects cannot be read.
    pub unreadable: Vec<Unreadable>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BatchList {
    pub batches: Vec<BatchRow>,
    /// Set when there may be more: only older batches than this one follow.
    pub cursor: Option<BatchId>,
    /// Batches whose objects cannot be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<Unreadable>,
}

/// Reads calls from the newest to the oldest, until `filter.max` are found, none is left, or [`limits::LIST_SCAN_MAX`] were
/// read.
pub async fn list(deps: &Deps, app: &AppName, filter: &Filter) -> Result<CallList> {
    let start = filter.from.map_or(0, |from| bits(from.plus_ms(1)));
    let end = filter.to.map_or(u128::MAX, bits).min(filter.cursor.map_or(u128::MAX, u128::from));
    let ids = NewestFirst::new(deps, key::calls(app), start..end);
    let read = |id| load_if(deps, app, id, |state, route| filter.wants(state, route));
    let Scan { found, scanned, cursor, unreadable } = scan(ids, filter.max, filter.wants_all(), read).await?;
    Ok(CallList { calls: found, scanned, cursor, unreadable })
}

/// The batches of an app, newest first.
pub async fn list_batches(
    deps: &Deps,
    app: &AppName,
    max: usize,
    cursor: Option<BatchId>,
) -> Result<BatchList> {
    let ids = NewestFirst::new(deps, key::batches(app), 0..cursor.map_or(u128::MAX, u128::from));
    let Scan { found, cursor, unreadable, .. } = scan(ids, max, true, |id| load_row(deps, app, id)).await?;
    Ok(BatchList { batches: found, cursor, unreadable })
}

/// What was found of an app's calls, or of its batches.
struct Scan<Id, T> {
    found: Vec<T>,
    scanned: usize,
    /// The last id that was read, if there may be more.
    cursor: Option<Id>,
    unreadable: Vec<Unreadable>,
}

/// Reads what the ids name until `max` are found. `wants_all`: what `read` finds is wanted.
async fn scan<Id: ListedId, T, F: Future<Output = Result<Option<T>>>>(
    mut ids: NewestFirst<'_, Id>,
    max: usize,
    wants_all: bool,
    read: impl Fn(Id) -> F,
) -> Result<Scan<Id, T>> {
    let mut scan = Scan { found: Vec::new(), scanned: 0, cursor: None, unreadable: Vec::new() };
    if max == 0 {
        return Ok(scan);
    }
    let mut page: Vec<Id> = Vec::new();
    loop {
        if page.is_empty() {
            match ids.next().await? {
                Some(next) => page.extend(next.into_iter().rev()),
                None => return Ok(scan),
            }
        }
        // Where every call is listed, no more are read than are missing.
        let count = if wants_all { page.len().min(max - scan.found.len()) } else { page.len() };
        let rest = page.split_off(count);
        let mut reads = stream::iter(page.into_iter().enumerate())
            .map(|(index, id)| read(id).map(move |read| (index, id, read)))
            .buffered(limits::READ_AHEAD_MAX);
        while let Some((index, id, read)) = reads.next().await {
            scan.scanned += 1;
            let read = read.map(|found| scan.found.extend(found));
            Unreadable::note(&mut scan.unreadable, id.to_string(), read)?;
            if scan.found.len() == max || scan.scanned == limits::LIST_SCAN_MAX {
                let more = index + 1 < count || !rest.is_empty() || !ids.is_done();
                scan.cursor = more.then_some(id);
                return Ok(scan);
            }
        }
        drop(reads);
        page = rest;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::fixture::{NOW, World, call_at};
    use super::*;
    use crate::layout::Key;
    use crate::seam::store::PutObject;

    const SECOND: u64 = 1_000;
    const DAY: u64 = 86_400 * SECOND;
    const YEAR: u64 = 365 * DAY;

    async fn success(world: &World, id: CallId) {
        world.status(id, &world.outcome(id, State::Success, "/asyncfn")).await;
    }

    async fn listed(world: &World, filter: &Filter) -> CallList {
        list(&world.deps, &world.app, filter).await.expect("a list")
    }

    fn ids(list: &CallList) -> Vec<CallId> {
        list.calls.iter().map(|view| view.id).collect()
    }

    #[tokio::test]
    async fn an_app_without_calls_has_an_empty_list() {
        let world = World::new();
        let list = listed(&world, &Filter::default()).await;
        assert_eq!(list, CallList { calls: vec![], scanned: 0, cursor: None, unreadable: vec![] });
        assert_eq!(world.counts.snapshot().list.requests, 2);
    }

    #[tokio::test]
    async fn calls_come_newest_first_page_by_page() {
        let world = World::new();
        let all: Vec<CallId> = (0..250).map(|n| call_at(NOW.minus_ms(n * n * SECOND), n)).collect();
        for id in &all {
            success(&world, *id).await;
        }
        let mut filter = Filter::default();
        let mut seen = Vec::new();
        loop {
            let list = listed(&world, &filter).await;
            assert_eq!(list.scanned, list.calls.len());
            seen.extend(ids(&list));
            match list.cursor {
                Some(_) => filter.cursor = list.cursor,
                None => break,
            }
        }
        assert_eq!(seen, all);
    }

    #[tokio::test]
    async fn the_newest_of_many_are_found_without_listing_the_others() {
        let world = World::with_pages(100);
        for n in 0..20_000 {
            // Three a second: two pages a minute.
            success(&world, call_at(NOW.minus_ms(n * 333), n)).await;
        }
        let before = world.counts.snapshot();
        let list = listed(&world, &Filter { max: 10, ..Filter::default() }).await;
        assert_eq!(ids(&list).first(), Some(&call_at(NOW, 0)));
        assert_eq!((list.calls.len(), list.scanned), (10, 10));
        assert!(list.cursor.is_some());
        let lists = world.counts.snapshot().list.requests - before.list.requests;
        assert!(lists <= 4, "{lists} lists");
        assert_eq!(world.counts.snapshot().get.requests - before.get.requests, 10);
    }

    #[tokio::test]
    async fn a_year_of_silence_takes_few_requests() {
        for count in [3, 5_000] {
            let world = World::new();
            for n in 0..count {
                success(&world, call_at(NOW.minus_ms(YEAR + n * SECOND / 100), n)).await;
            }
            let before = world.counts.snapshot().list.requests;
            let list = listed(&world, &Filter { max: 2, ..Filter::default() }).await;
            assert_eq!(ids(&list), [call_at(NOW.minus_ms(YEAR), 0), call_at(NOW.minus_ms(YEAR + 10), 1)]);
            let lists = world.counts.snapshot().list.requests - before;
            let most = if count == 3 { 2 } else { 40 };
            assert!(lists <= most, "{lists} lists for {count} calls");
        }
    }

    #[tokio::test]
    async fn many_calls_of_one_millisecond_and_of_clocks_that_are_ahead_are_listed() {
        let world = World::with_pages(10);
        let mut all: Vec<CallId> = (0..200).map(|n| call_at(NOW, n)).collect();
        all.extend((0..35).map(|n| call_at(NOW.plus_ms(50 * YEAR), n)));
        all.sort();
        all.reverse();
        for id in &all {
            success(&world, *id).await;
        }
        let list = listed(&world, &Filter { max: 1_000, ..Filter::default() }).await;
        assert!(ids(&list) == all, "{} of {} calls in order", list.calls.len(), all.len());
        assert_eq!(list.cursor, None);
    }

    #[tokio::test]
    async fn a_scan_that_finds_little_stops_and_says_where() {
        let world = World::new();
        let all = limits::LIST_SCAN_MAX as u64 + 500;
        for n in 0..all {
            success(&world, call_at(NOW.minus_ms(n * SECOND), n)).await;
        }
        let rare = call_at(NOW.minus_ms(all * SECOND), all);
        world.done(rare, State::Timeout, "/asyncfn").await;
        let mut filter = Filter { status: vec![State::Timeout], ..Filter::default() };
        let list = listed(&world, &filter).await;
        assert_eq!((list.calls.len(), list.scanned), (0, limits::LIST_SCAN_MAX));
        let last = limits::LIST_SCAN_MAX as u64 - 1;
        assert_eq!(list.cursor, Some(call_at(NOW.minus_ms(last * SECOND), last)));
        filter.cursor = list.cursor;
        let list = listed(&world, &filter).await;
        assert_eq!((ids(&list), list.scanned, list.cursor), (vec![rare], 501, None));
    }

    #[tokio::test]
    async fn a_call_that_makes_no_sense_hides_no_others() {
        let world = World::new();
        let good = call_at(NOW, 1);
        let bad = call_at(NOW, 2);
        success(&world, good).await;
        world.put(Key::Status(world.app.clone(), bad), PutObject::create("{}")).await;
        let list = listed(&world, &Filter::default()).await;
        assert_eq!((ids(&list), list.scanned), (vec![good], 2));
        assert_eq!(list.unreadable.len(), 1);
        assert_eq!(list.unreadable[0].id, bad.to_string());
        assert!(list.unreadable[0].why.contains("cannot be read"), "{}", list.unreadable[0].why);
    }

    #[tokio::test]
    async fn unfinished_calls_are_listed_with_what_they_are() {
        let world = World::new();
        let queued = call_at(NOW, 1);
        let running = call_at(NOW, 2);
        let gone = call_at(NOW, 3);
        world.payload(queued).await;
        world.payload(running).await;
        world.started(running, super::super::fixture::delivery(1), 1).await;
        world.result(gone, "what is left of a call while it is deleted").await;
        success(&world, call_at(NOW, 4)).await;

        let list = listed(&world, &Filter::default()).await;
        let states: Vec<State> = list.calls.iter().map(|view| view.state).collect();
        assert_eq!((states, list.scanned), (vec![State::Success, State::Running, State::Queued], 4));

        let only = |state| Filter { status: vec![state], ..Filter::default() };
        assert_eq!(ids(&listed(&world, &only(State::Running)).await), [running]);
        assert_eq!(ids(&listed(&world, &only(State::Queued)).await), [queued]);
        assert_eq!(ids(&listed(&world, &only(State::Error)).await), []);
    }

    /// Moments as apps have them: bursts, one millisecond, silences of years, clocks that are ahead.
    fn moments() -> impl Strategy<Value = (usize, Vec<(u64, u64)>)> {
        let burst = (
            prop_oneof![
                0..YEAR * 60,
                YEAR * 49..YEAR * 51,
                YEAR * 50 - DAY..YEAR * 50,
                Just(YEAR * 50),
                YEAR * 50..YEAR * 50 + 90 * SECOND,
            ],
            prop_oneof![Just(0), Just(1), Just(700), 0..DAY],
            1..120_u64,
        );
        prop::collection::vec(burst, 0..8).prop_map(|bursts| {
            let count = bursts.len();
            let mut moments = Vec::new();
            for (number, (at, gap, count)) in bursts.into_iter().enumerate() {
                moments.extend((0..count).map(|n| (at + n * gap, number as u64 * 1_000 + n)));
            }
            (count, moments)
        })
    }

    /// Time is counted from fifty years ago, so that there is a past.
    fn moment(ms: u64) -> Time {
        NOW.minus_ms(50 * YEAR).plus_ms(ms)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_list_is_what_a_full_scan_would_give(
            (bursts, moments) in moments(),
            page in prop_oneof![2..20_usize, Just(1_000)],
            max in 1..200_usize,
            status in prop_oneof![
                Just(vec![]), Just(vec![State::Success]), Just(vec![State::Error]), Just(vec![State::Error, State::Success]),
            ],
            route in prop_oneof![Just(None), Just(Some("/a")), Just(Some("/b"))],
            from in prop::option::of(0..YEAR * 60),
            to in prop::option::of(0..YEAR * 60),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(async {
                let world = World::with_pages(page);
                let mut model: BTreeMap<CallId, (State, &str)> = BTreeMap::new();
                for (ms, number) in moments {
                    let state = if number % 3 == 0 { State::Error } else { State::Success };
                    let route = if number % 5 == 0 { "/a" } else { "/b" };
                    if model.insert(call_at(moment(ms), number), (state, route)).is_none() {
                        let id = call_at(moment(ms), number);
                        world.status(id, &world.outcome(id, state, route)).await;
                    }
                }
                let mut filter = Filter {
                    status: status.clone(),
                    route: route.map(|route| route.parse().expect("a route")),
                    from: from.map(moment),
                    to: to.map(moment),
                    max,
                    cursor: None,
                };
                let expected: Vec<CallId> = model
                    .iter()
                    .rev()
                    .filter(|(id, _)| filter.from.is_none_or(|from| id.time() > from))
                    .filter(|(id, _)| filter.to.is_none_or(|to| id.time() < to))
                    .filter(|(_, (state, _))| status.is_empty() || status.contains(state))
                    .filter(|(_, (_, path))| route.is_none_or(|wanted| *path == wanted))
                    .map(|(id, _)| *id)
                    .collect();

                let mut seen = Vec::new();
                loop {
                    let before = world.counts.snapshot().list.requests;
                    let list = listed(&world, &filter).await;
                    let lists = world.counts.snapshot().list.requests - before;
                    let pages = 1 + list.scanned / page;
                    // A burst costs the halvings that lead to it, a silence the doublings that cross it.
                    prop_assert!(lists as usize <= 2 * pages + 40 * (1 + bursts), "{lists} lists for {pages} pages, {bursts} bursts");
                    prop_assert!(list.calls.len() <= max);
                    seen.extend(ids(&list));
                    match list.cursor {
                        Some(cursor) => filter.cursor = Some(cursor),
                        None => break,
                    }
                }
                prop_assert_eq!(seen, expected);
                Ok(())
            })?;
        }
    }
}
