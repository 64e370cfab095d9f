//! The bar on a terminal: one line that is drawn over.

use super::progress::{Pace, Sight, details};

const FULL: char = '█';
const EMPTY: char = '░';
const BAR_MAX: usize = 30;
/// Columns where the terminal does not say.
const WIDTH: usize = 80;

/// As wide as the terminal at most; what does not fit is left out from the end.
pub fn draw(sight: &Sight, pace: &Pace, width: usize) -> String {
    let mut text = match sight.share() {
        Some(share) => {
            let columns = (width / 4).clamp(5, BAR_MAX);
            let full = (share * columns as f64) as usize;
            let bar: String = (0..columns).map(|column| if column < full { FULL } else { EMPTY }).collect();
            format!("{bar} {:>3}% {}/{}", (share * 100.0) as u64, sight.decided(), sight.calls)
        }
        None => format!("{} of {} and more", sight.decided(), sight.calls.max(sight.decided())),
    };
    for part in details(sight, pace) {
        let longer = text.chars().count() + 3 + part.chars().count();
        if longer < width {
            text.push_str(" · ");
            text.push_str(&part);
        }
    }
    text.chars().take(width.saturating_sub(1)).collect()
}

/// Columns of the terminal that stderr is.
pub fn width() -> usize {
    match rustix::termios::tcgetwinsize(std::io::stderr()) {
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col),
        _ => WIDTH,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::model::State;

    #[test]
    fn it_fits_whatever_the_width() {
        let sight = Sight {
            calls: 2_000,
            is_whole: true,
            counts: BTreeMap::from([(State::Success, 990), (State::Error, 10)]),
            workers: 2,
            dollars: 0.01,
        };
        let pace = Pace { elapsed: Duration::ZERO, rate: Some(100.0), left: Some(Duration::from_secs(10)) };
        let drawn = draw(&sight, &pace, 120);
        assert_eq!(
            drawn,
            "███████████████░░░░░░░░░░░░░░░  50% 1000/2000 · 990 success · 10 error · 100/s · 10s left · 2 workers · $0.010"
        );
        for width in [0, 1, 10, 40, 80] {
            assert!(draw(&sight, &pace, width).chars().count() <= width, "{width}");
        }
        let open = Sight { is_whole: false, ..sight };
        assert!(draw(&open, &pace, 80).starts_with("1000 of 2000 and more · "));
    }
}
