//! From values to places in a plot, and the round values that are written at its sides.

/// Maps a range of values to a range of places.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    pub max: f64,
    pub from: f64,
    pub to: f64,
}

impl Scale {
    pub fn at(&self, value: f64) -> f64 {
        let share = if self.max > 0.0 { (value / self.max).clamp(0.0, 1.0) } else { 0.0 };
        self.from + (self.to - self.from) * share
    }
}

const DAY: u64 = 24 * 60 * 60 * 1_000;
/// In milliseconds, from a millisecond to two days.
const TIME_STEPS: [[u64; 3]; 9] = {
    const S: u64 = 1_000;
    const M: u64 = 60 * S;
    const H: u64 = 60 * M;
    [
        [1, 2, 5],
        [10, 20, 50],
        [100, 200, 500],
        [S, 2 * S, 5 * S],
        [10 * S, 20 * S, 30 * S],
        [M, 2 * M, 5 * M],
        [10 * M, 20 * M, 30 * M],
        [H, 2 * H, 6 * H],
        [12 * H, DAY, 2 * DAY],
    ]
};

/// Round moments of a time line, from 0 on, about eight of them.
pub fn time_ticks(end_ms: u64) -> Vec<u64> {
    let step = TIME_STEPS.as_flattened().iter().copied().find(|step| end_ms / step <= 8);
    let step = step.unwrap_or_else(|| end_ms.div_ceil(8).div_ceil(DAY) * DAY);
    (0..).map(|index| index * step).take_while(|tick| *tick <= end_ms).collect()
}

/// Round values from 0 up to the first that is not below `max`.
pub fn value_ticks(max: f64) -> Vec<f64> {
    if max <= 0.0 {
        return vec![0.0, 1.0];
    }
    let rough = max / 4.0;
    let power = 10f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 2.5, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(power * 10.0);
    let count = (max / step - 1e-9).ceil() as usize;
    (0..=count).map(|index| index as f64 * step).collect()
}

/// Durations between two, in a logarithmic plot: 1, 2, 5, 10, …
pub fn duration_ticks(from_ms: f64, to_ms: f64) -> Vec<u64> {
    let round =
        TIME_STEPS.as_flattened().iter().copied().filter(|ms| (from_ms..=to_ms).contains(&(*ms as f64)));
    let round: Vec<u64> = round.collect();
    let every = round.len().div_ceil(10).max(1);
    round.into_iter().step_by(every).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(time_ticks(62_500), [0, 10, 20, 30, 40, 50, 60].map(|s| s * 1_000));
        assert_eq!(time_ticks(0), [0]);
        assert!(time_ticks(400 * DAY).len() <= 9);
        assert_eq!(value_ticks(7.0), [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(value_ticks(100.0), [0.0, 25.0, 50.0, 75.0, 100.0]);
        assert_eq!(duration_ticks(8.0, 130.0), [10, 20, 50, 100]);
        let scale = Scale { max: 10.0, from: 100.0, to: 0.0 };
        assert_eq!([scale.at(0.0), scale.at(5.0), scale.at(20.0)], [100.0, 50.0, 0.0]);
    }
}
