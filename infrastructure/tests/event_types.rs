//! The database accepts the pairs of event type and version that some release knows, and no others;
//! only the log's owner may append incidents.

use infrastructure::log::postgres::connect_as_is;
use infrastructure::migrations::migrator;
use infrastructure::upcasters::{known_order_pairs, known_pairs};
use private_postgres::testing;
use sqlx::{Executor, PgConnection, PgPool};
use uuid::Uuid;

use crate::support::database::fresh_database;

const STOCK_INSERT: &str = "
INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
VALUES ($1, $2, 1, $3, $4, '{}', '{}')";

async fn insert(
    connection: &mut PgConnection,
    aggregate_type: &str,
    event_type: &str,
    version: &str,
) -> Result<(), String> {
    let inserted = sqlx::query(STOCK_INSERT)
        .bind(aggregate_type)
        .bind(Uuid::new_v4().to_string())
        .bind(event_type)
        .bind(version)
        .execute(connection)
        .await;
    let code = |error: sqlx::Error| {
        let code = error.as_database_error().and_then(|error| error.code());
        code.map_or_else(|| error.to_string(), |code| code.into_owned())
    };
    inserted.map(|_| ()).map_err(code)
}

#[tokio::test]
async fn database_and_program_know_the_same_pairs() {
    let pool = fresh_database().await;
    let mut in_sql: Vec<String> = sqlx::query_scalar("SELECT unnest(known_event_types())")
        .fetch_all(&*pool)
        .await
        .unwrap();
    let pairs = known_pairs().into_iter();
    let mut in_rust: Vec<String> = pairs
        .map(|(kind, version)| format!("{kind} {version}"))
        .collect();
    in_sql.sort();
    in_rust.sort();
    assert_eq!(in_sql, in_rust);
}

#[tokio::test]
async fn database_and_program_know_the_same_pairs_of_orders() {
    let pool = fresh_database().await;
    let mut in_sql: Vec<String> = sqlx::query_scalar("SELECT unnest(known_order_event_types())")
        .fetch_all(&*pool)
        .await
        .unwrap();
    let pairs = known_order_pairs().into_iter();
    let mut in_rust: Vec<String> = pairs
        .map(|(kind, version)| format!("{kind} {version}"))
        .collect();
    in_sql.sort();
    in_rust.sort();
    assert_eq!(in_sql, in_rust);
    let mut connection = pool.acquire().await.unwrap();
    for (event_type, version) in known_order_pairs() {
        let inserted = insert(&mut connection, "Order", event_type, version).await;
        assert_eq!(inserted, Ok(()), "{event_type} {version}");
    }
    for (event_type, version) in [
        ("OrderPainted", "1.0"),
        ("OrderPlaced", "1.1"),
        ("HoldPlaced", "1.0"),
    ] {
        let inserted = insert(&mut connection, "Order", event_type, version).await;
        assert_eq!(inserted, Err("23514".to_owned()), "{event_type} {version}");
    }
}

#[tokio::test]
async fn unknown_pairs_are_rejected_and_known_ones_accepted() {
    let pool = fresh_database().await;
    let mut connection = pool.acquire().await.unwrap();
    for (event_type, version) in known_pairs() {
        let inserted = insert(&mut connection, "Drop", event_type, version).await;
        assert_eq!(inserted, Ok(()), "{event_type} {version}");
    }
    for (event_type, version) in [
        ("DropPainted", "1.0"),
        ("HoldPlaced", "0.8"),
        ("HoldPlaced", "1.1"),
        ("StockAdjusted", "0.9"),
        ("HoldPlaced 1.0", ""),
        ("", "HoldPlaced 1.0"),
        ("holdplaced", "1.0"),
        ("", ""),
    ] {
        let inserted = insert(&mut connection, "Drop", event_type, version).await;
        assert_eq!(inserted, Err("23514".to_owned()), "{event_type} {version}");
    }
    let foreign = insert(&mut connection, "Invoice", "InvoiceSent", "7.3").await;
    assert_eq!(foreign, Ok(()), "streams of other programs are not checked");
}

#[tokio::test]
async fn guard_works_while_replication_disables_triggers() {
    let pool = fresh_database().await;
    let mut replica = pool.acquire().await.unwrap();
    let statement = "SET session_replication_role = replica";
    replica.execute(statement).await.unwrap();
    let refused = insert(&mut replica, "Drop", "DropPainted", "1.0").await;
    assert_eq!(refused, Err("23514".to_owned()));
    let admitted = insert(&mut replica, "Drop", "HoldPlaced", "1.0").await;
    assert_eq!(admitted, Ok(()));
}

#[tokio::test]
async fn log_with_an_unknown_pair_is_migrated_and_accepts_no_more() {
    let database = testing::fresh_database().await;
    let pool = connect_as_is(database.url.parse().unwrap(), 2)
        .await
        .unwrap();
    let migrator = migrator().await.unwrap();
    // The schema of the previous release.
    for migration in migrator.iter().filter(|migration| migration.version < 7) {
        pool.execute(migration.sql.as_ref()).await.unwrap();
    }
    let mut connection = pool.acquire().await.unwrap();
    insert(&mut connection, "Drop", "DropPainted", "1.0")
        .await
        .unwrap();
    let seventh = migrator
        .iter()
        .find(|migration| migration.version == 7)
        .unwrap();
    connection.execute(seventh.sql.as_ref()).await.unwrap();
    let again = insert(&mut connection, "Drop", "DropPainted", "1.0").await;
    assert_eq!(again, Err("23514".to_owned()));
}

/// Switches to a new role with the rights of a server.
async fn as_writer(pool: &PgPool, connection: &mut PgConnection) {
    let role = format!("holdfast_test_{}", Uuid::new_v4().simple());
    let create = format!("CREATE ROLE {role} IN ROLE holdfast_writer");
    pool.execute(create.as_str()).await.unwrap();
    pool.execute("SELECT grant_holdfast_roles()").await.unwrap();
    connection
        .execute(format!("SET ROLE {role}").as_str())
        .await
        .unwrap();
}

#[tokio::test]
async fn appending_role_cannot_declare_a_position_void() {
    let pool = fresh_database().await;
    let mut connection = pool.acquire().await.unwrap();
    insert(&mut connection, "Log", "PositionVoided", "1.0")
        .await
        .unwrap();
    as_writer(&pool, &mut connection).await;
    let voided = insert(&mut connection, "Log", "PositionVoided", "1.0").await;
    assert_eq!(voided, Err("42501".to_owned()));
    insert(&mut connection, "Drop", "HoldPlaced", "1.0")
        .await
        .unwrap();
}

#[tokio::test]
async fn rows_of_the_tables_become_those_of_the_second_fold_version() {
    let database = testing::fresh_database().await;
    let pool = connect_as_is(database.url.parse().unwrap(), 2)
        .await
        .unwrap();
    let migrator = migrator().await.unwrap();
    for migration in migrator.iter().filter(|migration| migration.version < 9) {
        pool.execute(migration.sql.as_ref()).await.unwrap();
    }
    let rows = "
        INSERT INTO projection_checkpoints (name, position)
        VALUES ('live_stock', 3), ('top_purchasers', 3), ('sales_timeline', 3), ('other', 3);
        INSERT INTO top_purchasers VALUES (gen_random_uuid(), gen_random_uuid(), 2, now(), 3);
        INSERT INTO sales_timeline VALUES (gen_random_uuid(), now(), 2, 2, 0, 0, 1, 1, 0, 0, 3);
        INSERT INTO live_stock VALUES
            (gen_random_uuid(), '{}', 1, now(), NULL, 5, 3, 0, 2, 0, 0, 0, 3)";
    pool.execute(sqlx::raw_sql(rows)).await.unwrap();
    let ninth = migrator.iter().find(|migration| migration.version == 9);
    pool.execute(ninth.unwrap().sql.as_ref()).await.unwrap();
    let versions: Vec<(String, i32)> =
        sqlx::query_as("SELECT name, fold_version FROM projection_checkpoints ORDER BY name")
            .fetch_all(&*pool)
            .await
            .unwrap();
    let versions: Vec<(&str, i32)> = versions
        .iter()
        .map(|(name, version)| (name.as_str(), *version))
        .collect();
    assert_eq!(
        versions,
        [
            ("live_stock", 2),
            ("other", 1),
            ("sales_timeline", 2),
            ("top_purchasers", 2)
        ]
    );
    for table in ["live_stock", "top_purchasers", "sales_timeline"] {
        let refunded: i64 =
            sqlx::query_scalar(&format!("SELECT sum(refunded)::bigint FROM {table}"))
                .fetch_one(&*pool)
                .await
                .unwrap();
        assert_eq!(refunded, 0, "{table}");
    }
}
