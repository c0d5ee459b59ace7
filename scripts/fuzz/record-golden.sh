#!/bin/sh
# Records what pgoutput really sends, for the tests of src/pgoutput.
#
#   scripts/fuzz/record-golden.sh BIN_DIR OUT_DIR
#
# BIN_DIR holds initdb, pg_ctl and postgres of one PostgreSQL version (14 or later); psql is taken
# from there or from PATH. Starts a server in a temporary directory, reachable by a Unix socket
# only, runs every OUT_DIR/sql/<name>.sql in a database of its own and writes
# OUT_DIR/pg<MAJOR>-<name>.hex: one message a line, its LSN and its bytes in hex. The server is
# stopped and removed at the end, however that comes.
#
# Lines at the top of a scenario say how it is recorded:
#   -- since: 15              from this major version on (default 14)
#   -- database: ENCODING …   further words for CREATE DATABASE
#   -- options: 'name', 'v', … the plugin's options, in place of proto_version 1 with messages
#   -- keep: SQL expression   only the messages for which it holds, over lsn, xid, data and nth, the
#                             message's number among those with the same tag
set -eu

if [ $# -ne 2 ]; then
    echo "usage: $0 BIN_DIR OUT_DIR" >&2
    exit 64
fi
bin=$(cd "$1" && pwd)
out=$(cd "$2" && pwd)
psql=$bin/psql
[ -x "$psql" ] || psql=psql

# PostgreSQL does not run as root.
if [ "$(id -u)" -eq 0 ]; then
    server() { setpriv --reuid postgres --regid postgres --clear-groups "$@"; }
else
    server() { "$@"; }
fi

dir=$(mktemp -d /tmp/zemi-golden.XXXXXX)
cleanup() {
    server "$bin/pg_ctl" -D "$dir/data" -m immediate -w stop >/dev/null 2>&1 || true
    rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM
if [ "$(id -u)" -eq 0 ]; then
    chown postgres:postgres "$dir"
fi

# The settings by which a walsender prints values for zemi.
PGOPTIONS="-c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=postgres -c extra_float_digits=3 \
-c bytea_output=hex -c client_min_messages=warning"
PGHOST=$dir PGPORT=5432 PGUSER=postgres
export PGOPTIONS PGHOST PGPORT PGUSER
unset PGDATABASE PGSERVICE PGCLIENTENCODING || true
sql() { "$psql" -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }

cd "$dir"
server "$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C --no-sync \
    >"$dir/initdb.log"
cat >>"$dir/data/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$dir'
port = 5432
wal_level = logical
fsync = off
autovacuum = off
logical_decoding_work_mem = 64kB
max_prepared_transactions = 5
CONF
server "$bin/pg_ctl" -D "$dir/data" -l "$dir/server.log" -w -t 60 start >/dev/null || {
    cat "$dir/server.log" >&2
    exit 1
}
version=$(sql -d postgres -c "SELECT current_setting('server_version_num')::int")
major=$((version / 10000))

for file in "$out"/sql/*.sql; do
    name=$(basename "$file" .sql)
    directive() { sed -n "s/^-- $1: //p" "$file"; }
    since=$(directive since)
    [ "$major" -ge "${since:-14}" ] || continue
    options=$(directive options)
    keep=$(directive keep)

    sql -d postgres -c "CREATE DATABASE golden TEMPLATE template0 $(directive database)"
    sql -d golden -c "SELECT pg_create_logical_replication_slot('golden', 'pgoutput')" >/dev/null
    sql -d golden -f "$file" >/dev/null
    # Only flushed WAL is decoded, and a message that is not transactional flushes none.
    sql -d golden -c CHECKPOINT
    target=$out/pg$major-$name.hex
    echo "# PostgreSQL $(sql -d postgres -c 'SHOW server_version'), sql/$name.sql" >"$dir/hex"
    sql -d golden >>"$dir/hex" <<SQL
SELECT lsn || ' ' || encode(data, 'hex')
FROM (SELECT *, row_number() OVER (PARTITION BY get_byte(data, 0) ORDER BY i) AS nth
      FROM pg_logical_slot_peek_binary_changes('golden', NULL, NULL,
             'publication_names', 'golden', ${options:-"'proto_version', '1', 'messages', 'true'"})
           WITH ORDINALITY AS m(lsn, xid, data, i)) AS messages
WHERE ${keep:-true}
ORDER BY i
SQL
    cat "$dir/hex" >"$target"
    sql -d golden -c "SELECT pg_drop_replication_slot('golden')" >/dev/null
    sql -d postgres -c "DROP DATABASE golden"
    echo "$target: $(($(wc -l <"$target") - 1)) messages"
done
