//! Migrations go up, down and up again, and `schema.rs` says what they make.

use std::collections::BTreeSet;

use callboard::store::{DEFAULT_TENANT, Store};

use crate::{World, on_both, postgres::Postgres, server};

on_both!(
    migrations_go_up_down_and_up_again,
    migrating_twice_at_once_runs_each_migration_once,
    database_without_migrations_names_what_it_lacks,
);

async fn migrations_go_up_down_and_up_again(world: World) {
    let first = world.store.database_id().await.unwrap();
    let reverted = Store::revert_all(&world.options).await.unwrap();
    assert!(world.store.database_id().await.is_err());
    let again = Store::migrate(&world.options).await.unwrap();
    assert_eq!(again.len(), reverted.len());
    let second = world.store.database_id().await.unwrap();
    assert_ne!(first, second, "every database has an id of its own");
    assert_eq!(second.parse::<uuid::Uuid>().unwrap().to_string(), second);
    assert_eq!(
        Store::migrate(&world.options).await.unwrap(),
        Vec::<String>::new()
    );
    assert!(world.store.tenant(DEFAULT_TENANT).await.unwrap().is_some());
}

async fn migrating_twice_at_once_runs_each_migration_once(world: World) {
    let all = Store::revert_all(&world.options).await.unwrap().len();
    let (one, other) = tokio::join!(
        Store::migrate(&world.options),
        Store::migrate(&world.options)
    );
    assert_eq!(one.unwrap().len() + other.unwrap().len(), all);
}

async fn database_without_migrations_names_what_it_lacks(world: World) {
    assert_eq!(
        Store::pending_migrations(&world.options).await.unwrap(),
        Vec::<String>::new()
    );
    Store::revert_all(&world.options).await.unwrap();
    let pending = Store::pending_migrations(&world.options).await.unwrap();
    assert_eq!(pending.len(), 3);
    assert!(pending[0].ends_with("_create_tenants"), "{pending:?}");
    assert_eq!(Store::migrate(&world.options).await.unwrap(), pending);
}

#[test]
fn both_databases_have_the_same_migrations() {
    let names = |database: &str| -> BTreeSet<String> {
        std::fs::read_dir(format!(
            "{}/migrations/{database}",
            env!("CARGO_MANIFEST_DIR")
        ))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
    };
    assert_eq!(names("postgres"), names("sqlite"));
}

#[tokio::test]
async fn schema_file_is_what_postgres_has() {
    let server: &Postgres = server();
    let database = server.create_database();
    let world = World::open(server.url(&database), None).await;
    drop(world);
    let columns = server.sql(
        &database,
        "SELECT table_name || '.' || column_name || ' ' || is_nullable || ' ' || udt_name FROM information_schema.columns
         WHERE table_schema = 'public' AND table_name NOT LIKE '\\_\\_%' ORDER BY table_name, ordinal_position",
    );
    assert_eq!(declared_columns().join("\n"), columns);
}

/// The columns that `schema.rs` declares, in the words of PostgreSQL.
fn declared_columns() -> Vec<String> {
    let text = include_str!("../../src/store/schema.rs");
    let mut table = "";
    let mut columns = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some((name, kind)) = line.trim_end_matches(',').split_once(" -> ")
            && !line.starts_with("diesel")
        {
            let inner = kind
                .strip_prefix("Nullable<")
                .and_then(|kind| kind.strip_suffix('>'));
            let null = if inner.is_some() { "YES" } else { "NO" };
            let kind = inner.unwrap_or(kind).to_lowercase();
            columns.push(format!("{table}.{name} {null} {kind}"));
        } else if let Some((name, _)) = line.split_once(" (")
            && line.ends_with(") {")
        {
            table = name;
        }
    }
    columns
}
