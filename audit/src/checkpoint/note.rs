//! A signed note, and the checkpoint in it, read as strictly as they are described: <https://c2sp.org/signed-note>,
//! <https://c2sp.org/tlog-checkpoint>.
//!
//! Promise: every byte of a note belongs to its text or to a signature line; what is read is what was signed. Limit: what a
//! checkpoint says after its first three lines (extension lines, which the description allows) is signed, and not read.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use domain::values::Position;
use infrastructure::log::Hash;

/// A text and who signed it, nothing of which is checked yet.
#[derive(Debug)]
pub struct Note<'a> {
    /// What is signed, with its last line feed.
    pub text: &'a str,
    /// By whom.
    pub signatures: Vec<Signed<'a>>,
}

/// One signature line.
#[derive(Debug)]
pub struct Signed<'a> {
    /// What the key is called.
    pub name: &'a str,
    /// Tells keys of one name apart.
    pub id: [u8; 4],
    /// The rest, as the kind of key has it.
    pub signature: Vec<u8>,
}

impl<'a> Note<'a> {
    /// Takes a note apart.
    ///
    /// # Errors
    /// What it lacks.
    pub fn parse(note: &'a str) -> Result<Self, &'static str> {
        if note.bytes().any(|byte| byte < b' ' && byte != b'\n') {
            return Err("it has control characters, or lines that end with more than a line feed");
        }
        let (text, signatures) = note
            .rsplit_once("\n\n")
            .ok_or("there is no empty line before its signatures")?;
        let text = &note[..=text.len()];
        let signatures = signatures
            .strip_suffix('\n')
            .ok_or("it does not end with a signature line")?;
        let signatures: Option<_> = signatures.split('\n').map(Signed::parse).collect();
        let signatures = signatures.ok_or("there is something else among its signature lines")?;
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

/// Whether a key may be called so.
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c == '+')
}

/// What a checkpoint states: where the log ends, and what that commits to.
///
/// # Errors
/// What it lacks.
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
        .ok_or("its second line is no position")?;
    let bytes = BASE64.decode(hash).unwrap_or_default();
    let hash = Hash::from_slice(&bytes).map_err(|_| "its third line is no hash in base64")?;
    Ok((Position(number), hash))
}
