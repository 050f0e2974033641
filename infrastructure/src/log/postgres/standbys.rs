//! Synchronous standbys that an operator requires (`HOLDFAST_REQUIRE_SYNC`).
//!
//! Promise: a commit is not acknowledged while `synchronous_standby_names` asks for fewer standbys:
//! the append itself checks it, in its own round trip, and one that waited checks it again. The
//! commit itself waits for as many standbys as the setting asks for.
//! Limit: if the setting is taken away during a commit that lasts less than [`SLOW_COMMIT`], its
//! record was sent to the standbys but may not be stored there.

use std::time::Duration;

use sqlx::PgConnection;

use super::connect::LogPool;
use super::{APPEND, HEAD, LOCK_HEAD};

/// A commit that lasts this long waited for a standby, perhaps until the setting was taken away.
pub(super) const SLOW_COMMIT: Duration = Duration::from_millis(20);

/// Raises TF002 if fewer are required; see migrations/0027_appends.sql.
const REQUIRE: &str = "SELECT require_standbys($1)";

/// The statements with the check. The number is small and not from a client, so that it is part of
/// the text.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) append: String,
    /// As `append`, with the address of the row of the head as the last parameter.
    pub(super) append_at: String,
    pub(super) lock_head: String,
    pub(super) head: String,
}

impl Checked {
    /// The statements for a log that requires this many standbys.
    pub(super) fn new(required: u32) -> Self {
        if required == 0 {
            return Self {
                append: APPEND.to_owned(),
                append_at: addressed(APPEND),
                lock_head: LOCK_HEAD.to_owned(),
                head: HEAD.to_owned(),
            };
        }
        let checked = |statement: &str| {
            let before = "set_config('lock_timeout'";
            statement.replacen(
                before,
                &format!("require_standbys({required}) AND {before}"),
                1,
            )
        };
        Self {
            append: checked(APPEND),
            append_at: addressed(&checked(APPEND)),
            lock_head: checked(LOCK_HEAD),
            head: format!("{HEAD} WHERE require_standbys({required}, true)"),
        }
    }
}

fn addressed(append: &str) -> String {
    let by_head = "WHERE position = $1";
    append.replacen(
        by_head,
        &format!("WHERE ctid = $18::text::tid AND {}", &by_head[6..]),
        1,
    )
}

/// Fails if fewer standbys are in force than `pool` requires.
pub(super) async fn required(
    connection: &mut PgConnection,
    pool: &LogPool,
) -> Result<(), sqlx::Error> {
    let Ok(required @ 1..) = i32::try_from(pool.required_standbys()) else {
        return Ok(());
    };
    let required = sqlx::query(REQUIRE).bind(required);
    required.execute(connection).await?;
    Ok(())
}
