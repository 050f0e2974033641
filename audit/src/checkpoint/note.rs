//! A strict parser for signed notes and the checkpoints in them: <https://c2sp.org/signed-note>,
//! <https://c2sp.org/tlog-checkpoint>.
//!
//! Promise: every byte of a note belongs to its text or to a signature line; the parsed text is the
//! signed text. Limit: extension lines after a checkpoint's first three lines, which the
//! specification allows, are signed but ignored.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use domain::values::Position;
use infrastructure::log::Hash;

/// A text and its signatures, not verified yet.
#[derive(Debug)]
pub struct Note<'a> {
    /// The signed text, with its last line feed.
    pub text: &'a str,
    pub signatures: Vec<Signed<'a>>,
}

/// One signature line.
#[derive(Debug)]
pub struct Signed<'a> {
    /// The name of the key.
    pub name: &'a str,
    /// Distinguishes keys of the same name.
    pub id: [u8; 4],
    /// The signature, in the format of the key's algorithm.
    pub signature: Vec<u8>,
}

impl<'a> Note<'a> {
    /// Parses a note.
    ///
    /// # Errors
    /// The first missing part.
    pub fn parse(note: &'a str) -> Result<Self, &'static str> {
        if note.bytes().any(|byte| byte < b' ' && byte != b'\n') {
            return Err("it has control characters, or line ends other than a single line feed");
        }
        let (text, signatures) = note
            .rsplit_once("\n\n")
            .ok_or("no empty line precedes its signatures")?;
        let text = &note[..=text.len()];
        let signatures = signatures
            .strip_suffix('\n')
            .ok_or("it does not end with a signature line")?;
        let signatures: Option<_> = signatures.split('\n').map(Signed::parse).collect();
        let signatures = signatures.ok_or("it has invalid signature lines")?;
        Ok(Self { text, signatures })
    }
}

impl<'a> Signed<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (name, signed) = line.strip_prefix("— ")?.split_once(' ')?;
        let signed = BASE64.decode(signed).ok()?;
        let (id, signature) = signed.split_first_chunk()?;
        let is_one = is_name(name) && !signature.is_empty();
        is_one.then(|| Self {
            name,
            id: *id,
            signature: signature.to_owned(),
        })
    }
}

/// Reports whether `text` is a valid name of a key.
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c == '+')
}

/// Parses the position and the hash that a checkpoint states.
///
/// # Errors
/// The first missing part.
pub fn statement(text: &str) -> Result<(Position, Hash), &'static str> {
    let lines: Vec<&str> = text
        .strip_suffix('\n')
        .unwrap_or(text)
        .split('\n')
        .collect();
    let [origin, position, hash, extensions @ ..] = lines.as_slice() else {
        return Err("it has fewer than three lines");
    };
    if origin.is_empty() || extensions.iter().any(|line| line.is_empty()) {
        return Err("it has an empty line");
    }
    let number: Option<u64> = position.parse().ok();
    let number = number
        .filter(|number| number.to_string() == *position)
        .ok_or("its second line is not a position")?;
    let bytes = BASE64.decode(hash).unwrap_or_default();
    let hash = Hash::from_slice(&bytes).map_err(|_| "its third line is not a hash in base64")?;
    Ok((Position(number), hash))
}
