//! A value of a column as JSON, without loss. Whole numbers are numbers with all their digits. A decimal is a number if its
//! column has at most 15 digits, which every reader of JSON keeps, else text. Dates, times and timestamps are ISO 8601, with
//! a Z if they are UTC. Bytes are Base64. What is no number in JSON (NaN, infinity) is text.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parquet::basic::{ConvertedType, LogicalType, TimeUnit};
use parquet::schema::types::ColumnDescriptor;

use super::values::Values;

/// Digits that a 64-bit float keeps.
const FLOAT_DIGITS: i32 = 15;

const SECONDS_IN_DAY: i64 = 86_400;
const JULIAN_DAY_OF_EPOCH: i64 = 2_440_588;

/// What the values mean.
pub(super) enum Scalar {
    /// What the physical type says. Bytes are not text.
    Plain,
    Unsigned,
    Date,
    /// Digits of the fraction of a second.
    Time(usize),
    Timestamp {
        digits: usize,
        is_utc: bool,
    },
    Decimal {
        scale: usize,
        is_text: bool,
    },
    Text,
    Uuid,
    Interval,
    Float16,
}

impl Scalar {
    pub(super) fn of(column: &ColumnDescriptor) -> Scalar {
        let decimal = |scale: i32, precision: i32| Scalar::Decimal {
            scale: usize::try_from(scale).unwrap_or(0),
            is_text: precision > FLOAT_DIGITS,
        };
        match column.logical_type_ref() {
            Some(LogicalType::String | LogicalType::Enum | LogicalType::Json) => Scalar::Text,
            Some(LogicalType::Decimal(decimal_of)) => decimal(decimal_of.scale, decimal_of.precision),
            Some(LogicalType::Date) => Scalar::Date,
            Some(LogicalType::Time(time)) => Scalar::Time(digits(&time.unit)),
            Some(LogicalType::Timestamp(time)) => {
                Scalar::Timestamp { digits: digits(&time.unit), is_utc: time.is_adjusted_to_u_t_c }
            }
            Some(LogicalType::Integer(int)) if !int.is_signed => Scalar::Unsigned,
            Some(LogicalType::Uuid) => Scalar::Uuid,
            Some(LogicalType::Float16) => Scalar::Float16,
            Some(_) => Scalar::Plain,
            None => match column.converted_type() {
                ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON => Scalar::Text,
                ConvertedType::DECIMAL => decimal(column.type_scale(), column.type_precision()),
                ConvertedType::DATE => Scalar::Date,
                ConvertedType::TIME_MILLIS => Scalar::Time(3),
                ConvertedType::TIME_MICROS => Scalar::Time(6),
                ConvertedType::TIMESTAMP_MILLIS => Scalar::Timestamp { digits: 3, is_utc: true },
                ConvertedType::TIMESTAMP_MICROS => Scalar::Timestamp { digits: 6, is_utc: true },
                ConvertedType::UINT_8
                | ConvertedType::UINT_16
                | ConvertedType::UINT_32
                | ConvertedType::UINT_64 => Scalar::Unsigned,
                ConvertedType::INTERVAL => Scalar::Interval,
                _ => Scalar::Plain,
            },
        }
    }

    /// Appends value `at`. An error says why it is none.
    pub(super) fn write(&self, values: &Values, at: usize, out: &mut Vec<u8>) -> Result<(), String> {
        match values {
            Values::Bool(values) => json(out, &values[at]),
            Values::Int32(values) => match self {
                Scalar::Unsigned => json(out, &values[at].cast_unsigned()),
                _ => self.int(values[at].into(), out),
            },
            Values::Int64(values) => match self {
                Scalar::Unsigned => json(out, &values[at].cast_unsigned()),
                _ => self.int(values[at], out),
            },
            Values::Int96(values) => {
                let data = values[at].data();
                let nanos = i64::from(data[0]) | i64::from(data[1]) << 32;
                let seconds = (i64::from(data[2]) - JULIAN_DAY_OF_EPOCH) * SECONDS_IN_DAY;
                let seconds = seconds.saturating_add(nanos.div_euclid(1_000_000_000));
                quoted(out, &timestamp(seconds, nanos.rem_euclid(1_000_000_000), 9, false));
            }
            Values::Float(values) => float(out, values[at].into(), &values[at]),
            Values::Double(values) => float(out, values[at], &values[at]),
            Values::Bytes(values) => return self.bytes(values[at].data(), out),
            Values::Fixed(values) => return self.bytes(values[at].data(), out),
        }
        Ok(())
    }

    fn int(&self, value: i64, out: &mut Vec<u8>) {
        match self {
            Scalar::Date => quoted(out, &date(value)),
            Scalar::Time(digits) => {
                let (seconds, fraction) = split(value, *digits);
                quoted(out, &time(seconds, fraction, *digits));
            }
            Scalar::Timestamp { digits, is_utc } => {
                let (seconds, fraction) = split(value, *digits);
                quoted(out, &timestamp(seconds, fraction, *digits, *is_utc));
            }
            Scalar::Decimal { scale, is_text } => decimal(out, &value.to_be_bytes(), *scale, *is_text),
            _ => json(out, &value),
        }
    }

    fn bytes(&self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Scalar::Text => match std::str::from_utf8(bytes) {
                Ok(text) => json(out, text),
                Err(error) => {
                    out.extend_from_slice(b"null");
                    return Err(format!("the text is not UTF-8 behind {} bytes", error.valid_up_to()));
                }
            },
            Scalar::Decimal { scale, is_text } => decimal(out, bytes, *scale, *is_text),
            Scalar::Uuid if bytes.len() == 16 => {
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
                quoted(out, &parts.join("-"));
            }
            Scalar::Interval if bytes.len() == 12 => {
                let number =
                    |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
                let (months, days, ms) = (number(0), number(4), number(8));
                quoted(out, &format!("P{months}M{days}DT{}.{:03}S", ms / 1_000, ms % 1_000));
            }
            Scalar::Float16 if bytes.len() == 2 => {
                let value = half(u16::from_le_bytes([bytes[0], bytes[1]]));
                float(out, value.into(), &value);
            }
            _ => quoted(out, &STANDARD.encode(bytes)),
        }
        Ok(())
    }
}

fn digits(unit: &TimeUnit) -> usize {
    match unit {
        TimeUnit::MILLIS => 3,
        TimeUnit::MICROS => 6,
        TimeUnit::NANOS => 9,
    }
}

fn json<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("it is JSON and a Vec takes it");
}

/// Text that needs no escapes.
fn quoted(out: &mut Vec<u8>, text: &str) {
    write!(out, "\"{text}\"").expect("a Vec takes it");
}

/// The shortest digits that are this number, of its own width.
fn float<T: serde::Serialize>(out: &mut Vec<u8>, value: f64, shortest: &T) {
    match value {
        value if value.is_finite() => json(out, shortest),
        value if value.is_nan() => quoted(out, "NaN"),
        value => quoted(out, if value > 0.0 { "Infinity" } else { "-Infinity" }),
    }
}

fn half(bits: u16) -> f32 {
    let (sign, exponent, fraction) = (bits >> 15, i32::from(bits >> 10 & 0x1f), f32::from(bits & 0x3ff));
    let value = match exponent {
        0 => fraction / 1_024.0 * 2f32.powi(-14),
        31 if fraction > 0.0 => f32::NAN,
        31 => f32::INFINITY,
        exponent => (1.0 + fraction / 1_024.0) * 2f32.powi(exponent - 15),
    };
    if sign == 1 { -value } else { value }
}

/// Whole seconds, and the fraction in units of so many digits.
fn split(value: i64, digits: usize) -> (i64, i64) {
    let unit = 10i64.pow(digits as u32);
    (value.div_euclid(unit), value.rem_euclid(unit))
}

/// Of days since 1970, in the Gregorian calendar.
fn date(days: i64) -> String {
    // Eras of 400 years, and years that begin in March: the leap day is the last.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = year + era * 400 + i64::from(month <= 2);
    match year {
        0..=9_999 => format!("{year:04}-{month:02}-{day:02}"),
        _ => format!("{year:+05}-{month:02}-{day:02}"),
    }
}

fn time(seconds: i64, fraction: i64, digits: usize) -> String {
    let fraction = if fraction == 0 { String::new() } else { format!(".{fraction:0digits$}") };
    format!("{:02}:{:02}:{:02}{fraction}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

fn timestamp(seconds: i64, fraction: i64, digits: usize, is_utc: bool) -> String {
    let (days, seconds) = (seconds.div_euclid(SECONDS_IN_DAY), seconds.rem_euclid(SECONDS_IN_DAY));
    let zone = if is_utc { "Z" } else { "" };
    format!("{}T{}{zone}", date(days), time(seconds, fraction, digits))
}

/// `bytes`: the unscaled number, in two's complement, its high byte first.
fn decimal(out: &mut Vec<u8>, bytes: &[u8], scale: usize, is_text: bool) {
    let is_negative = bytes.first().is_some_and(|byte| *byte >= 0x80);
    let mut magnitude = bytes.to_vec();
    if is_negative {
        magnitude.iter_mut().for_each(|byte| *byte = !*byte);
        for byte in magnitude.iter_mut().rev() {
            let (sum, carries) = byte.overflowing_add(1);
            *byte = sum;
            if !carries {
                break;
            }
        }
    }
    let mut digits = Vec::new();
    while magnitude.iter().any(|byte| *byte > 0) {
        let mut rest = 0u32;
        for byte in &mut magnitude {
            let value = rest << 8 | u32::from(*byte);
            (*byte, rest) = ((value / 10) as u8, value % 10);
        }
        digits.push(b'0' + rest as u8);
    }
    while digits.len() <= scale {
        digits.push(b'0');
    }
    if scale > 0 {
        digits.insert(scale, b'.');
    }
    if is_negative {
        digits.push(b'-');
    }
    digits.reverse();
    let quote = if is_text { "\"" } else { "" };
    out.extend_from_slice(quote.as_bytes());
    out.extend_from_slice(&digits);
    out.extend_from_slice(quote.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_all_years() {
        for (days, text) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (19_782, "2024-02-29"),
            (19_783, "2024-03-01"),
            (-25_509, "1900-02-28"),
            (-25_508, "1900-03-01"),
            (-719_528, "0000-01-01"),
            (-719_529, "-0001-12-31"),
            (2_932_896, "9999-12-31"),
            (2_932_897, "+10000-01-01"),
        ] {
            assert_eq!(date(days), text);
        }
        let utc = |value, digits| {
            let (seconds, fraction) = split(value, digits);
            timestamp(seconds, fraction, digits, true)
        };
        assert_eq!(utc(1_709_210_096_007, 3), "2024-02-29T12:34:56.007Z");
        assert_eq!(utc(-1, 6), "1969-12-31T23:59:59.999999Z");
        assert_eq!(utc(1_709_210_096_000_000_000, 9), "2024-02-29T12:34:56Z");
    }

    #[test]
    fn decimals_have_all_their_digits() {
        let shown = |bytes: &[u8], scale, is_text| {
            let mut out = Vec::new();
            decimal(&mut out, bytes, scale, is_text);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(shown(&110i64.to_be_bytes(), 2, false), "1.10");
        assert_eq!(shown(&(-5i64).to_be_bytes(), 3, false), "-0.005");
        assert_eq!(shown(&[0], 0, false), "0");
        assert_eq!(shown(&[], 2, false), "0.00");
        assert_eq!(shown(&i64::MIN.to_be_bytes(), 0, true), "\"-9223372036854775808\"");
        let most = 99_999_999_999_999_999_999_999_999_999_999_999_999i128;
        assert_eq!(shown(&most.to_be_bytes(), 38, true), format!("\"0.{most}\""));
        assert_eq!(shown(&(-most).to_be_bytes(), 1, true), format!("\"-{}.9\"", most / 10));
    }

    #[test]
    fn halves_are_what_they_are() {
        for (bits, value) in [(0x3c00, 1.0), (0xc000, -2.0), (0x3555, 0.333_251_95), (0x0001, 5.960_464_5e-8)]
        {
            assert_eq!(half(bits), value);
        }
        assert!(half(0x7e00).is_nan() && half(0xfc00) == f32::NEG_INFINITY);
    }
}
