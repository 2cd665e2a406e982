//! Numbers as JSON writes them.

use mlua::{Integer, Number};
use std::io::Write;

/// Digits that tell any two numbers apart.
pub(super) const DIGITS_MAX: u32 = 17;

/// Below this the integers among the numbers have no gaps: 2^53.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Appends an integer.
pub(super) fn write_integer(out: &mut Vec<u8>, number: Integer, precision: Option<u32>) {
    let digits = number.unsigned_abs().checked_ilog10().map_or(1, |log| log + 1);
    if cfg!(feature = "lua54") || digits <= precision.unwrap_or(15) {
        out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    } else {
        #[allow(clippy::cast_precision_loss, reason = "this engine has no other numbers, so nothing is lost")]
        write_number(out, number as Number, precision);
    }
}

/// Appends a finite number: as C's `%.Ng` does with N digits, or else with as few digits as bring it back.
pub(super) fn write_number(out: &mut Vec<u8>, number: Number, precision: Option<u32>) {
    #[allow(clippy::cast_possible_truncation, reason = "compared: what is cut off differs")]
    let integer = number as i64;
    #[allow(clippy::cast_precision_loss, reason = "compared, and within the range without gaps")]
    let whole = number.abs() < EXACT_MAX && integer as Number == number && !(integer == 0 && number.is_sign_negative());
    if whole && precision.is_none_or(|digits| integer.unsigned_abs() < 10_u64.pow(digits)) {
        out.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
        return;
    }
    let mut buffer = [0; 40];
    let mut rest = &mut buffer[..];
    let written = match precision {
        Some(digits) => write!(rest, "{:.*e}", digits as usize - 1, number),
        None => write!(rest, "{number:e}"),
    };
    debug_assert!(written.is_ok(), "17 digits, a sign, a point and an exponent fit");
    let left = rest.len();
    let text = &buffer[..buffer.len() - left];
    lay_out(out, text, precision.unwrap_or(DIGITS_MAX).cast_signed());
}

/// Appends `-d.ddde-x` as `%g` would: without zeros at the end, and with an exponent only where it is shorter.
fn lay_out(out: &mut Vec<u8>, text: &[u8], digits_max: i32) {
    let text = text.strip_prefix(b"-").map_or(text, |text| {
        out.push(b'-');
        text
    });
    let mut halves = text.split(|&byte| byte == b'e');
    let mantissa = halves.next().unwrap_or_default();
    let exponent = halves.next().and_then(|text| std::str::from_utf8(text).ok()?.parse::<i32>().ok()).unwrap_or(0);
    let mut digits = [0; DIGITS_MAX as usize];
    let mut len = 0;
    for (at, &digit) in digits.iter_mut().zip(mantissa.iter().filter(|&&byte| byte != b'.')) {
        *at = digit;
        len += 1;
    }
    let end = digits[..len].iter().rposition(|&digit| digit != b'0').map_or(1, |last| last + 1);
    let digits = &digits[..end];
    if exponent < -4 || exponent >= digits_max {
        push_point(out, digits, 1);
        let sign = if exponent < 0 { '-' } else { '+' };
        let written = write!(out, "e{sign}{:02}", exponent.unsigned_abs());
        debug_assert!(written.is_ok(), "a vector takes everything");
    } else if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', exponent.unsigned_abs() as usize - 1));
        out.extend_from_slice(digits);
    } else {
        push_point(out, digits, exponent.unsigned_abs() as usize + 1);
    }
}

/// Appends digits with a point after `whole` of them, if there are more; with zeros if there are fewer.
fn push_point(out: &mut Vec<u8>, digits: &[u8], whole: usize) {
    match digits.split_at_checked(whole) {
        Some((before, [])) => out.extend_from_slice(before),
        Some((before, after)) => {
            out.extend_from_slice(before);
            out.push(b'.');
            out.extend_from_slice(after);
        }
        None => {
            out.extend_from_slice(digits);
            out.extend(std::iter::repeat_n(b'0', whole - digits.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(number: f64, precision: Option<u32>) -> String {
        let mut out = Vec::new();
        write_number(&mut out, number, precision);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn fourteen_digits_are_laid_out_as_by_printf() {
        for (number, wanted) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (1.0 / 3.0, "0.33333333333333"),
            (2.0 / 3.0 * 1e6, "666666.66666667"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1e13, "10000000000000"),
            (1e14, "1e+14"),
            (123_456_789_012_345.0, "1.2345678901234e+14"),
            (1e300, "1e+300"),
            (5e-324, "4.9406564584125e-324"),
            (f64::MAX, "1.7976931348623e+308"),
            (99_999_999_999_999.9, "1e+14"),
        ] {
            assert_eq!(text(number, Some(14)), wanted, "{number:e}");
        }
        assert_eq!(text(123.456, Some(3)), "123");
        assert_eq!(text(999.9, Some(3)), "1e+03");
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_in_full_comes_back(bits: u64) {
            let number = f64::from_bits(bits);
            proptest::prop_assume!(number.is_finite());
            let back: f64 = text(number, None).parse().unwrap();
            proptest::prop_assert_eq!(back.to_bits(), bits);
        }

        #[test]
        fn seventeen_digits_come_back_too(bits: u64) {
            let number = f64::from_bits(bits);
            proptest::prop_assume!(number.is_finite());
            let back: f64 = text(number, Some(DIGITS_MAX)).parse().unwrap();
            proptest::prop_assert_eq!(back.to_bits(), bits);
        }
    }
}
