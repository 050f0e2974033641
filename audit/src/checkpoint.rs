//! `holdfast audit checkpoint`: a small signed statement of where the log ends, which an auditor keeps.
//!
//! It is a C2SP checkpoint (`tlog-checkpoint`) in a signed note: three lines (who says so, the position, the hash in
//! base64), an empty line, and an Ed25519 signature. One difference: the hash is the head of our chain, and no Merkle root.
//! Keys are written as Go's `sumdb/note` writes them, so that its tools read both.
//!
//! Promise: whoever holds a checkpoint and the public key proves later that the log still begins with what was stated.
//! Limit: the key's owner can state anything once; what they cannot do is take back a statement that has left the house. Of a
//! database the head is stated as it stands there; a file is proved first.

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

/// The kind of key that a note's signature is by: Ed25519.
const ED25519: u8 = 1;
/// The longest checkpoint, or key, that is read, in bytes. Ours have some 200; one that many have signed has some thousands.
const MOST_BYTES: u64 = 1 << 20;

/// What `audit checkpoint` is told.
#[derive(Debug, Args)]
pub struct CheckpointArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// Private key to sign with; without it, checkpoint.key in the data directory, made now if need be.
    #[arg(long, env = "HOLDFAST_AUDIT_SIGNING_KEY", value_name = "FILE")]
    key: Option<PathBuf>,

    /// What the key is called, and with it the log: a name without spaces and plus signs. A key made now is called holdfast/log
    /// without it; one that is there must have this name.
    #[arg(long, env = "HOLDFAST_AUDIT_ORIGIN", value_name = "NAME", value_parser = key_name)]
    origin: Option<String>,

    /// Write to a new file rather than to standard output.
    #[arg(long, short, env = "HOLDFAST_AUDIT_OUTPUT", value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What a key is called that nobody gave a name.
const ORIGIN: &str = "holdfast/log";

fn key_name(text: &str) -> Result<String, String> {
    is_name(text)
        .then(|| text.to_owned())
        .ok_or_else(|| "must have no spaces and no plus signs".to_owned())
}

/// Why a checkpoint or a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A file cannot be read or written.
    #[error("cannot use {path}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no key.
    #[error("{path} holds no Ed25519 key as signed notes write it")]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The log has a name already, which auditors know.
    #[error("the key in {path} is called {name}, not {asked}")]
    OtherName {
        /// The file.
        path: PathBuf,
        /// What it is called.
        name: String,
        /// What was asked for.
        asked: String,
    },
    /// The key that auditors know was lost, or is kept elsewhere.
    #[error(
        "{public} is there, but not {private}, which it belongs to: name it with --key, or take {public} away for a new one"
    )]
    NoPrivateKey {
        /// The public key's file.
        public: PathBuf,
        /// Where the other should be.
        private: PathBuf,
    },
    /// Nobody could check with it what this key signs.
    #[error("{public} does not belong to {private}")]
    OtherPublicKey {
        /// The public key's file.
        public: PathBuf,
        /// The private key's.
        private: PathBuf,
    },
    /// It is no checkpoint.
    #[error("{path} is no checkpoint in a signed note: {reason}")]
    NoCheckpoint {
        /// The file.
        path: PathBuf,
        /// What it lacks.
        reason: &'static str,
    },
    /// Somebody else signed it, or it was altered since.
    #[error("{path} is not signed by {key}, or was altered since")]
    Forged {
        /// The file.
        path: PathBuf,
        /// Whose key was tried.
        key: String,
    },
}

/// Signs the head of the log; exit code 1 when a file is no log.
///
/// # Errors
/// [`AuditError`].
pub async fn run(args: &CheckpointArgs) -> Result<ExitCode, AuditError> {
    let source = Source::open(&args.source).await?;
    let head = match &source {
        Source::Database(database) => head(&database.pool).await.map(Ok),
        // Nobody signs for a file that they have not looked at.
        Source::File(path) => {
            let outcome = verify_file(&source, path, vec![]).await;
            outcome.map(|outcome| outcome.map(|proof| proof.noted().head))
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
        None => PrivateKey::kept(&args.source.database.data_dir, origin)?,
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

/// Never over something that is there: a checkpoint that was kept is what a later log is held to.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())
}

/// Makes a file that appears whole, unless there is one; tells whether it did.
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

/// Where a checkpoint's private key is kept.
#[must_use]
pub fn private_key_file(data_dir: &Path) -> PathBuf {
    data_dir.join("checkpoint.key")
}

/// Where its public key is kept, to be handed out.
#[must_use]
pub fn public_key_file(data_dir: &Path) -> PathBuf {
    data_dir.join("checkpoint.pub")
}

struct PrivateKey {
    name: String,
    key: SigningKey,
}

impl PrivateKey {
    /// The key in the data directory, made now if there is none. Whoever comes first makes it: the private key appears whole,
    /// and before the public one.
    fn kept(data_dir: &Path, origin: Option<&str>) -> Result<Self, CheckpointError> {
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
            say(&format!("made a key; auditors need {}", public.display()));
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
            Some(asked) if asked != key.name => Err(CheckpointError::OtherName {
                path: path(),
                name: key.name,
                asked: asked.to_owned(),
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

/// Whose checkpoints are believed.
#[derive(Debug, Clone)]
pub struct PublicKey {
    name: String,
    key: VerifyingKey,
}

impl PublicKey {
    /// Reads it from a file.
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

    /// What a checkpoint claims, if this key signed it.
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
        // What nobody signed says nothing, so it is not looked at before.
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

    /// Others may have signed as well, with keys that we do not know; but what claims to be by this key must be.
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

/// `name+id+key`.
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

/// A note or a key. Whoever gives us a file may have put anything into it.
fn text_of(file: &Path) -> Result<String, CheckpointError> {
    let read = || {
        let mut text = String::new();
        let mut bounded = File::open(file)?.take(MOST_BYTES + 1);
        bounded.read_to_string(&mut text)?;
        if text.len() as u64 > MOST_BYTES {
            let reason = "it is longer than any checkpoint or key";
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
