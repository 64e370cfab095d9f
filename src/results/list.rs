//! Which calls there are, newest first; a batch is one row among them, whatever it holds.

use futures_util::{StreamExt as _, stream};
use serde::Serialize;

use super::batch::BatchRow;
use super::batch::list::row;
use super::call::{CallView, look};
use super::merge::{Item, Merge};
use super::window::bits;
use crate::error::{Code, Result};
use crate::limits;
use crate::model::{AppName, CallId, Route, State, Time};
use crate::seam::Seams;

/// Which calls are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Any of these; empty for all.
    pub status: Vec<State>,
    pub route: Option<Route>,
    /// Created after this, as Fn has it: not at it.
    pub from: Option<Time>,
    /// Created before this, not at it.
    pub to: Option<Time>,
    pub max: usize,
    /// Only calls older than this one.
    pub cursor: Option<CallId>,
    /// A row for every batch too, unless calls of some status are asked for: a batch has calls of many.
    pub batches: bool,
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
            batches: false,
        }
    }
}

impl Filter {
    /// What is not known yet is not held against a call. While there is no outcome, only unfinished states are left.
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

    /// Whether every call that is read will be in the list.
    fn wants_all(&self) -> bool {
        self.status.is_empty() && self.route.is_none()
    }
}

/// Some calls of an app, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CallList {
    pub calls: Vec<CallView>,
    /// Batches of the same stretch of time, newest first, if they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub batches: Vec<BatchRow>,
    /// How many calls were looked at to find these.
    pub scanned: usize,
    /// Set when there may be more: give it as the filter's cursor to go on.
    pub cursor: Option<CallId>,
    /// Calls whose objects make no sense; they are told instead of hidden, and hide no others.
    pub unreadable: Vec<Unreadable>,
}

/// One line of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    Call(&'a CallView),
    Batch(&'a BatchRow),
}

impl CallList {
    /// Calls and batches together, newest first.
    pub fn lines(&self) -> Vec<Line<'_>> {
        let calls = self.calls.iter().map(|call| (u128::from(call.id), Line::Call(call)));
        let batches = self.batches.iter().map(|batch| (u128::from(batch.batch), Line::Batch(batch)));
        let mut lines: Vec<(u128, Line<'_>)> = calls.chain(batches).collect();
        lines.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
        lines.into_iter().map(|(_, line)| line).collect()
    }

    fn len(&self) -> usize {
        self.calls.len() + self.batches.len()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// Of a call, or of a batch.
    pub id: String,
    pub why: String,
}

/// Looks at calls from the newest back, until `filter.max` are found, the past has ended, or
/// [`limits::LIST_SCAN_MAX`] were looked at.
pub async fn list(seams: &Seams, app: &AppName, filter: &Filter) -> Result<CallList> {
    let start = filter.from.map_or(0, |from| bits(from.plus_ms(1)));
    let end = filter.to.map_or(u128::MAX, bits).min(filter.cursor.map_or(u128::MAX, u128::from));
    let batches = filter.batches && filter.status.is_empty();
    let mut found =
        CallList { calls: Vec::new(), batches: Vec::new(), scanned: 0, cursor: None, unreadable: Vec::new() };
    if filter.max == 0 {
        return Ok(found);
    }
    let mut merge = Merge::new(seams, app, start..end, batches);
    while let Some(items) = merge.next().await? {
        let missing = filter.max - found.len();
        let worth_reading = if filter.wants_all() { missing } else { items.len() };
        let ahead = items.iter().copied().take(worth_reading);
        let mut looks = stream::iter(ahead)
            .map(|item| async move { (item, look_at(seams, app, item, filter).await) })
            .buffered(limits::READ_AHEAD_MAX);
        let mut looked_at = 0;
        while let Some((item, look)) = looks.next().await {
            looked_at += 1;
            found.scanned += 1;
            match look {
                Ok(None) => {}
                Ok(Some(Seen::Call(view))) => found.calls.push(*view),
                Ok(Some(Seen::Batch(row))) => found.batches.push(*row),
                Err(error) if error.code() == Code::Internal => {
                    let id = match item {
                        Item::Call(id) => id.to_string(),
                        Item::Batch(id) => id.to_string(),
                    };
                    found.unreadable.push(Unreadable { id, why: error.to_string() });
                }
                Err(error) => return Err(error),
            }
            if found.len() == filter.max || found.scanned == limits::LIST_SCAN_MAX {
                let more = looked_at < items.len() || !merge.is_done();
                found.cursor = more.then(|| cursor(item));
                return Ok(found);
            }
        }
        drop(looks);
        // Calls that are gone meanwhile leave room that the rest of the page fills.
        if looked_at < items.len() {
            merge.put_back(&items[looked_at..]);
        }
    }
    Ok(found)
}

enum Seen {
    Call(Box<CallView>),
    Batch(Box<BatchRow>),
}

async fn look_at(seams: &Seams, app: &AppName, item: Item, filter: &Filter) -> Result<Option<Seen>> {
    match item {
        Item::Call(id) => {
            let view = look(seams, app, id, |state, route| filter.wants(state, route)).await?;
            Ok(view.map(|view| Seen::Call(Box::new(view))))
        }
        Item::Batch(id) => {
            let row = row(seams, app, id).await?;
            Ok(row.filter(|row| filter.wants(None, row.route.as_ref())).map(|row| Seen::Batch(Box::new(row))))
        }
    }
}

/// What only older ones than this come after. No call has a batch's own id: the id below it stands for it, which has
/// the form of a call's and is nobody's.
fn cursor(item: Item) -> CallId {
    match item {
        Item::Call(id) => id,
        Item::Batch(id) => id.cursor(),
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
        list(&world.seams, &world.app, filter).await.expect("a list")
    }

    fn ids(list: &CallList) -> Vec<CallId> {
        list.calls.iter().map(|view| view.id).collect()
    }

    #[tokio::test]
    async fn an_app_without_calls_has_an_empty_list() {
        let world = World::new();
        let list = listed(&world, &Filter::default()).await;
        assert_eq!(
            list,
            CallList { calls: vec![], batches: vec![], scanned: 0, cursor: None, unreadable: vec![] }
        );
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
                    batches: false,
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
