//! Proves before a server is ready that it can append, while it appends nothing.
//!
//! Promise: the session that appends is open, and the statement of an append was run in it with no
//! events, at a head that no log has: so its tables, privileges and triggers are there, and its
//! transactions may write. The head is that of the last event.
//! Limit: a commit that changes nothing is not replicated; the log's barrier proves that.

use domain::values::Position;
use sqlx::PgConnection;

use super::faults::unavailable;
use super::{PostgresLog, append_rows, standbys};
use crate::error::LogError;
use crate::log::{Batch, Head};
use crate::sqlstate::SqlState;
use crate::unwritable::Unwritable;

/// Why a database that could be opened cannot be appended to. Each message says what to change.
#[derive(Debug, thiserror::Error)]
pub enum CannotAppend {
    #[error("the database accepts no writes: {}; {}", .0, .0.remedy())]
    Unwritable(Unwritable),
    /// A privilege is missing.
    #[error(
        "the database user may not append ({0}): make it a member of holdfast_writer (docs/AUDIT.md, \
         least privilege)"
    )]
    NotPermitted(String),
    /// The row of the head is missing.
    #[error(
        "the log has no head: the table log_head is empty, as after a restore of some tables; \
         docs/LOG_REFUSED.md (a log without its head) has the statement that restores it"
    )]
    NoHead,
    /// The head is another position than that of the last event.
    #[error(
        "the head of the log is at position {head}, but its last event is at position {last}, as \
         after a restore of some tables; docs/LOG_REFUSED.md (a log without its head) has the \
         statement that restores it"
    )]
    OtherHead { head: i64, last: i64 },
    /// The proof failed for another reason.
    #[error("cannot open the session that appends")]
    Log(#[source] LogError),
}

/// A position that no log has.
const NEVER: Position = Position(i64::MAX as u64);

const ENDS: &str = "
SELECT h.position, e.position FROM (SELECT) one
  LEFT JOIN log_head h ON true
  LEFT JOIN (SELECT position FROM events ORDER BY position DESC LIMIT 1) e ON true";

impl PostgresLog {
    /// Opens the session that appends, if necessary, and proves that it can.
    ///
    /// # Errors
    /// [`CannotAppend`].
    pub async fn prove_append(&self) -> Result<(), CannotAppend> {
        let mut slot = self.writer.slot.lock().await;
        let failed = |error| self.cannot_append(error);
        let mut connection = match slot.take(&self.readers.last_failure) {
            Some(connection) => connection,
            None => self.writer.open(&mut slot).await.map_err(failed)?,
        };
        let (head, last) = self
            .in_time(self.prove_on(&mut connection))
            .await
            .map_err(failed)?;
        slot.put(connection);
        match (head, last.unwrap_or_default()) {
            (None, _) => Err(CannotAppend::NoHead),
            (Some(head), last) if head != last => Err(CannotAppend::OtherHead { head, last }),
            (Some(_), _) => Ok(()),
        }
    }

    async fn prove_on(
        &self,
        connection: &mut PgConnection,
    ) -> Result<(Option<i64>, Option<i64>), sqlx::Error> {
        let never = Head {
            position: NEVER,
            ..Head::default()
        };
        standbys::required(connection, &self.readers).await?;
        let nothing = Batch::seal(never, vec![]);
        let lock_timeout = self.writer.lock_timeout();
        let (append, append_at) = (&self.statements.append, &self.statements.append_at);
        append_rows(connection, append, &nothing, None, &lock_timeout).await?;
        append_rows(
            connection,
            append_at,
            &nothing,
            Some("(0,1)"),
            &lock_timeout,
        )
        .await?;
        sqlx::query_as(ENDS).fetch_one(connection).await
    }

    fn cannot_append(&self, error: sqlx::Error) -> CannotAppend {
        match Unwritable::of(&error) {
            // They may be attached in a moment, and a start waits.
            Some(Unwritable::Standbys) | None => {}
            Some(reason) => return CannotAppend::Unwritable(reason),
        }
        let is_not_permitted = SqlState::of(&error).is_some_and(|code| code.is_not_permitted());
        match error.as_database_error().filter(|_| is_not_permitted) {
            Some(refused) => CannotAppend::NotPermitted(refused.message().to_owned()),
            None => CannotAppend::Log(unavailable(error)),
        }
    }
}
