//! What a day brings, drawn from its seed: the weather, the machines, the functions' ways, and what people do.

use std::time::Duration;

use afn::layout::batch::{Chunking, MaxFailures};
use afn::seam::fault::Rates;
use afn::seam::rng::{RngExt as _, SeededRng};

/// How the function behaves on one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Answers,
    Fails,
    /// Fails so many times, then answers.
    FailsFirst(u32),
    /// Asks so many times to be tried again, then answers.
    BusyFirst(u32),
    RunsTooLong,
    /// Takes its worker along, every time.
    Kills,
    CannotStart,
    /// Even workers cannot start it. There is an odd one.
    StartsOnOdd,
    /// Even workers find out, once it has begun, that they cannot run it. There is an odd one.
    Elsewhere,
}

/// The functions that single calls are drawn for; their routes are their names.
pub const FUNCTIONS: [&str; 4] = ["once", "patient", "long", "arm"];
/// Has more attempts than any of them.
pub const STUBBORN: &str = "stubborn";

/// How often a function's calls are tried.
pub fn attempts_max(function: &str) -> u32 {
    match function {
        "patient" => 3,
        STUBBORN => 5,
        _ => 1,
    }
}

#[derive(Debug, Clone)]
pub struct Plan {
    pub rates: Rates,
    /// Keys in one page of a list.
    pub page: usize,
    pub workers: usize,
    pub slots: usize,
    pub visibility: Duration,
    /// Reconciler and supervisors send again by themselves.
    pub resend: bool,
    pub calls: Vec<CallPlan>,
    pub batches: Vec<BatchPlan>,
    /// Deaths, and freezes and cuts beyond the lease, that are nobody's fault.
    pub disturbances: u64,
    /// All queues lose all that they hold.
    pub purge: bool,
    pub drains: u64,
    /// So many workers, the last ones, join late.
    pub late: usize,
    /// How many workers, from the first on, cannot run anything for a while.
    pub sick: usize,
    /// A sick worker says that it is well whenever it is asked.
    pub sick_in_secret: bool,
    /// Nothing is lost and nobody dies: there are only drains, sick workers, mismatches and failures, so that every
    /// execution can be accounted for.
    pub calm: bool,
    /// Workers die of the calls that kill them and of nothing else, so that the cost of such a call can be counted.
    pub only_killers: bool,
    /// Deletion is looked at too.
    pub weeks_later: bool,
    /// Messages of another store lie on the queues.
    pub strangers: bool,
}

#[derive(Debug, Clone)]
pub struct CallPlan {
    pub function: &'static str,
    pub way: Way,
    pub takes: Duration,
    pub at: Duration,
    pub delay: Duration,
    pub cancel_after: Option<Duration>,
    /// Submitted twice under one idempotency key, by two processes, the second so much later.
    pub twice: Option<Duration>,
    /// The submitting process dies this long into it.
    pub dies_after: Option<Duration>,
    /// Of the submitting process so many requests go through, and then none.
    pub cut_after: Option<u64>,
}

#[derive(Debug, Clone)]
pub struct BatchPlan {
    pub function: &'static str,
    pub ways: Vec<Way>,
    pub takes: Duration,
    pub at: Duration,
    pub chunking: Chunking,
    /// It comes from the standard input, and cannot be read again.
    pub stdin: bool,
    /// The source gives so many records, then nothing for so long.
    pub trickles: Option<(usize, Duration)>,
    /// The submitting process dies this long into it.
    pub dies_after: Option<Duration>,
    /// Of the submitting process so many requests go through, and then none.
    pub cut_after: Option<u64>,
    /// It stands still: when, and for how long.
    pub pauses: Option<(Duration, Duration)>,
    /// Other processes resume it meanwhile, this long after it was begun.
    pub resumes: Vec<Duration>,
    pub cancel_after: Option<Duration>,
    /// One of its calls is cancelled: which, and when.
    pub cancel_call: Option<(u64, Duration)>,
    pub then: bool,
    pub max_failures: Option<MaxFailures>,
    /// What failed is tried again in a batch of its own.
    pub retry: bool,
    /// At most so many of its calls run at once.
    pub limit: Option<u32>,
    /// When it is paused, and for how long.
    pub paused: Option<(Duration, Duration)>,
}

impl Plan {
    pub fn draw(rng: &SeededRng, resend: bool) -> Plan {
        let chance = |of: u64| rng.below(of) == 0;
        let mut rates = match rng.below(4) {
            0 => Rates::default(),
            1 => Rates { lose_reply: 500, late: 200, late_max: Duration::from_secs(60), ..Rates::default() },
            _ => Rates::bad_day(),
        };
        if chance(5) {
            rates = Rates { lag: 300, lag_max: Duration::from_secs(3), ..rates };
        }
        let calls = (0..rng.below(9)).map(|_| CallPlan::draw(rng)).collect();
        let batches = (0..rng.below(3)).map(|_| BatchPlan::draw(rng)).collect();
        let mut plan = Plan {
            rates,
            page: [1_000, 1_000, 40, 6][rng.below(4) as usize],
            workers: 1 + rng.below(4) as usize,
            slots: 1 + rng.below(3) as usize,
            visibility: Duration::from_secs(30 + rng.below(31)),
            resend,
            calls,
            batches,
            disturbances: rng.below(4),
            purge: chance(6),
            drains: rng.below(3),
            late: 0,
            sick: if chance(4) { 1 + rng.below(4) as usize } else { 0 },
            sick_in_secret: chance(2),
            calm: false,
            only_killers: false,
            weeks_later: chance(3),
            strangers: false,
        };
        // Drawn last, so that the days are otherwise those of before.
        let backlog = chance(15);
        plan.strangers = chance(6);
        if let Some(batch) = plan.batches.first_mut().filter(|_| chance(6)) {
            // Its source is silent for so long that its supervisor rests.
            let (_, dies) = (batch.trickles.take(), batch.dies_after.take());
            batch.trickles = Some((1 + rng.below(20) as usize, Duration::from_secs(660 + rng.below(900))));
            batch.dies_after = dies.filter(|_| chance(2)).map(|dies| dies * 30);
        }
        let plan = if backlog { plan.of_a_backlog() } else { plan };
        let mut plan = match rng.below(16) {
            0 | 1 => plan.widened(rng),
            2..=4 => plan.widened(rng).of_a_calm_day(),
            5 => plan.of_a_mixed_fleet(),
            6 => plan.of_a_killer(rng),
            7 => plan.of_a_lost_submitter(rng),
            8 => plan.of_a_limit(rng),
            _ => plan,
        };
        for batch in plan.batches.iter_mut().filter(|batch| batch.limit.is_none()) {
            batch.limit = (rng.below(4) == 0).then(|| 1 + rng.below(4) as u32);
            batch.paused = (rng.below(6) == 0).then(|| (ms(rng, 120_000), ms(rng, 300_000)));
        }
        plan
    }

    /// Names of the functions that the day needs.
    pub fn functions(&self) -> Vec<&'static str> {
        let is_stubborn = self.batches.iter().any(|batch| batch.function == STUBBORN)
            || self.calls.iter().any(|call| call.function == STUBBORN);
        FUNCTIONS.into_iter().chain(is_stubborn.then_some(STUBBORN)).collect()
    }

    /// Mismatches midway in ranges, many drains, workers that come late, calls with many attempts, batches for which not
    /// every worker suits.
    fn widened(mut self, rng: &SeededRng) -> Plan {
        self.workers = self.workers.max(2);
        self.drains = rng.below(8);
        self.late = rng.below(3) as usize;
        self.batches.extend((0..rng.below(3)).map(|_| BatchPlan::draw(rng)));
        for batch in &mut self.batches {
            batch.function = ["patient", "once", "long", STUBBORN, STUBBORN, "arm"][rng.below(6) as usize];
            batch.takes = Duration::from_millis([0, 200, 5_000, 20_000, 29_000][rng.below(5) as usize]);
            let elsewhere = rng.below(2) == 0;
            for way in &mut batch.ways {
                match rng.below(16) {
                    0 | 1 => *way = Way::FailsFirst(1 + rng.below(4) as u32),
                    2 if elsewhere => *way = Way::Elsewhere,
                    3 if *way == Way::Kills => *way = Way::Answers,
                    _ => {}
                }
            }
        }
        for call in &mut self.calls {
            match rng.below(4) {
                0 => {
                    (call.function, call.way) = (STUBBORN, Way::FailsFirst(1 + rng.below(6) as u32));
                    call.takes = call.takes.min(Duration::from_secs(25));
                }
                1 => call.way = Way::Elsewhere,
                _ => {}
            }
        }
        self
    }

    /// More than an hour of work for the one worker of two that suits.
    fn of_a_mixed_fleet(mut self) -> Plan {
        (self.workers, self.slots, self.purge, self.sick) = (2, 1, false, 0);
        self.batches.truncate(1);
        for batch in &mut self.batches {
            batch.function = "arm";
            batch.ways = vec![Way::Answers; 200];
            batch.takes = Duration::from_secs(25);
        }
        self
    }

    /// Fair weather, and one call that takes its worker along: a second one may take a worker along that has sent the first anew
    /// and not yet deleted its old message.
    fn of_a_killer(mut self, rng: &SeededRng) -> Plan {
        self.rates = Rates::default();
        (self.workers, self.slots) = (2, 1 + rng.below(3) as usize);
        (self.only_killers, self.purge, self.strangers) = (true, false, false);
        (self.disturbances, self.drains, self.sick) = (0, 0, 0);
        let is_single = rng.below(2) == 0;
        self.calls =
            is_single.then(|| CallPlan { way: Way::Kills, ..CallPlan::draw(rng) }).into_iter().collect();
        self.batches = vec![BatchPlan::draw(rng)];
        for call in &mut self.calls {
            (call.cancel_after, call.twice, call.dies_after, call.cut_after) = (None, None, None, None);
        }
        for batch in &mut self.batches {
            batch.ways = vec![Way::Answers; 2 + rng.below(20) as usize];
            let killer = rng.below(batch.ways.len() as u64) as usize;
            batch.ways[killer] = if is_single { Way::Answers } else { Way::Kills };
            batch.takes = Duration::from_secs([1, 5, 20][rng.below(3) as usize]);
            (batch.dies_after, batch.cut_after, batch.pauses, batch.retry) = (None, None, None, false);
            (batch.cancel_after, batch.cancel_call, batch.max_failures) = (None, None, None);
            batch.resumes.clear();
        }
        self
    }

    /// Its connection is cut while chunks are on their way, some of which arrive; then the batch is cancelled.
    fn of_a_lost_submitter(mut self, rng: &SeededRng) -> Plan {
        self.rates = Rates::bad_day();
        self.purge = false;
        self.batches = vec![BatchPlan::draw(rng)];
        for batch in &mut self.batches {
            batch.ways = vec![Way::Answers; 60];
            (batch.takes, batch.trickles, batch.pauses) = (Duration::ZERO, None, None);
            (batch.chunking.calls_min, batch.chunking.chunks_per_doubling) = (1, 16);
            (batch.dies_after, batch.cut_after) = (None, Some(8 + rng.below(60)));
            (batch.cancel_after, batch.cancel_call, batch.max_failures) =
                (Some(Duration::from_secs(60 + rng.below(60))), None, None);
            batch.resumes.clear();
        }
        self
    }

    /// Workers that share a limit lose their connections, or stand still.
    fn of_a_limit(mut self, rng: &SeededRng) -> Plan {
        (self.workers, self.slots, self.disturbances) = (3, 1 + rng.below(3) as usize, 4);
        (self.purge, self.sick) = (false, 0);
        self.batches = vec![BatchPlan::draw(rng)];
        for batch in &mut self.batches {
            batch.ways = vec![Way::Answers; 60];
            batch.limit = Some(1 + rng.below(3) as u32);
            batch.takes = Duration::from_secs([2, 5, 10][rng.below(3) as usize]);
            if rng.below(4) == 0 {
                // One of the two suits, and the other may have the limit first.
                (self.workers, self.slots) = (2, 3);
                (batch.limit, batch.paused) = (Some(1), None);
                batch.takes = Duration::from_secs(25);
                batch.ways.fill(Way::Elsewhere);
            }
            (batch.cancel_after, batch.cancel_call, batch.max_failures) = (None, None, None);
        }
        self
    }

    fn of_a_calm_day(mut self) -> Plan {
        self.rates = Rates::default();
        (self.calm, self.purge, self.disturbances) = (true, false, 0);
        let tame = |way: &mut Way| {
            if matches!(way, Way::Kills | Way::RunsTooLong) {
                *way = Way::Fails;
            }
        };
        for (index, call) in self.calls.iter_mut().enumerate() {
            if let Way::FailsFirst(times) = call.way
                && index % 2 == 0
            {
                call.way = Way::BusyFirst(times + 2);
            }
            tame(&mut call.way);
            (call.cancel_after, call.twice, call.dies_after, call.cut_after) = (None, None, None, None);
        }
        for batch in &mut self.batches {
            batch.ways.iter_mut().for_each(tame);
            // A process that asks to be tried again, where it would have failed.
            for way in batch.ways.iter_mut().step_by(2) {
                if let Way::FailsFirst(times) = *way {
                    *way = Way::BusyFirst(times + 2);
                }
            }
            // No draw of its own, so that the days are otherwise those of before.
            if batch.ways.len().is_multiple_of(4) {
                batch.ways.fill(if self.workers < 2 { Way::CannotStart } else { Way::StartsOnOdd });
            }
            (batch.dies_after, batch.cut_after, batch.pauses, batch.retry) = (None, None, None, false);
            (batch.cancel_after, batch.cancel_call, batch.max_failures) = (None, None, None);
            batch.resumes.clear();
        }
        self
    }

    /// Hours of work for one slot: chunks wait longer than a lost one would (N6).
    fn of_a_backlog(mut self) -> Plan {
        (self.workers, self.slots, self.purge, self.sick) = (1, 1, false, 0);
        for batch in self.batches.iter_mut().take(1) {
            batch.function = "long";
            batch.ways = vec![Way::Answers; 45];
            batch.takes = Duration::from_secs(150);
        }
        self.batches.truncate(1);
        self
    }
}

fn ms(rng: &SeededRng, max: u64) -> Duration {
    Duration::from_millis(rng.below(max))
}

impl CallPlan {
    fn draw(rng: &SeededRng) -> CallPlan {
        let chance = |of: u64| rng.below(of) == 0;
        let function = FUNCTIONS[rng.below(4) as usize];
        let way = match rng.below(12) {
            0 => Way::Fails,
            1 => Way::FailsFirst(1 + rng.below(3) as u32),
            2 => Way::RunsTooLong,
            3 | 4 => Way::Kills,
            5 => Way::CannotStart,
            _ => Way::Answers,
        };
        let takes = match rng.below(3) {
            0 => ms(rng, 50),
            1 => ms(rng, 5_000),
            _ => ms(rng, if function == "long" { 200_000 } else { 25_000 }),
        };
        CallPlan {
            function,
            way,
            takes,
            at: ms(rng, 60_000),
            delay: if chance(5) { ms(rng, 120_000) } else { Duration::ZERO },
            cancel_after: chance(6).then(|| ms(rng, 90_000)),
            twice: chance(4).then(|| if chance(2) { Duration::ZERO } else { ms(rng, 200_000) }),
            dies_after: chance(6).then(|| ms(rng, 2_000)),
            cut_after: chance(5).then(|| rng.below(10)),
        }
    }
}

impl BatchPlan {
    fn draw(rng: &SeededRng) -> BatchPlan {
        let chance = |of: u64| rng.below(of) == 0;
        let poison = chance(2);
        let calls = 1 + rng.below(60);
        let ways = (0..calls).map(|_| match rng.below(24) {
            0 => Way::Fails,
            1 => Way::FailsFirst(1 + rng.below(2) as u32),
            2 => Way::RunsTooLong,
            3 if poison => Way::Kills,
            4 => Way::CannotStart,
            _ => Way::Answers,
        });
        let ways = ways.collect();
        BatchPlan {
            function: if chance(2) { "patient" } else { "once" },
            ways,
            takes: Duration::from_millis([0, 200, 5_000, 20_000, 20_000][rng.below(5) as usize]),
            at: ms(rng, 60_000),
            chunking: Chunking {
                v: 1,
                calls_min: 1 + rng.below(8),
                calls_max: 16,
                chunks_per_doubling: 1 + rng.below(4),
                bytes_max: 1 << 20,
                first_calls: [0, 3, 15, 60][rng.below(4) as usize],
            },
            stdin: chance(4),
            trickles: chance(3).then(|| (1 + rng.below(20) as usize, ms(rng, 30_000))),
            dies_after: chance(4).then(|| ms(rng, [500, 5_000, 60_000][rng.below(3) as usize])),
            cut_after: chance(6).then(|| rng.below(30)),
            pauses: chance(4).then(|| (ms(rng, 5_000), ms(rng, 90_000))),
            resumes: (0..if chance(3) { 1 + rng.below(2) } else { 0 }).map(|_| ms(rng, 90_000)).collect(),
            cancel_after: chance(6).then(|| ms(rng, 120_000)),
            cancel_call: chance(6).then(|| (1 + rng.below(calls), ms(rng, 60_000))),
            then: chance(3),
            max_failures: chance(6).then(|| MaxFailures::Count(1 + rng.below(4))),
            retry: chance(4),
            limit: None,
            paused: None,
        }
    }
}
