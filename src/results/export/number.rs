//! JSON numbers, exactly: which types of a table hold them without a changed digit.

use crate::layout::table::DECIMAL_DIGITS;

/// A number as its digits and a power of ten: `-12.50e3` is -125 × 10².
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Number {
    is_negative: bool,
    /// Without zeros at either end: none for zero.
    digits: String,
    exponent: i64,
}

/// Far beyond all that a type of a table holds.
const EXPONENT_MAX: i64 = 1 << 40;

impl Number {
    /// `json`: a number by JSON's grammar, else `None`.
    pub fn of(json: &str) -> Option<Number> {
        let (is_negative, rest) = match json.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, json),
        };
        rest.starts_with(|first: char| first.is_ascii_digit()).then_some(())?;
        let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let least = if exponent.starts_with('-') { -EXPONENT_MAX } else { EXPONENT_MAX };
        let exponent: i64 = exponent.parse().unwrap_or(least).clamp(-EXPONENT_MAX, EXPONENT_MAX);
        let all = format!("{whole}{fraction}");
        let digits = all.trim_end_matches('0');
        let exponent = exponent - fraction.len() as i64 + (all.len() - digits.len()) as i64;
        let digits = digits.trim_start_matches('0').to_owned();
        let exponent = if digits.is_empty() { 0 } else { exponent };
        Some(Number { is_negative, digits, exponent })
    }

    /// Whether a double gives the number back: its shortest form is the same number.
    pub fn is_double(&self) -> bool {
        let sign = if self.is_negative { "-" } else { "" };
        let digits = if self.digits.is_empty() { "0" } else { &self.digits };
        let double: f64 = format!("{sign}{digits}e{}", self.exponent).parse().unwrap_or(f64::INFINITY);
        double.is_finite() && Number::of(&format!("{double:e}")).as_ref() == Some(self)
    }

    /// Digits before and behind the point. A decimal has no negative zero: `None`.
    pub fn decimal_digits(&self) -> Option<(u64, u64)> {
        if self.digits.is_empty() {
            return (!self.is_negative).then_some((0, 0));
        }
        let whole = (self.digits.len() as i64).saturating_add(self.exponent).max(0);
        Some((whole as u64, self.exponent.min(0).unsigned_abs()))
    }

    /// The number times 10^scale. `None` where that is no integer of up to [`DECIMAL_DIGITS`] digits.
    pub fn unscaled(&self, scale: u64) -> Option<i128> {
        let (whole, fraction) = self.decimal_digits()?;
        (fraction <= scale && whole.checked_add(scale)? <= DECIMAL_DIGITS.into()).then_some(())?;
        if self.digits.is_empty() {
            return Some(0);
        }
        let zeros = u32::try_from(self.exponent + scale as i64).ok()?;
        let magnitude = self.digits.parse::<i128>().ok()?.checked_mul(10_i128.checked_pow(zeros)?)?;
        Some(if self.is_negative { -magnitude } else { magnitude })
    }
}

/// Whether a JSON number is an integer of 64 bits. `-0` is none: its sign would be lost.
pub(super) fn is_int64(json: &str) -> bool {
    json != "-0" && json.parse::<i64>().is_ok()
}

/// Whether a JSON value is a number.
pub(super) fn is_number(json: &str) -> bool {
    json.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_double_gives_back_what_it_holds() {
        let doubles = [
            "0",
            "-0",
            "-0.0",
            "1",
            "1.10",
            "0.1",
            "1e2",
            "9007199254740992",
            "0.30000000000000004",
            "1e308",
            "5e-324",
            "100000000000000000000",
            "-1.5E+3",
        ];
        let others = [
            "9007199254740993",
            "18446744073709551615",
            "0.1000000000000000055511151231257827",
            "1e400",
            "-1e400",
            "1e-400",
            "1e99999999999999999999",
            "123456789012345678901234567890",
        ];
        let is_double = |json: &str| Number::of(json).expect(json).is_double();
        assert_eq!(doubles.map(is_double), [true; 13]);
        assert_eq!(others.map(is_double), [false; 8]);
        assert_eq!(["null", "\"1\"", "-", "", "true"].map(Number::of), [const { None }; 5]);
    }

    #[test]
    fn a_decimal_has_38_digits() {
        let unscaled = |json: &str, scale| Number::of(json).expect(json).unscaled(scale);
        assert_eq!(unscaled("-12.5", 1), Some(-125));
        assert_eq!(unscaled("-12.5", 3), Some(-12_500));
        assert_eq!(unscaled("-12.5", 0), None);
        assert_eq!((unscaled("0.00", 0), unscaled("-0", 0)), (Some(0), None));
        assert_eq!(unscaled("1e37", 0), Some(10_i128.pow(37)));
        assert_eq!(unscaled("1e38", 0), None);
        assert_eq!(unscaled("1e37", 1), None);
        assert_eq!(unscaled("1e-38", 38), Some(1));
        assert_eq!(unscaled(&"9".repeat(38), 0), Some(10_i128.pow(38) - 1));
        assert_eq!(Number::of("1e-99999999999999999999").unwrap().unscaled(38), None);
    }

    #[test]
    fn integers_of_64_bits_are_told() {
        assert!(["0", "-1", "9223372036854775807", "-9223372036854775808"].iter().all(|json| is_int64(json)));
        assert!(["-0", "1.0", "1e2", "9223372036854775808"].iter().all(|json| !is_int64(json)));
    }

    proptest! {
        #[test]
        fn every_double_is_one(double in any::<f64>()) {
            prop_assume!(double.is_finite());
            let json = format!("{double:e}");
            prop_assert!(Number::of(&json).unwrap().is_double(), "{}", json);
        }

        #[test]
        fn a_decimal_is_the_number(unscaled in -(10_i128.pow(38) - 1)..10_i128.pow(38), scale in 0_u64..=38) {
            let number = Number::of(&format!("{unscaled}e-{scale}")).unwrap();
            prop_assert_eq!(number.unscaled(scale), Some(unscaled));
        }
    }
}
