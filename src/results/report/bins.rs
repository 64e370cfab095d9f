//! Histograms over time and over durations of unknown length: bins over time double in width when they do not suffice, bins
//! over durations have widths that grow with the duration.

/// Bins of a time line, at most this many.
pub const BINS_MAX: usize = 160;

/// What happened in each stretch of time, from a beginning on.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeBins<const N: usize> {
    pub width_ms: u64,
    pub bins: Vec<[u64; N]>,
}

impl<const N: usize> Default for TimeBins<N> {
    fn default() -> TimeBins<N> {
        TimeBins { width_ms: 1, bins: Vec::new() }
    }
}

impl<const N: usize> TimeBins<N> {
    pub fn add(&mut self, at_ms: u64, kind: usize, value: u64) {
        let index = self.reach(at_ms);
        self.bins[index][kind] += value;
    }

    /// Adds the milliseconds from one moment to another, to each bin those that lie in it.
    pub fn add_stretch(&mut self, from_ms: u64, to_ms: u64, kind: usize) {
        if to_ms <= from_ms {
            return;
        }
        let last = self.reach(to_ms - 1);
        let first = (from_ms / self.width_ms) as usize;
        for index in first..=last {
            let (start, end) = (index as u64 * self.width_ms, (index as u64 + 1) * self.width_ms);
            self.bins[index][kind] += to_ms.min(end) - from_ms.max(start);
        }
    }

    fn reach(&mut self, at_ms: u64) -> usize {
        while at_ms / self.width_ms >= BINS_MAX as u64 {
            self.widen();
        }
        let index = (at_ms / self.width_ms) as usize;
        if self.bins.len() <= index {
            self.bins.resize(index + 1, [0; N]);
        }
        index
    }

    fn widen(&mut self) {
        self.width_ms *= 2;
        let pairs = self.bins.chunks(2);
        let sum = |pair: &[[u64; N]]| std::array::from_fn(|kind| pair.iter().map(|bin| bin[kind]).sum());
        self.bins = pairs.map(sum).collect();
    }

    /// The same in bins of at least this width. Widths are powers of two, so that all can be made alike.
    pub fn at_least(&self, width_ms: u64) -> TimeBins<N> {
        let mut wide = self.clone();
        while wide.width_ms < width_ms {
            wide.widen();
        }
        wide
    }

    pub fn end_ms(&self) -> u64 {
        self.bins.len() as u64 * self.width_ms
    }
}

/// Bins per doubling: a quantile is exact to three per cent.
const FINE: f64 = 24.0;

/// How often each duration occurred.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Durations {
    fine: Vec<u64>,
    pub count: u64,
    pub max_ms: u64,
}

impl Durations {
    pub fn add(&mut self, ms: u64) {
        let index = ((ms as f64 + 1.0).log2() * FINE).round() as usize;
        if self.fine.len() <= index {
            self.fine.resize(index + 1, 0);
        }
        self.fine[index] += 1;
        self.count += 1;
        self.max_ms = self.max_ms.max(ms);
    }

    /// The duration that this share of all does not exceed.
    pub fn quantile(&self, share: f64) -> u64 {
        let wanted = (self.count as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, count) in self.fine.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return (ms_of(index as f64).round() as u64).min(self.max_ms);
            }
        }
        self.max_ms
    }

    /// Wider bins for the eye, as many per doubling: from, to, count.
    pub fn coarse(&self, per_doubling: f64) -> Vec<(f64, f64, u64)> {
        let step = (FINE / per_doubling) as usize;
        let first = self.fine.iter().position(|count| *count > 0).unwrap_or_default() / step;
        let chunks = self.fine.chunks(step).enumerate().skip(first);
        let edge = |index: usize| ms_of((index * step) as f64 - 0.5);
        chunks.map(|(index, chunk)| (edge(index).max(0.0), edge(index + 1), chunk.iter().sum())).collect()
    }
}

fn ms_of(index: f64) -> f64 {
    (index / FINE).exp2() - 1.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_is_lost_however_often_bins_widen(stretches in prop::collection::vec((0u64..1 << 33, 0u64..1 << 20), 1..60)) {
            let mut bins = TimeBins::<2>::default();
            let mut sum = 0;
            for (from, length) in &stretches {
                bins.add_stretch(*from, from + length, 0);
                bins.add(*from, 1, 1);
                sum += length;
            }
            prop_assert!(bins.bins.len() <= BINS_MAX);
            prop_assert_eq!(bins.bins.iter().map(|bin| bin[0]).sum::<u64>(), sum);
            prop_assert_eq!(bins.bins.iter().map(|bin| bin[1]).sum::<u64>(), stretches.len() as u64);
            prop_assert!(bins.bins.iter().all(|bin| bin[0] <= bins.width_ms * stretches.len() as u64));
            let last = stretches.iter().map(|(from, _)| *from).max().unwrap();
            prop_assert!(bins.end_ms() > last);
            let wide = bins.at_least(bins.width_ms * 3);
            prop_assert_eq!(wide.width_ms, bins.width_ms * 4);
        }

        #[test]
        fn quantiles_are_close(mut durations in prop::collection::vec(prop_oneof![0u64..50, 0u64..100_000_000], 1..300)) {
            let mut counted = Durations::default();
            durations.iter().for_each(|ms| counted.add(*ms));
            durations.sort_unstable();
            for share in [0.0, 0.5, 0.9, 0.99, 1.0] {
                let exact = durations[((durations.len() as f64 * share).ceil().max(1.0) as usize) - 1] as f64;
                let near = counted.quantile(share) as f64;
                prop_assert!((near - exact).abs() <= exact * 0.03 + 1.0, "{near} for {exact}");
            }
            let coarse = counted.coarse(4.0);
            prop_assert_eq!(coarse.iter().map(|(_, _, count)| count).sum::<u64>(), durations.len() as u64);
            prop_assert!(coarse.windows(2).all(|pair| pair[0].1 == pair[1].0));
        }
    }
}
