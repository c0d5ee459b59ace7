//! The table `changes` as Bemi's worker makes it: what its migrations (MikroORM, February to April 2024)
//! leave, in words of our own.

/// What each migration does, in their order.
const MIGRATIONS: [&str; 7] = [
    // The table, with one column for the values of both sides.
    r#"CREATE TABLE changes (
        id uuid NOT NULL DEFAULT uuid_generate_v4(), created_at timestamptz(0) NOT NULL,
        primary_key varchar(255), "values" jsonb NOT NULL DEFAULT '{}', context jsonb NOT NULL DEFAULT '{}',
        database varchar(255) NOT NULL, schema varchar(255) NOT NULL, "table" varchar(255) NOT NULL,
        operation text NOT NULL CHECK (operation IN ('CREATE', 'UPDATE', 'DELETE', 'TRUNCATE', 'MESSAGE')),
        committed_at timestamptz(0) NOT NULL, queued_at timestamptz(0) NOT NULL,
        transaction_id int NOT NULL, position bigint NOT NULL, CONSTRAINT changes_pkey PRIMARY KEY (id),
        CONSTRAINT changes_position_database_schema_table_values_unique
            UNIQUE (position, database, schema, "table", "values"));
    CREATE INDEX changes_committed_at_index ON changes (committed_at);
    CREATE INDEX changes_context_index ON changes (context);
    CREATE INDEX changes_values_index ON changes ("values");
    CREATE INDEX changes_primary_key_index ON changes (primary_key)"#,
    // Both sides, with GIN indexes.
    r#"ALTER TABLE changes DROP CONSTRAINT changes_position_database_schema_table_values_unique;
    DROP INDEX changes_values_index, changes_context_index;
    ALTER TABLE changes RENAME COLUMN "values" TO after;
    ALTER TABLE changes ADD COLUMN before jsonb NOT NULL DEFAULT '{}';
    CREATE INDEX changes_before_index ON changes USING gin (before jsonb_path_ops);
    CREATE INDEX changes_after_index ON changes USING gin (after jsonb_path_ops);
    CREATE INDEX changes_context_index ON changes USING gin (context jsonb_path_ops);
    ALTER TABLE changes ADD CONSTRAINT changes_position_operation_table_schema_database_unique
        UNIQUE (position, operation, "table", schema, database)"#,
    r#"CREATE INDEX changes_table_index ON changes ("table")"#,
    // The operation leaves the key …
    r#"ALTER TABLE changes DROP CONSTRAINT changes_position_operation_table_schema_database_unique;
    CREATE INDEX changes_operation_index ON changes (operation);
    ALTER TABLE changes ADD CONSTRAINT changes_position_table_schema_database_unique
        UNIQUE (position, "table", schema, database)"#,
    // … and comes back.
    r#"ALTER TABLE changes DROP CONSTRAINT changes_position_table_schema_database_unique;
    ALTER TABLE changes ADD CONSTRAINT changes_position_table_schema_database_operation_unique
        UNIQUE (position, "table", schema, database, operation)"#,
    "ALTER TABLE changes ALTER transaction_id TYPE bigint",
    "ALTER TABLE changes ALTER created_at TYPE timestamptz, ALTER committed_at TYPE timestamptz, \
     ALTER queued_at TYPE timestamptz",
];

/// The names that the migrator notes.
const NAMES: [&str; MIGRATIONS.len()] = [
    "Migration20240201161333_init",
    "Migration20240208205640_before_and_after",
    "Migration20240322153919_index_table",
    "Migration20240322173541_index_operation_and_unique",
    "Migration20240322174908_return_unique_index",
    "Migration20240401141659_transaction_id_to_bigint",
    "Migration20240409135627_timestamps_with_microsecond",
];

/// How many migrations there are.
pub const ALL: usize = MIGRATIONS.len();

/// The SQL of the first `count` migrations, with the table in which the migrator notes them. The function of
/// uuid-ossp stands in for the extension, which not every server brings.
pub fn migrated(count: usize) -> String {
    let mut sql = String::from(
        "CREATE FUNCTION public.uuid_generate_v4() RETURNS uuid LANGUAGE sql AS 'SELECT gen_random_uuid()';
         CREATE TABLE _bemi_migrations (id serial PRIMARY KEY, name varchar(255),
             executed_at timestamptz DEFAULT current_timestamp)",
    );
    for (migration, name) in MIGRATIONS.iter().zip(NAMES).take(count) {
        sql.push_str(&format!(
            "; {migration}; INSERT INTO _bemi_migrations (name) VALUES ('{name}')"
        ));
    }
    sql
}

/// What the worker runs for a change that it read: every column but the id, and nothing where the key is
/// there.
pub fn insert(position: &str, transaction_id: &str) -> String {
    format!(
        "INSERT INTO changes (created_at, primary_key, before, after, context, database, schema, \"table\", \
         operation, committed_at, queued_at, transaction_id, position) \
         VALUES (now(), '1', '{{}}', '{{\"id\": 1}}', '{{}}', 'postgres', 'public', 't', 'CREATE', \
         '2024-05-01T10:00:00.123Z', '2024-05-01T10:00:00.456Z', {transaction_id}, {position}) \
         ON CONFLICT DO NOTHING"
    )
}
