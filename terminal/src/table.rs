//! Plain tables for a terminal or a file: labels left-aligned, numbers right-aligned.
//!
//! Promise: the same text everywhere, without colours and frames, so that people and `awk` can read
//! it. Wide and combining characters have their width on a terminal (UAX 11).

use unicode_width::UnicodeWidthStr;

/// Lays out `rows` in columns as wide as their widest cell. Columns whose index is in `right` are
/// right-aligned.
pub fn columns(rows: &[Vec<String>], right: &[usize]) -> String {
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.width())
            .max()
            .unwrap_or(0)
    };
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(column, cell)| pad(cell, width(column), right.contains(&column)))
            .collect();
        format!("  {}", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn pad(cell: &str, width: usize, right: bool) -> String {
    let fill = " ".repeat(width.saturating_sub(cell.width()));
    if right {
        format!("{fill}{cell}")
    } else {
        format!("{cell}{fill}")
    }
}

/// `number` with a comma after every three digits.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![
            vec!["sold".into(), "100".into()],
            vec!["oversold".into(), "0".into()],
        ];
        assert_eq!(columns(&rows, &[1]), "  sold      100\n  oversold    0");
    }

    #[test]
    fn wide_characters_take_two_columns_and_combining_ones_none() {
        let rows = vec![
            vec!["北京の上着".into(), "1".into()],
            vec!["e\u{301}te\u{301}".into(), "20".into()],
        ];
        let lines = ["  北京の上着   1", "  e\u{301}te\u{301}         20"];
        assert_eq!(columns(&rows, &[1]), lines.join("\n"));
    }
}
