//! The last head that a server acknowledged, as its data directory has it, compared with the log.
//!
//! Promise: a log with another history is a violation. A log that ends earlier is one only if the
//! file was named: every backup is older than the last head.

use std::path::{Path, PathBuf};

use infrastructure::error::LogError;
use infrastructure::kept_heads::{KeptHeads, KnownLog, LogId, Loss, file_in};
use infrastructure::log::postgres::PostgresLog;

use super::AuditError;
use super::source::Source;
use super::violation::Claim;

/// The claim's source for a head of the data directory.
pub const IN_DATA_DIR: &str = "heads.json of the data directory";

/// The file, as it was before the log was read.
#[derive(Debug)]
pub struct HeadFile {
    path: PathBuf,
    is_named: bool,
    heads: KeptHeads,
}

/// The result of a comparison.
#[derive(Debug, Default)]
pub struct Compared {
    /// The head that the log must have.
    pub claim: Option<Claim>,
    pub note: Option<String>,
    /// The entry of the file.
    pub known: Option<KnownLog>,
    pub loss: Option<Loss>,
}

impl HeadFile {
    /// Reads the file `named`, or that of the data directory, if there is one.
    ///
    /// # Errors
    /// [`AuditError::File`] when it cannot be read, or is named and does not exist.
    pub fn read(named: Option<&Path>, data_dir: &Path) -> Result<Self, AuditError> {
        let path = named.map_or_else(|| file_in(data_dir), Path::to_owned);
        let failed = |source| AuditError::File {
            path: path.clone(),
            source,
        };
        if named.is_some() {
            std::fs::metadata(&path).map_err(failed)?;
        }
        let heads = KeptHeads::read(&path).map_err(failed)?;
        Ok(Self {
            is_named: named.is_some(),
            path,
            heads,
        })
    }

    /// Compares the log with the entry of this log. An export is compared only with a named file,
    /// because it is a copy of an earlier time.
    ///
    /// # Errors
    /// [`AuditError`] when the log cannot be read, or the named file does not know it.
    pub async fn compare(&self, source: &Source) -> Result<Compared, AuditError> {
        match source {
            Source::Database(database) => {
                let log = PostgresLog::new(database.pool.clone());
                self.compare_log(&log).await
            }
            Source::File(_) if !self.is_named => Ok(Compared::default()),
            Source::File(_) => {
                let id = source.first_hash().await?.map(LogId::of_first);
                let known = self.of(id)?;
                Ok(Compared {
                    claim: known.as_ref().map(|known| self.claim(known)),
                    known,
                    ..Compared::default()
                })
            }
        }
    }

    /// As [`HeadFile::compare`], for a database.
    ///
    /// # Errors
    /// As [`HeadFile::compare`].
    pub async fn compare_log(&self, log: &PostgresLog) -> Result<Compared, AuditError> {
        let Some(id) = self.or_damaged(log.id().await)? else {
            return Ok(Compared::default());
        };
        let Some(known) = self.of(id)? else {
            return Ok(Compared::default());
        };
        let Some(loss) = self.or_damaged(log.loss(&known).await)? else {
            return Ok(Compared::default());
        };
        let claim = self.claim(&known);
        let known = Some(known);
        let Some(loss) = loss else {
            return Ok(Compared {
                claim: Some(claim),
                known,
                ..Compared::default()
            });
        };
        let accepted = loss.accepted.as_ref().map(|accepted| accepted.to_string());
        // Another history contradicts the claim.
        let is_claimed = accepted.is_none() && (self.is_named || loss.other.is_some());
        Ok(Compared {
            claim: is_claimed.then_some(claim),
            note: match is_claimed {
                true => None,
                false => Some(accepted.unwrap_or_else(|| loss.to_string())),
            },
            known,
            loss: Some(loss),
        })
    }

    /// Returns `None` for a log that cannot be read: the verification finds out why. A named file
    /// must be compared.
    fn or_damaged<T>(&self, read: Result<T, LogError>) -> Result<Option<T>, AuditError> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(error) if self.is_named => Err(AuditError::Log(error)),
            Err(_) => Ok(None),
        }
    }

    fn of(&self, id: Option<LogId>) -> Result<Option<KnownLog>, AuditError> {
        let known = id.and_then(|id| self.heads.of(id)).cloned();
        if known.is_none() && self.is_named {
            let source = std::io::Error::other("it has no head of this log");
            return Err(AuditError::File {
                path: self.path.clone(),
                source,
            });
        }
        Ok(known)
    }

    fn claim(&self, known: &KnownLog) -> Claim {
        Claim {
            position: known.head.position,
            hash: known.head.hash,
            source: match self.is_named {
                true => self.path.display().to_string(),
                false => IN_DATA_DIR.to_owned(),
            },
        }
    }
}
