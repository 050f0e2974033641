//! `holdfast audit checkpoint`: a small signed statement of the log's head, which an auditor keeps.
//!
//! It is a C2SP checkpoint (`tlog-checkpoint`) in a signed note: three lines (origin, position,
//! hash in base64), an empty line, and an Ed25519 signature. One difference: the hash is the head
//! of the hash chain, not a Merkle root. Keys have the format of Go's `sumdb/note`, so its tools
//! can read both.
//!
//! Promise: a checkpoint and the public key prove later that the log still begins with the stated
//! history. Limit: the key's owner can sign anything once, but cannot revoke a checkpoint that
//! others hold. For a database the head is signed as recorded; a file is verified first.

mod note;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use infrastructure::log::{Head, copy};
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use terminal::say;

use self::note::{Note, Signed, is_name, statement};
use super::proof::verify_file;
use super::source::{Source, SourceArgs};
use super::violation::{Claim, Stop};
use super::{AuditError, print};

/// The signature algorithm of a note's key: Ed25519.
const ED25519: u8 = 1;
/// The longest checkpoint or key that is read, in bytes. Ours have some 200; one with many
/// signatures has some thousands.
const MOST_BYTES: u64 = 1 << 20;

/// Arguments of `audit checkpoint`.
#[derive(Debug, Args)]
pub struct CheckpointArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// Private key to sign with; without it, checkpoint.key in the data directory, which is
    /// generated if missing.
    #[arg(long, env = "HOLDFAST_AUDIT_SIGNING_KEY", value_name = "FILE")]
    key: Option<PathBuf>,

    /// Name of the key, and thereby of the log, without spaces and plus signs. The default for a
    /// generated key is holdfast/log; an existing key must have this name.
    #[arg(long, env = "HOLDFAST_AUDIT_ORIGIN", value_name = "NAME", value_parser = key_name)]
    origin: Option<String>,

    /// Write to a new file instead of standard output.
    #[arg(long, short, env = "HOLDFAST_AUDIT_OUTPUT", value_name = "FILE")]
    output: Option<PathBuf>,
}

/// The default name of a generated key.
const ORIGIN: &str = "holdfast/log";

fn key_name(text: &str) -> Result<String, String> {
    is_name(text)
        .then(|| text.to_owned())
        .ok_or_else(|| "must have no spaces and no plus signs".to_owned())
}

#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("cannot use {path}")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The file does not contain a key.
    #[error("{path} does not contain an Ed25519 key in the format of signed notes")]
    NoKey { path: PathBuf },
    /// The key has another name, which auditors know.
    #[error("the key in {path} has the name {name}, not {requested}")]
    OtherName {
        path: PathBuf,
        name: String,
        requested: String,
    },
    /// The private key to a public key that auditors know is missing.
    #[error(
        "{public} exists, but its private key {private} does not: set --key, or remove {public} to generate a new pair"
    )]
    NoPrivateKey { public: PathBuf, private: PathBuf },
    /// The two key files are not a pair.
    #[error("{public} does not belong to {private}")]
    OtherPublicKey { public: PathBuf, private: PathBuf },
    /// The file is not a checkpoint.
    #[error("{path} is not a checkpoint in a signed note: {reason}")]
    NoCheckpoint { path: PathBuf, reason: &'static str },
    /// The signature is missing or invalid.
    #[error("{path} is not signed by {key}, or was altered afterwards")]
    Forged {
        path: PathBuf,
        /// The name of the key that was tried.
        key: String,
    },
}

/// Signs the head of the log. Exit code 1 if a file fails verification.
///
/// # Errors
/// [`AuditError`].
pub async fn run(args: &CheckpointArgs) -> Result<ExitCode, AuditError> {
    let source = Source::open(&args.source).await?;
    let head = match &source {
        Source::Database(database) => head(&database.pool).await.map(Ok),
        // A file is verified before its head is signed.
        Source::File(path) => {
            let outcome = verify_file(&source, path, vec![]).await;
            outcome.map(|outcome| outcome.map(|proof| proof.with_notes_printed().head))
        }
    };
    source.close().await;
    match head? {
        Ok(head) => state(args, head),
        Err(Stop::Violated(violation)) => {
            say(&format!("holdfast: {violation}"));
            Ok(ExitCode::FAILURE)
        }
        Err(Stop::Scratch(error)) => Err(AuditError::Scratch(error)),
    }
}

async fn head(pool: &PgPool) -> Result<Head, AuditError> {
    let mut connection = pool.acquire().await?;
    let (head, _) = copy::head_and_stray(&mut connection)
        .await
        .map_err(AuditError::Log)?;
    Ok(head)
}

fn state(args: &CheckpointArgs, head: Head) -> Result<ExitCode, AuditError> {
    let origin = args.origin.as_deref();
    let key = match &args.key {
        Some(file) => PrivateKey::read(file, origin)?,
        None => PrivateKey::load_or_create(&args.source.database.data_dir, origin)?,
    };
    let note = key.sign(head);
    match &args.output {
        None => print(note.trim_end_matches('\n')),
        Some(path) => {
            write_new(path, &note).map_err(|source| failed(path, source))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Never overwrites a file: a kept checkpoint is evidence.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())
}

/// Atomically creates a file with `text` unless it exists. Returns whether it was created.
fn appear(path: &Path, text: &str, mode: u32) -> io::Result<bool> {
    let mut whole = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(mode))
        .tempfile_in(path.parent().unwrap_or(Path::new(".")))?;
    whole.write_all(text.as_bytes())?;
    whole.as_file().sync_all()?;
    match whole.persist_noclobber(path) {
        Ok(_) => Ok(true),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.error),
    }
}

/// The file of the private checkpoint key.
#[must_use]
pub fn private_key_file(data_dir: &Path) -> PathBuf {
    data_dir.join("checkpoint.key")
}

/// The file of the public checkpoint key, which is handed to auditors.
#[must_use]
pub fn public_key_file(data_dir: &Path) -> PathBuf {
    data_dir.join("checkpoint.pub")
}

struct PrivateKey {
    name: String,
    key: SigningKey,
}

impl PrivateKey {
    /// Reads the key pair in the data directory, generated if missing. Of concurrent processes, the
    /// first one wins: the private key appears atomically, and before the public one.
    fn load_or_create(data_dir: &Path, origin: Option<&str>) -> Result<Self, CheckpointError> {
        let (private, public) = (private_key_file(data_dir), public_key_file(data_dir));
        let had_public = public.exists();
        if !private.exists() {
            if had_public {
                return Err(CheckpointError::NoPrivateKey { public, private });
            }
            fs::create_dir_all(data_dir).map_err(|source| failed(data_dir, source))?;
            let text = Self::new(origin).to_text();
            appear(&private, &text, 0o600).map_err(|source| failed(&private, source))?;
        }
        let key = Self::read(&private, origin)?;
        let text = key.public().to_text();
        let is_new = appear(&public, &text, 0o644).map_err(|source| failed(&public, source))?;
        if is_new {
            say(&format!(
                "generated a key pair; auditors need {}",
                public.display()
            ));
        } else if text_of(&public)?.trim() != text {
            return Err(CheckpointError::OtherPublicKey { public, private });
        }
        Ok(key)
    }

    fn new(origin: Option<&str>) -> Self {
        Self {
            name: origin.unwrap_or(ORIGIN).to_owned(),
            key: SigningKey::from_bytes(&rand::random()),
        }
    }

    fn to_text(&self) -> String {
        let text = to_text(&self.name, self.public().id(), self.key.as_bytes());
        format!("PRIVATE+KEY+{text}")
    }

    fn read(file: &Path, origin: Option<&str>) -> Result<Self, CheckpointError> {
        let text = text_of(file)?;
        let read = || {
            let (name, id, key) = parts(text.trim().strip_prefix("PRIVATE+KEY+")?)?;
            let key = SigningKey::from_bytes(&key);
            let private = Self { name, key };
            (private.public().id() == id).then_some(private)
        };
        let path = || file.to_owned();
        let key = read().ok_or_else(|| CheckpointError::NoKey { path: path() })?;
        match origin {
            Some(requested) if requested != key.name => Err(CheckpointError::OtherName {
                path: path(),
                name: key.name,
                requested: requested.to_owned(),
            }),
            Some(_) | None => Ok(key),
        }
    }

    fn public(&self) -> PublicKey {
        PublicKey {
            name: self.name.clone(),
            key: self.key.verifying_key(),
        }
    }

    fn sign(&self, head: Head) -> String {
        let body = format!(
            "{}\n{}\n{}\n",
            self.name,
            head.position,
            BASE64.encode(head.hash.0)
        );
        let signature = self.key.sign(body.as_bytes()).to_bytes();
        let signed = [self.public().id().as_slice(), &signature].concat();
        format!("{body}\n— {} {}\n", self.name, BASE64.encode(signed))
    }
}

/// Verifies checkpoints.
#[derive(Debug, Clone)]
pub struct PublicKey {
    name: String,
    key: VerifyingKey,
}

impl PublicKey {
    /// Reads the key from a file.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn read(file: &Path) -> Result<Self, CheckpointError> {
        let text = text_of(file)?;
        text.parse().map_err(|()| CheckpointError::NoKey {
            path: file.to_owned(),
        })
    }

    fn id(&self) -> [u8; 4] {
        let hash = Sha256::new()
            .chain_update(&self.name)
            .chain_update(b"\n")
            .chain_update([ED25519])
            .chain_update(self.key.as_bytes())
            .finalize();
        [hash[0], hash[1], hash[2], hash[3]]
    }

    fn to_text(&self) -> String {
        to_text(&self.name, self.id(), self.key.as_bytes())
    }

    /// Returns the checkpoint's claim if this key signed it.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn open(&self, file: &Path) -> Result<Claim, CheckpointError> {
        let text = text_of(file)?;
        let path = || file.to_owned();
        let no_checkpoint = |reason| CheckpointError::NoCheckpoint {
            path: path(),
            reason,
        };
        let note = Note::parse(&text).map_err(no_checkpoint)?;
        // Unsigned content is not trusted, so the signature is checked first.
        if !self.has_signed(&note) {
            let key = self.name.clone();
            return Err(CheckpointError::Forged { path: path(), key });
        }
        let (position, hash) = statement(note.text).map_err(no_checkpoint)?;
        let source = format!("checkpoint {}", file.display());
        Ok(Claim {
            position,
            hash,
            source,
        })
    }

    /// Other keys, unknown to us, may have signed as well; but every signature in this key's name
    /// must be valid.
    fn has_signed(&self, note: &Note<'_>) -> bool {
        let is_ours = |signed: &&Signed<'_>| signed.name == self.name && signed.id == self.id();
        let is_valid = |signed: &Signed<'_>| {
            let signature = Signature::from_slice(&signed.signature);
            let text = note.text.as_bytes();
            signature.is_ok_and(|signature| self.key.verify_strict(text, &signature).is_ok())
        };
        let mut ours = note.signatures.iter().filter(is_ours).peekable();
        ours.peek().is_some() && ours.all(is_valid)
    }
}

impl FromStr for PublicKey {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (name, id, key) = parts(text.trim()).ok_or(())?;
        let key = VerifyingKey::from_bytes(&key).map_err(|_| ())?;
        let public = Self { name, key };
        (public.id() == id).then_some(public).ok_or(())
    }
}

/// Formats `name+id+key`.
fn to_text(name: &str, id: [u8; 4], key: &[u8; 32]) -> String {
    let typed = [&[ED25519], key.as_slice()].concat();
    format!("{name}+{}+{}", hex::encode(id), BASE64.encode(typed))
}

fn parts(text: &str) -> Option<(String, [u8; 4], [u8; 32])> {
    let (name, rest) = text.split_once('+')?;
    let (id, key) = rest.split_once('+')?;
    let mut read_id = [0; 4];
    hex::decode_to_slice(id, &mut read_id).ok()?;
    let typed = BASE64.decode(key).ok()?;
    let key = typed.strip_prefix(&[ED25519])?.try_into().ok()?;
    is_name(name).then(|| (name.to_owned(), read_id, key))
}

/// Reads a note or a key. The file is untrusted, so its size is limited.
fn text_of(file: &Path) -> Result<String, CheckpointError> {
    let read = || {
        let mut text = String::new();
        let mut bounded = File::open(file)?.take(MOST_BYTES + 1);
        bounded.read_to_string(&mut text)?;
        if text.len() as u64 > MOST_BYTES {
            let reason = "the file is longer than any checkpoint or key";
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
        }
        Ok(text)
    };
    read().map_err(|source| failed(file, source))
}

fn failed(path: &Path, source: io::Error) -> CheckpointError {
    CheckpointError::File {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests;
