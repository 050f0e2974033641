//! Drops that a table excludes, because one of their events cannot be applied or was declared void.
//!
//! Promise: a mark, stored with the table, contains the position from which on no event of a drop
//! was folded; it is committed with the rows and the checkpoint. A process that can apply the
//! drop's events folds them from there (from the first event if one of them is void) and removes
//! the mark. So no event is skipped, and a process that cannot apply an event does not block the
//! others.
//! Limit: while a drop is excluded, its rows are as old as its mark.

use std::collections::{BTreeMap, BTreeSet};

use domain::values::{DropId, Position};
use infrastructure::codec::{RecordedEvent, read};
use infrastructure::log::StoredEvent;
use infrastructure::sql_values::{from_sql, to_sql};
use sqlx::{Executor, PgConnection};
use tracing::error;

use crate::error::CannotApply;
use crate::fold::Rows;
use crate::table::{self, Table};

/// The marks of one table, by drop: the first position that is not folded. 0 means that the rows
/// are invalid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ExcludedDrops {
    marks: BTreeMap<DropId, Position>,
    /// Marks at which this process has failed already.
    failed: BTreeSet<(DropId, Position)>,
}

impl ExcludedDrops {
    pub(crate) async fn load(
        connection: &mut PgConnection,
        name: &str,
    ) -> Result<Self, sqlx::Error> {
        let found: Vec<(uuid::Uuid, i64)> =
            sqlx::query_as("SELECT drop_id, position FROM projection_quarantines WHERE name = $1")
                .bind(name)
                .fetch_all(connection)
                .await?;
        let mark = |(drop_id, position): (uuid::Uuid, i64)| (DropId(drop_id), from_sql(position));
        Ok(Self {
            marks: found.into_iter().map(mark).collect(),
            failed: BTreeSet::new(),
        })
    }

    /// Writes the differences from `before`.
    pub(crate) async fn save(
        &self,
        connection: &mut PgConnection,
        name: &str,
        before: &Self,
    ) -> Result<(), sqlx::Error> {
        if self.marks == before.marks {
            return Ok(());
        }
        let gone = before.marks.keys();
        let gone = gone.filter(|drop_id| !self.marks.contains_key(drop_id));
        let gone: Vec<uuid::Uuid> = gone.map(|drop_id| drop_id.0).collect();
        sqlx::query("DELETE FROM projection_quarantines WHERE name = $1 AND drop_id = ANY($2)")
            .bind(name)
            .bind(gone)
            .execute(&mut *connection)
            .await?;
        for (drop_id, position) in &self.marks {
            if before.marks.get(drop_id) != Some(position) {
                sqlx::query(
                    "INSERT INTO projection_quarantines (name, drop_id, position) VALUES ($1, $2, $3)
                     ON CONFLICT (name, drop_id) DO UPDATE SET position = EXCLUDED.position",
                )
                .bind(name)
                .bind(drop_id.0)
                .bind(to_sql(*position))
                .execute(&mut *connection)
                .await?;
            }
        }
        Ok(())
    }

    /// Returns true if the event can be folded now, because its drop is not excluded from this
    /// position on.
    pub(crate) fn includes(&self, event: &RecordedEvent) -> bool {
        self.marks.is_empty()
            || self
                .marks
                .get(&event.drop_id)
                .is_none_or(|from| event.position < *from)
    }

    /// Excludes these drops from these positions on.
    pub(crate) fn exclude_all(&mut self, excluded: &[(Position, DropId)]) {
        for (position, drop_id) in excluded {
            self.exclude(*drop_id, *position);
        }
    }

    /// Excludes a drop from `position` on.
    pub(crate) fn exclude(&mut self, drop_id: DropId, position: Position) {
        let mark = self.marks.entry(drop_id).or_insert(position);
        *mark = position.min(*mark);
    }

    /// Marks the rows of a drop as invalid, because they may contain a void event.
    pub(crate) fn invalidate(&mut self, drop_id: DropId) {
        self.marks.insert(drop_id, Position(0));
    }

    /// Excludes the drop of an event that a fold cannot apply, where the engine has not judged the
    /// event.
    pub(crate) fn refuse<F: Table>(&mut self, event: &RecordedEvent, reason: &CannotApply) {
        let RecordedEvent {
            position, drop_id, ..
        } = *event;
        error!(
            projection = F::NAME, drop.id = %drop_id, position = position.0,
            "projection {} excludes drop {drop_id} from position {position} on: {reason}", F::NAME
        );
        self.exclude(drop_id, position);
        self.failed.insert((drop_id, position));
    }

    /// Returns the drops that may be folded again, with the position to start from.
    pub(crate) fn due(&self) -> impl Iterator<Item = (DropId, Position)> {
        let marks = self.marks.iter().map(|(drop_id, from)| (*drop_id, *from));
        marks.filter(|mark| !self.failed.contains(mark))
    }

    /// Records that a drop was folded again, to the end or to an event that was refused.
    pub(crate) fn refolded(&mut self, drop_id: DropId, refused: Option<Position>) {
        match refused {
            None => {
                self.marks.remove(&drop_id);
                self.failed.retain(|(failed, _)| *failed != drop_id);
            }
            Some(position) => {
                self.marks.insert(drop_id, position);
                self.failed.insert((drop_id, position));
            }
        }
    }
}

/// Why a drop cannot be folded again.
pub(crate) enum RefoldError {
    Sql(sqlx::Error),
    Fold(Position, CannotApply),
}

impl From<sqlx::Error> for RefoldError {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

/// Folds a drop's stream from `from` on into its table. Returns the position of the first event
/// that cannot be applied, if any.
pub(crate) async fn fold_stream<F: Table + Clone>(
    connection: &mut PgConnection,
    drop_id: DropId,
    from: Position,
    stream: &[StoredEvent],
    is_void: impl Fn(Position) -> bool,
) -> Result<Option<Position>, RefoldError> {
    if from == Position(0) {
        let delete = format!("DELETE FROM {} WHERE drop_id = '{}'", F::NAME, drop_id);
        connection.execute(delete.as_str()).await?;
    }
    let wanted = stream
        .iter()
        .filter(|stored| stored.position >= from && !is_void(stored.position));
    let (mut events, mut refused) = (vec![], None);
    for stored in wanted {
        match read(stored) {
            Ok(recorded) => events.extend(recorded),
            Err(event) => {
                refused = Some(event.position);
                break;
            }
        }
    }
    let mut rows = Rows::<F>::default();
    if from > Position(0) {
        let keys: BTreeSet<F::Key> = events
            .iter()
            .filter_map(|event| F::key(event.into()))
            .collect();
        let keys: Vec<F::Key> = keys.into_iter().collect();
        rows.0.extend(table::load::<F>(connection, &keys).await?);
    }
    for event in &events {
        rows.apply(event.position, event.into())
            .map_err(|reason| RefoldError::Fold(event.position, reason))?;
    }
    let all: Vec<_> = rows.0.values().collect();
    table::save::<F>(connection, &all).await?;
    Ok(refused)
}
