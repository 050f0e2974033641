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

#[cfg(test)]
mod tests {
    use super::*;

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
