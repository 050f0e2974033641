//! Values of arguments and environment variables.

/// Parses a whole number from `MIN` to `MAX`, in decimal digits.
///
/// # Errors
/// The bounds. The parsers of the standard library and of clap have words of their own for each
/// kind of text.
pub fn whole<T: TryFrom<u32>, const MIN: u32, const MAX: u32>(text: &str) -> Result<T, String> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse::<u32>().ok().filter(|_| is_plain);
    number
        .filter(|number| (MIN..=MAX).contains(number))
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| format!("must be a whole number from {MIN} to {MAX}"))
}

/// Parses a number from `MIN` to `MAX`, in decimal digits, with or without a fraction.
///
/// # Errors
/// The bounds, also for the words that the standard library reads as numbers: `inf`, `nan`, `1e9`.
pub fn decimal<const MIN: u32, const MAX: u32>(text: &str) -> Result<f64, String> {
    let is_plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number = text.parse::<f64>().ok().filter(|_| is_plain);
    number
        .filter(|number| (f64::from(MIN)..=f64::from(MAX)).contains(number))
        .ok_or_else(|| format!("must be a number from {MIN} to {MAX}"))
}

/// Parses a position of the log: a whole number, 0 for the position before the first event.
///
/// # Errors
/// The bounds, which are those of the database.
pub fn position(text: &str) -> Result<u64, String> {
    const MAX: u64 = i64::MAX as u64;
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse::<u64>().ok().filter(|_| is_plain);
    number
        .filter(|number| *number <= MAX)
        .ok_or_else(|| format!("must be a whole number from 0 to {MAX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_a_fraction_are_plain_and_within_the_bounds() {
        for (text, number) in [("0", 0.0), ("1.5", 1.5), (".5", 0.5), ("10", 10.0)] {
            assert_eq!(decimal::<0, 10>(text), Ok(number));
        }
        for text in [
            "", ".", "nan", "NaN", "inf", "-inf", "infinity", "-1", "-0", "+1", "1e1", "10.01",
            "1.2.3", " 1",
        ] {
            let refused = decimal::<0, 10>(text).unwrap_err();
            assert_eq!(refused, "must be a number from 0 to 10", "{text:?}");
        }
        assert_eq!(position("9223372036854775807"), Ok(i64::MAX as u64));
        for text in ["", "-1", "+1", "9223372036854775808", "1.0", "x"] {
            let refused = position(text).unwrap_err();
            assert!(
                refused.ends_with("from 0 to 9223372036854775807"),
                "{text:?}"
            );
        }
    }

    #[test]
    fn only_whole_numbers_within_the_bounds_are_accepted() {
        for (text, number) in [("1", 1), ("16", 16), ("007", 7)] {
            assert_eq!(whole::<u32, 1, 16>(text), Ok(number));
        }
        for text in [
            "",
            "0",
            "17",
            "-1",
            "+1",
            "1.0",
            " 1",
            "x",
            "99999999999999999999999",
        ] {
            let refused = whole::<u32, 1, 16>(text).unwrap_err();
            assert_eq!(refused, "must be a whole number from 1 to 16", "{text:?}");
        }
    }
}
