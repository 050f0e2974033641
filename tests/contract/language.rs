//! Checks that the project's prose is plain technical English with lines of bounded length.
//!
//! Counts the phrases of `docs/language.toml` in Markdown, comments, texts of the pages, multi-word
//! string literals and function names, and compares their rates with the limits in that file.
//! `cargo test -p tests --test contract language -- --nocapture` prints the table.
//!
//! Limit: patterns find a part of unclear language only. A reviewer still reads every sentence.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::bytes::{Regex, RegexBuilder};

const LIST: &str = "docs/language.toml";
/// Build output, foreign code, and files whose bytes are the test.
const SKIPPED_DIRECTORIES: [&str; 5] = [
    "target",
    "node_modules",
    "fixtures",
    "generated",
    "__pycache__",
];
/// Hidden directories that belong to the source.
const HIDDEN_DIRECTORIES: [&str; 2] = [".ci", ".github"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

// The list of phrases.

#[derive(Default)]
struct Phrase {
    name: String,
    pattern: Option<Regex>,
    except: Option<Regex>,
    limit: Option<f64>,
    why: String,
    example: String,
    instead: String,
}

struct Rules {
    columns: usize,
    frozen_migrations: u32,
    phrases: Vec<Phrase>,
}

fn regex(pattern: &str) -> Regex {
    // Without Unicode, word boundaries do not slow the search down.
    let mut builder = RegexBuilder::new(pattern);
    builder
        .unicode(false)
        .case_insensitive(true)
        .build()
        .unwrap()
}

impl Rules {
    /// Parses the subset of TOML that the list uses: comments, `[[phrase]]`, numbers, and strings
    /// on one line without escapes.
    ///
    /// # Panics
    ///
    /// On any other line, and on a phrase without a pattern, a limit, a reason or an example.
    fn parse(list: &str) -> Self {
        let mut rules = Self {
            columns: 0,
            frozen_migrations: 0,
            phrases: vec![],
        };
        for (index, line) in list.lines().enumerate() {
            let at = format!("{LIST}:{}", index + 1);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if line == "[[phrase]]" {
                rules.phrases.push(Phrase::default());
                continue;
            }
            let (key, value) = line
                .split_once(" = ")
                .unwrap_or_else(|| panic!("{at}: no key"));
            let text = || {
                let quote = &value[..1];
                let text = value[1..].strip_suffix(quote);
                let text = text.filter(|text| !text.contains(quote) && "\"'".contains(quote));
                text.filter(|text| quote == "'" || !text.contains('\\'))
                    .unwrap_or_else(|| panic!("{at}: no string without escapes"))
            };
            match (key, rules.phrases.last_mut()) {
                ("columns", None) => rules.columns = value.parse().unwrap(),
                ("frozen_migrations", None) => {
                    rules.frozen_migrations = value.parse().unwrap();
                }
                ("name", Some(phrase)) => phrase.name = text().to_owned(),
                ("pattern", Some(phrase)) => phrase.pattern = Some(regex(text())),
                // Only a match that begins where the search begins is an exception.
                ("except", Some(phrase)) => {
                    phrase.except = Some(regex(&format!("^(?:{})", text())));
                }
                ("limit", Some(phrase)) => phrase.limit = Some(value.parse().unwrap()),
                ("why", Some(phrase)) => phrase.why = text().to_owned(),
                ("example", Some(phrase)) => phrase.example = text().to_owned(),
                ("instead", Some(phrase)) => phrase.instead = text().to_owned(),
                _ => panic!("{at}: unknown key {key}"),
            }
        }
        assert!(
            rules.columns > 0 && !rules.phrases.is_empty(),
            "{LIST} is incomplete"
        );
        for phrase in &rules.phrases {
            let texts = [&phrase.name, &phrase.why, &phrase.example, &phrase.instead];
            assert!(
                texts.iter().all(|text| !text.is_empty()),
                "{}: a text is missing",
                phrase.name
            );
            assert!(
                phrase.pattern.is_some() && phrase.limit.is_some(),
                "{}",
                phrase.name
            );
        }
        rules
    }
}

impl Phrase {
    /// Returns the offsets at which the phrase occurs in `text`.
    fn hits(&self, text: &str) -> Vec<usize> {
        let pattern = self.pattern.as_ref().unwrap();
        let (bytes, mut from, mut hits) = (text.as_bytes(), 0, vec![]);
        while let Some(found) = pattern.find_at(bytes, from) {
            let excepted = self.except.as_ref();
            if excepted.is_some_and(|except| except.is_match(&bytes[found.start()..])) {
                from = found.start() + 1;
            } else {
                hits.push(found.start());
                from = found.end().max(found.start() + 1);
            }
        }
        hits
    }
}

// Prose, as it is taken out of a file.

/// The paragraphs of one file, one per line of `text`, with the source line of each part.
#[derive(Default)]
struct Prose {
    text: String,
    /// Offset in `text`, and the source line that begins there.
    lines: Vec<(usize, usize)>,
    /// Source lines of prose that are too long, with their number of columns.
    long: Vec<(usize, usize)>,
}

static CODE: LazyLock<regex::Regex> =
    LazyLock::new(|| regex::Regex::new(r"`[^`]*`|\]\([^)]*\)|https?://\S+").unwrap());
static TAG: LazyLock<regex::Regex> = LazyLock::new(|| regex::Regex::new(" *<[^>]*> *").unwrap());
static FUNCTION: LazyLock<regex::Regex> =
    LazyLock::new(|| regex::Regex::new(r"\bfn (\w+)").unwrap());
static STRING: LazyLock<regex::Regex> =
    LazyLock::new(|| regex::Regex::new(r#""((?:[^"\\]|\\.)*)""#).unwrap());
static ITEM: LazyLock<regex::Regex> =
    LazyLock::new(|| regex::Regex::new(r"^([-*+|#@]|\d+[.)] )").unwrap());

impl Prose {
    /// Begins a new paragraph.
    fn end_paragraph(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push('\n');
        }
    }

    /// Appends a line to the current paragraph. An empty line ends it; an item or a row begins one.
    fn push(&mut self, line: usize, text: &str) {
        let text = text.trim();
        if text.is_empty() || ITEM.is_match(text) {
            self.end_paragraph();
        }
        if text.is_empty() {
            return;
        }
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push(' ');
        }
        self.lines.push((self.text.len(), line));
        self.text.push_str(&CODE.replace_all(text, "_"));
    }

    fn paragraph(&mut self, line: usize, text: &str) {
        self.end_paragraph();
        self.push(line, text);
        self.end_paragraph();
    }

    /// Records a whole line of prose that is too long, unless it cannot be wrapped.
    fn measure(&mut self, number: usize, line: &str, columns: usize) {
        let length = line.trim_end().chars().count();
        let text = line.trim_start_matches([' ', '\t', '/', '!', '*', '#', '-']);
        let whole = text.starts_with('|') || line.starts_with("![") || line.contains("://");
        if length > columns && !whole {
            self.long.push((number, length));
        }
    }

    /// Returns the source line of an offset in `text`.
    fn line_of(&self, offset: usize) -> usize {
        let after = self.lines.partition_point(|(begin, _)| *begin <= offset);
        self.lines[after.saturating_sub(1)].1
    }

    /// Returns the words around an offset.
    fn around(&self, offset: usize) -> String {
        let from = self.text[..offset].char_indices().rev().take(30).last();
        let from = from.map_or(offset, |(index, _)| index);
        let excerpt: String = self.text[from..].chars().take(90).collect();
        excerpt.replace('\n', " / ")
    }
}

/// Comments, multi-word strings and names of functions in Rust.
fn rust(source: &str, columns: usize) -> Prose {
    let mut prose = Prose::default();
    let bytes = source.as_bytes();
    let (mut at, mut line, mut code) = (0, 1, String::new());
    let (mut last_comment, mut fenced) = (0, false);
    while at < bytes.len() {
        let rest = &source[at..];
        if rest.starts_with("//") {
            let comment = rest.lines().next().unwrap();
            if code.trim().is_empty() {
                let text = comment.trim_start_matches(['/', '!']);
                if last_comment + 1 != line {
                    prose.end_paragraph();
                    fenced = false;
                }
                last_comment = line;
                prose.measure(line, &format!("{code}{comment}"), columns);
                if text.trim_start().starts_with("```") {
                    fenced = !fenced;
                    prose.end_paragraph();
                } else if !fenced {
                    prose.push(line, text);
                }
            } else {
                prose.paragraph(line, comment.trim_start_matches('/'));
            }
            at += comment.len();
        } else if rest.starts_with("/*") {
            let length = block_comment(rest);
            prose.end_paragraph();
            for text in rest[..length].split('\n') {
                prose.measure(line, text, columns);
                prose.push(line, text.trim_matches([' ', '/', '*', '!']));
                line += 1;
            }
            line -= 1;
            prose.end_paragraph();
            at += length;
        } else if let Some((opening, length, raw)) = string_literal(rest, &code) {
            let literal = &rest[opening..length];
            if literal.matches(' ').count() >= 2 {
                prose.end_paragraph();
                for (offset, text) in literal.trim_end_matches(['"', '#']).split('\n').enumerate() {
                    let continued = text.strip_suffix('\\').filter(|_| !raw);
                    prose.push(
                        line + offset,
                        &continued.unwrap_or(text).replace("\\n", " "),
                    );
                }
                prose.end_paragraph();
            }
            line += rest[..length].matches('\n').count();
            code.push('"');
            at += length;
        } else {
            let character = rest.chars().next().unwrap();
            if character == '\n' {
                line += 1;
                code.clear();
                at += 1;
            } else if character == '\'' {
                let length = character_literal(rest);
                code.push('\'');
                at += length;
            } else {
                code.push(character);
                at += character.len_utf8();
            }
        }
        if at >= bytes.len() || bytes[at] == b'\n' {
            for function in FUNCTION.captures_iter(&code) {
                if function[1].matches('_').count() >= 3 {
                    prose.paragraph(line, &function[1].replace('_', " "));
                }
            }
        }
    }
    prose
}

/// Returns the length of the block comment, which may contain others, at the start of `rest`.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        let step = match rest.as_bytes().get(at..at + 2) {
            Some(b"/*") => 1,
            Some(b"*/") => -1,
            _ => 0,
        };
        depth += step;
        at += if step == 0 { 1 } else { 2 };
        if depth == 0 {
            break;
        }
    }
    at.min(rest.len())
}

/// Returns where the text of the string literal at the start of `rest` begins, where the literal
/// ends, and whether it is raw. `code` is the line before it: a name that ends with `r` is not the
/// prefix of a raw string.
fn string_literal(rest: &str, code: &str) -> Option<(usize, usize, bool)> {
    if let Some(text) = rest.strip_prefix('"') {
        let mut escaped = false;
        let end = text.bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        });
        return Some((1, end.map_or(rest.len(), |end| end + 2), false));
    }
    let in_name = code.ends_with(|last: char| last.is_alphanumeric() || last == '_');
    let prefixed = in_name && !code.ends_with(['b', 'c']);
    let hashes = rest.strip_prefix('r').filter(|_| !prefixed)?;
    let count = hashes.bytes().take_while(|byte| *byte == b'#').count();
    let text = hashes[count..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(count));
    let length = text
        .find(&end)
        .map_or(text.len(), |found| found + end.len());
    Some((count + 2, count + 2 + length, true))
}

/// Returns the length of the character literal at the start of `rest`, or 1 for a lifetime.
fn character_literal(rest: &str) -> usize {
    let mut characters = rest.char_indices().skip(1);
    match (characters.next(), characters.next()) {
        (Some((_, '\\')), Some((after, _))) => {
            let end = rest[after + 1..].find('\'');
            end.map_or(1, |end| after + 1 + end + 1)
        }
        (Some(_), Some((end, '\''))) => end + 1,
        _ => 1,
    }
}

fn markdown(source: &str, columns: usize) -> Prose {
    let (mut prose, mut fenced) = (Prose::default(), false);
    for (index, line) in source.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            prose.end_paragraph();
        } else if !fenced {
            prose.measure(index + 1, line, columns);
            prose.push(index + 1, line);
        }
    }
    prose
}

/// Comments, and multi-word strings between double quotes.
fn script(source: &str, columns: usize) -> Prose {
    let (mut prose, mut in_block) = (Prose::default(), false);
    for (index, line) in source.lines().enumerate() {
        let trimmed = line.trim_start();
        let begins = trimmed.starts_with("/*");
        if in_block || begins || trimmed.starts_with("//") {
            if begins {
                prose.end_paragraph();
            }
            prose.measure(index + 1, line, columns);
            prose.push(index + 1, trimmed.trim_matches([' ', '/', '*']));
            in_block = (in_block || begins) && !trimmed.contains("*/");
            continue;
        }
        prose.end_paragraph();
        for string in STRING.captures_iter(line) {
            if string[1].matches(' ').count() >= 2 {
                prose.paragraph(index + 1, &string[1]);
            }
        }
        if let Some((_, comment)) = line.split_once(" // ") {
            prose.paragraph(index + 1, comment);
        }
    }
    prose
}

/// Comments that begin with `mark` (`#`, `--`), and the docstrings of Python.
fn marked(source: &str, mark: &str, columns: usize) -> Prose {
    let (mut prose, mut in_docstring) = (Prose::default(), false);
    let trailing = format!(" {mark} ");
    for (index, line) in source.lines().enumerate() {
        let trimmed = line.trim_start();
        let quotes = trimmed.matches("\"\"\"").count();
        if in_docstring || quotes > 0 && trimmed.starts_with("\"\"\"") {
            prose.measure(index + 1, line, columns);
            prose.push(index + 1, &trimmed.replace("\"\"\"", ""));
            in_docstring ^= quotes % 2 == 1;
        } else if let Some(comment) = trimmed.strip_prefix(mark) {
            prose.measure(index + 1, line, columns);
            prose.push(index + 1, comment.strip_prefix('!').map_or(comment, |_| ""));
        } else {
            prose.end_paragraph();
            if let Some((_, comment)) = line.split_once(&trailing) {
                prose.paragraph(index + 1, comment);
            }
        }
    }
    prose
}

/// The texts of a page. Its lines have no bound: the markup counts in them.
fn page(source: &str) -> Prose {
    let mut prose = Prose::default();
    for (index, line) in source.lines().enumerate() {
        prose.push(index + 1, &TAG.replace_all(line, " "));
    }
    prose
}

/// Returns the prose of a file, or `None` for a kind of file without prose.
fn prose_of(path: &Path, rules: &Rules) -> Option<Prose> {
    let columns = rules.columns;
    let name = path.file_name()?.to_str()?;
    let extension = path.extension().and_then(|extension| extension.to_str());
    let read = || fs::read_to_string(path).unwrap();
    match extension.unwrap_or(name) {
        "rs" => Some(rust(&read(), columns)),
        "md" => Some(markdown(&read(), columns)),
        "js" | "mjs" | "ts" => Some(script(&read(), columns)),
        "sql" => {
            let number = name
                .split('_')
                .next()
                .and_then(|number| number.parse::<u32>().ok());
            let frozen = number.is_some_and(|number| number <= rules.frozen_migrations);
            (!frozen).then(|| marked(&read(), "--", columns))
        }
        "sh" | "py" | "toml" | "yml" | "justfile" | "run" => Some(marked(&read(), "#", columns)),
        "html" => Some(page(&read())),
        _ => None,
    }
}

/// Returns every source file under `directory`, in order. A release has no repository, so this does
/// not use git.
fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(directory).unwrap();
    let mut entries: Vec<_> = entries.map(|entry| entry.unwrap()).collect();
    entries.sort_by_key(|entry| entry.file_name());
    for entry in entries {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            let hidden = name.starts_with('.') && !HIDDEN_DIRECTORIES.contains(&&*name);
            if !hidden && !SKIPPED_DIRECTORIES.contains(&&*name) {
                files(&entry.path(), found);
            }
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
}

#[test]
fn prose_is_plain_english_and_its_lines_end_at_column_100() {
    let root = root();
    let rules = Rules::parse(&fs::read_to_string(root.join(LIST)).unwrap());
    let mut paths = vec![];
    files(&root, &mut paths);
    let all: Vec<(String, Prose)> = paths
        .iter()
        .filter_map(|path| {
            let name = path.strip_prefix(&root).unwrap().display().to_string();
            Some((name, prose_of(path, &rules)?))
        })
        .collect();
    let words: usize = all
        .iter()
        .map(|(_, prose)| prose.text.split_whitespace().count())
        .sum();
    assert!(
        all.len() > 100 && words > 10_000,
        "{} files, {words} words",
        all.len()
    );

    let mut faults = String::new();
    let mut table = format!("{} files, {words} words\n", all.len());
    let _ = writeln!(
        table,
        "{:28} {:>6} {:>8} {:>8}",
        "phrase", "hits", "rate", "limit"
    );
    for phrase in &rules.phrases {
        let mut hits = vec![];
        for (file, prose) in &all {
            let offsets = phrase.hits(&prose.text).into_iter();
            hits.extend(offsets.map(|offset| {
                format!("{file}:{}: {}", prose.line_of(offset), prose.around(offset))
            }));
        }
        let limit = phrase.limit.unwrap();
        #[expect(clippy::cast_precision_loss, reason = "counts of words are small")]
        let rate = hits.len() as f64 * 1000.0 / words as f64;
        let over = if rate > limit { "  over its limit" } else { "" };
        let _ = writeln!(
            table,
            "{:28} {:>6} {rate:>8.2} {limit:>8.2}{over}",
            phrase.name,
            hits.len()
        );
        if rate > limit {
            let Phrase {
                name,
                why,
                example,
                instead,
                ..
            } = phrase;
            let _ = writeln!(
                faults,
                "\n{name}: {why}\n  not:     {example}\n  instead: {instead}"
            );
            let _ = writeln!(faults, "{}", hits.join("\n"));
        }
    }
    let mut long = 0;
    for (file, prose) in &all {
        for (line, length) in &prose.long {
            let _ = writeln!(
                faults,
                "{file}:{line}: a line of prose with {length} columns"
            );
            long += 1;
        }
    }
    let _ = writeln!(table, "lines over {} columns: {long}", rules.columns);
    println!("{table}");
    assert!(
        faults.is_empty(),
        "see CONTRIBUTING.md and {LIST}\n{faults}\n{table}"
    );
}

#[test]
fn each_example_of_the_list_is_found_and_its_correction_is_not() {
    let rules = Rules::parse(&fs::read_to_string(root().join(LIST)).unwrap());
    for phrase in &rules.phrases {
        assert!(
            !phrase.hits(&phrase.example).is_empty(),
            "{}: {}",
            phrase.name,
            phrase.example
        );
        for other in &rules.phrases {
            let hits = other.hits(&phrase.instead);
            assert!(
                hits.is_empty(),
                "{} contains: {}",
                phrase.instead,
                other.name
            );
        }
    }
}

#[test]
fn prose_of_each_language_is_found_at_its_line() {
    let source = "//! One\n//! two.\n\nfn a_b() { let a = r#\"three \"x\" words\"#; } // After code.\n\
        /* Block\n comment. */\nfn with_four_words_here<'a>(c: &'a char) -> bool {\n    \
        *c == '\"' || \"a text over \\\n     two lines\" == '\\''\n}\n\
        // ```\n// skipped code line\n// ```\n// After `code span` too.\n";
    let found = rust(source, 100);
    let paragraphs: Vec<&str> = found.text.lines().collect();
    let expected = [
        "One two.",
        "three \"x\" words",
        "After code.",
        "Block comment.",
        "with four words here",
        "a text over two lines",
        "After _ too.",
    ];
    assert_eq!(paragraphs, expected);
    let line_of = |words: &str| found.line_of(found.text.find(words).unwrap());
    assert_eq!(
        [
            "two.",
            "After code",
            "comment",
            "with",
            "two lines",
            "After _"
        ]
        .map(line_of),
        [2, 4, 6, 7, 9, 14]
    );

    let found = markdown(
        "# Title\n\nA line,\ncontinued [here](there.md).\n- item\n```\ncode\n```\n",
        100,
    );
    assert_eq!(
        found.text.trim(),
        "# Title\nA line, continued [here_.\n- item"
    );
    let found = script(
        "/**\n * A block.\n */\nlet a = \"some three words\"; // trailing\n",
        100,
    );
    assert_eq!(found.text.trim(), "A block.\nsome three words\ntrailing");
    let found = marked(
        "#!/bin/sh\n# One\n# two.\nkey = 1 # three\n\"\"\"Doc\nstring.\"\"\"\n",
        "#",
        100,
    );
    assert_eq!(found.text.trim(), "One two.\nthree\nDoc string.");
    assert_eq!(marked("SELECT 1; -- one\n", "--", 100).text.trim(), "one");
    assert_eq!(page("<p>A <b>text</b></p>\n").text.trim(), "A text");
}

#[test]
fn long_lines_are_reported_unless_they_cannot_be_wrapped() {
    let words = "word ".repeat(20);
    let source = format!(
        "{words}\n{words}x\n| {words} |\nhttps://a.example/ {words}\n![{words}](b.png)\n```\n{words}x\n```\n"
    );
    assert_eq!(markdown(&source, 100).long, [(2, 101)]);
    let source = format!("// {words}\nlet a = 1; // {words}\n/// | {words} |\n");
    assert_eq!(rust(&source, 100).long, [(1, 102)]);
}
