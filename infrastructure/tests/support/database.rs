//! A database of one's own on the server that `HOLDFAST_TEST_DATABASE_URL` names.

use std::sync::atomic::{AtomicU32, Ordering};

use infrastructure::log::postgres::connect;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool};
use sqlx::{Connection, Executor};

/// An empty, migrated database that nobody else uses.
pub async fn fresh_database() -> PgPool {
    let server = server();
    let name = unique_name();
    let mut admin = PgConnection::connect_with(&server).await.unwrap();
    admin
        .execute(format!("CREATE DATABASE {name}").as_str())
        .await
        .unwrap();
    admin.close().await.unwrap();
    connect(server.database(&name), 12).await.unwrap()
}

fn server() -> PgConnectOptions {
    std::env::var("HOLDFAST_TEST_DATABASE_URL")
        .expect("HOLDFAST_TEST_DATABASE_URL must name a PostgreSQL server where this user may create databases")
        .parse()
        .expect("HOLDFAST_TEST_DATABASE_URL must be a postgres:// URL")
}

fn unique_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let run = uuid::Uuid::new_v4().simple().to_string();
    format!("holdfast_test_{run}_{number}")
}
