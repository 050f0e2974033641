//! `holdfast audit checkpoint`: a small signed statement of where the log ends, which an auditor keeps.
//!
//! It is a C2SP checkpoint (`tlog-checkpoint`) in a signed note: three lines (who says so, the position, the hash in
//! base64), an empty line, and an Ed25519 signature. One difference: the hash is the head of our chain, and no Merkle root.
//! Keys are written as Go's `sumdb/note` writes them, so that its tools read both.
//!
//! Promise: whoever holds a checkpoint and the public key proves later that the log still begins with what was stated.
//! Limit: the key's owner can state anything once; what they cannot do is take back a statement that has left the house.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use domain::values::Position;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use infrastructure::log::{Hash, Head, copy};
use sha2::{Digest, Sha256};

use super::source::{Source, SourceArgs, Wanted};
use super::violation::Claim;
use super::{AuditError, print};

/// The kind of key that a note's signature is by: Ed25519.
const ED25519: u8 = 1;

/// What `audit checkpoint` is told.
#[derive(Debug, Args)]
pub struct CheckpointArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// Private key to sign with; without it, checkpoint.key in the data directory, made now if need be.
    #[arg(long, env = "HOLDFAST_AUDIT_SIGNING_KEY", value_name = "FILE")]
    key: Option<PathBuf>,

    /// What a key made now is called, and with it the log: a name without spaces and plus signs.
    #[arg(long, env = "HOLDFAST_AUDIT_ORIGIN", value_name = "NAME", default_value = "holdfast/log", value_parser = key_name)]
    origin: String,

    /// Write to a file rather than to standard output.
    #[arg(long, short, env = "HOLDFAST_AUDIT_OUTPUT", value_name = "FILE")]
    output: Option<PathBuf>,
}

fn key_name(text: &str) -> Result<String, String> {
    let is_name = !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c == '+');
    is_name
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
    /// It is no checkpoint.
    #[error("{path} is no checkpoint in a signed note")]
    NoCheckpoint {
        /// The file.
        path: PathBuf,
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

/// Signs the head of the log.
///
/// # Errors
/// [`AuditError`].
pub async fn run(args: &CheckpointArgs) -> Result<ExitCode, AuditError> {
    let source = Source::open(&args.source).await?;
    let head = head(&source).await;
    source.close().await;
    let key = match &args.key {
        Some(file) => PrivateKey::read(file)?,
        None => PrivateKey::kept(&args.source.database.data_dir, &args.origin)?,
    };
    let note = key.sign(head?);
    match &args.output {
        None => print(note.trim_end_matches('\n')),
        Some(path) => {
            fs::write(path, note).map_err(|source| failed(path, source))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn head(source: &Source) -> Result<Head, AuditError> {
    if let Source::Database(database) = source {
        let mut connection = database.pool.acquire().await?;
        let (head, _) = copy::head_and_stray(&mut connection)
            .await
            .map_err(AuditError::Log)?;
        return Ok(head);
    }
    let mut reading = source.read(Wanted::default(), "reading").await?;
    while reading.next().await.map_err(AuditError::Log)?.is_some() {}
    Ok(reading.last().unwrap_or_default())
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
    /// The key in the data directory, made now if there is none.
    fn kept(data_dir: &Path, name: &str) -> Result<Self, CheckpointError> {
        let file = private_key_file(data_dir);
        if file.exists() {
            return Self::read(&file);
        }
        let made = Self {
            name: name.to_owned(),
            key: SigningKey::from_bytes(&rand::random()),
        };
        fs::create_dir_all(data_dir).map_err(|source| failed(data_dir, source))?;
        let public = public_key_file(data_dir);
        fs::write(&public, format!("{}\n", made.public().to_text()))
            .map_err(|source| failed(&public, source))?;
        made.write(&file).map_err(|source| failed(&file, source))?;
        eprintln!("made a key; auditors need {}", public.display());
        Ok(made)
    }

    fn read(file: &Path) -> Result<Self, CheckpointError> {
        let text = fs::read_to_string(file).map_err(|source| failed(file, source))?;
        let read = || {
            let (name, id, key) = parts(text.trim().strip_prefix("PRIVATE+KEY+")?)?;
            let key = SigningKey::from_bytes(&key);
            let private = Self { name, key };
            (private.public().id() == id).then_some(private)
        };
        read().ok_or_else(|| CheckpointError::NoKey {
            path: file.to_owned(),
        })
    }

    fn write(&self, file: &Path) -> io::Result<()> {
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(file)?;
        let text = to_text(&self.name, self.public().id(), self.key.as_bytes());
        writeln!(file, "PRIVATE+KEY+{text}")
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
        let text = fs::read_to_string(file).map_err(|source| failed(file, source))?;
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
        let note = fs::read_to_string(file).map_err(|source| failed(file, source))?;
        let path = || file.to_owned();
        let no_checkpoint = || CheckpointError::NoCheckpoint { path: path() };
        let (body, signatures) = note.rsplit_once("\n\n").ok_or_else(no_checkpoint)?;
        let body = format!("{body}\n");
        let claim = statement(&body).ok_or_else(no_checkpoint)?;
        if !signatures.lines().any(|line| self.has_signed(&body, line)) {
            let key = self.name.clone();
            return Err(CheckpointError::Forged { path: path(), key });
        }
        let (position, hash) = claim;
        let source = format!("checkpoint {}", file.display());
        Ok(Claim {
            position,
            hash,
            source,
        })
    }

    fn has_signed(&self, body: &str, line: &str) -> bool {
        let read = || {
            let (name, signed) = line.strip_prefix("— ")?.split_once(' ')?;
            let signed = BASE64.decode(signed).ok()?;
            let (id, signature) = signed.split_first_chunk::<4>()?;
            let signature = Signature::from_slice(signature).ok()?;
            let is_ours = name == self.name && *id == self.id();
            Some(is_ours && self.key.verify_strict(body.as_bytes(), &signature).is_ok())
        };
        read().unwrap_or(false)
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

fn statement(body: &str) -> Option<(Position, Hash)> {
    let mut lines = body.lines();
    let _origin = lines.next()?;
    let position = lines.next()?.parse().ok().map(Position)?;
    let hash = BASE64.decode(lines.next()?).ok()?;
    Some((position, Hash::from_slice(&hash).ok()?))
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
    Some((name.to_owned(), read_id, key))
}

fn failed(path: &Path, source: io::Error) -> CheckpointError {
    CheckpointError::File {
        path: path.to_owned(),
        source,
    }
}
