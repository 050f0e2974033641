//! The program embeds the folder `migrations` as it is.

use std::path::Path;

use infrastructure::migrations::migrator;
use sqlx::migrate::{Migration, Migrator};

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
