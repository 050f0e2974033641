//! The program embeds the folder `migrations` as it is.

use std::path::Path;

use infrastructure::migrations::migrator;
use sqlx::migrate::{Migration, Migrator};

use crate::support::database::fresh_database;

fn described(migration: &Migration) -> (i64, &str, &str, bool, &[u8]) {
    let Migration {
        version,
        description,
        sql,
        checksum,
        no_tx,
        ..
    } = migration;
    (*version, description, sql, *no_tx, checksum)
}

#[tokio::test]
async fn embedded_migrations_are_those_of_the_folder() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
    let stored = Migrator::new(folder).await.unwrap();
    let embedded = migrator().await.unwrap();
    let stored: Vec<_> = stored.iter().map(described).collect();
    let embedded: Vec<_> = embedded.iter().map(described).collect();
    assert_eq!(embedded, stored);
}

/// Replication and a restored dump run a trigger function with an empty search_path.
#[tokio::test]
async fn trigger_functions_find_the_log_from_any_search_path() {
    let pool = fresh_database().await;
    let bare: Vec<String> = sqlx::query_scalar(
        "SELECT p.proname::text FROM pg_proc p
          WHERE p.pronamespace = current_schema()::regnamespace AND p.prorettype = 'trigger'::regtype
            AND p.prosrc ~ '\\m(events|log_head|event_hash|known_event_types|known_order_event_types)\\M'
            AND p.prosrc !~ 'TG_TABLE_SCHEMA'
            AND NOT coalesce('search_path=' || current_schema() || ', pg_temp' = ANY (p.proconfig), false)",
    )
    .fetch_all(&*pool)
    .await
    .unwrap();
    assert_eq!(
        bare,
        Vec::<String>::new(),
        "see migrations/0026_search_path.sql"
    );
}
