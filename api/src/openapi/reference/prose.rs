//! Texts of the document as HTML: its few marks, and the placeholders of samples.

/// The beginning of a placeholder's name, of its text, and its end. Private characters, which no
/// JSON writer escapes and no text of the document contains.
const MARKS: [char; 3] = ['\u{e000}', '\u{e001}', '\u{e002}'];

/// Escapes text for HTML, in elements and in quoted attributes.
pub(super) fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
    }
    html
}

/// Renders a text with `code`, **strong** and *emphasis*. The brackets of rustdoc links are
/// removed, because these have no target here.
pub(super) fn prose(text: &str) -> String {
    let text = text.replace("[`", "`").replace("`]", "`");
    let mut html = String::new();
    for (index, part) in text.split('`').enumerate() {
        if index % 2 == 1 {
            html.push_str(&format!("<code>{}</code>", escaped(part)));
        } else {
            let strong = between(&escaped(part), "**", "strong");
            html.push_str(&between(&strong, "*", "em"));
        }
    }
    html
}

/// Puts every second part between `marks` into an element.
fn between(html: &str, marks: &str, element: &str) -> String {
    let parts: Vec<&str> = html.split(marks).collect();
    let is_paired = parts.len() % 2 == 1;
    let part = |(index, part): (usize, &&str)| match index % 2 {
        1 if is_paired => format!("<{element}>{part}</{element}>"),
        1 => format!("{marks}{part}"),
        _ if index > 0 && !is_paired => format!("{marks}{part}"),
        _ => (*part).to_owned(),
    };
    parts.iter().enumerate().map(part).collect()
}

/// Marks a part of a sample that the reader replaces.
pub(super) fn placeholder(name: &str, text: &str) -> String {
    let [begin, middle, end] = MARKS;
    format!("{begin}{name}{middle}{text}{end}")
}

/// Renders a sample: each placeholder is a `var` element.
pub(super) fn sample(text: &str) -> String {
    let [begin, middle, end] = MARKS;
    escaped(text)
        .replace(begin, "<var data-name=\"")
        .replace(middle, "\">")
        .replace(end, "</var>")
}

/// Returns the number of columns that a sample's text takes.
pub(super) fn columns(text: &str) -> usize {
    let [begin, middle, _] = MARKS;
    let mut is_name = false;
    let is_shown = |c: &char| {
        is_name = *c == begin || is_name && *c != middle;
        !is_name && !MARKS.contains(c)
    };
    text.chars().filter(is_shown).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_become_elements_and_markup_becomes_text() {
        for (text, html) in [
            ("a `b` <c>", "a <code>b</code> &lt;c&gt;"),
            (
                "**A.** An *id*, `*`",
                "<strong>A.</strong> An <em>id</em>, <code>*</code>",
            ),
            ("see [`Drop`]", "see <code>Drop</code>"),
            ("2 * 3", "2 * 3"),
        ] {
            assert_eq!(prose(text), html);
        }
    }

    #[test]
    fn placeholder_of_a_sample_is_an_element_and_takes_the_columns_of_its_text() {
        let text = format!("<{}>", placeholder("drop_id", "DROP_ID"));
        assert_eq!(
            sample(&text),
            "&lt;<var data-name=\"drop_id\">DROP_ID</var>&gt;"
        );
        assert_eq!(columns(&text), "<DROP_ID>".len());
    }
}
