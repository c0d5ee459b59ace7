#!/usr/bin/env bash
# Shows what zemi does: a throw-away PostgreSQL, zemi on it, a small shop, the rows of `changes`.
#
#   make demo        or        scripts/demo.sh
#
# Leaves nothing behind but the build and the cache of scripts/postgres/postgres.sh.

set -euo pipefail
umask 022
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '\n== %s\n' "$*"; }

die() {
    printf 'demo: %s\n' "$*" >&2
    exit 1
}

dir=''
zemi=''

# Also after Ctrl-C and after a failure. Should this script be killed, the server goes by itself
# (ZEMI_OWNER_PID), and so does zemi where the kernel can tell it that its parent is gone.
clean_up() {
    local code=$?
    trap - EXIT
    if [ -n "$zemi" ]; then kill -KILL "$zemi" 2>/dev/null || true; fi
    if [ -n "$dir" ]; then
        if [ "$code" != 0 ] && [ -s "$dir/zemi.log" ]; then
            printf '\ndemo: the log of zemi:\n' >&2
            cat "$dir/zemi.log" >&2
        fi
        scripts/postgres/postgres.sh destroy "$dir" || true
    fi
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

say 'Building zemi'
cargo build --release --locked --bin zemi --example sql
target=$(cargo metadata --format-version 1 --no-deps --locked |
    sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')

say 'Starting a PostgreSQL of its own'
dir=$(mktemp -d "${TMPDIR:-/tmp}/zemi-demo.XXXXXX")
password='zemi-demo'
port=$(ZEMI_OWNER_PID=$$ ZEMI_TEST_PASSWORD=$password scripts/postgres/postgres.sh start any "$dir")

# The caller's own settings must not reach zemi here.
settings=(DB_HOST=127.0.0.1 "DB_PORT=$port" DB_NAME=postgres DB_USER=postgres
    "DB_PASSWORD=$password")
sql() { env -i "${settings[@]}" "$target/release/examples/sql" "$@"; }

# Runs a statement, with what it is for.
show() {
    printf '\n-- %s\n%s\n' "$1" "$2"
    sql "$2" >/dev/null
}

# Waits until a query returns the wanted text: WHAT QUERY WANTED.
await() {
    local deadline=$((SECONDS + 30)) answer=''
    until answer=$(sql -t "$2") && [ "$answer" = "$3" ]; do
        kill -0 "$zemi" 2>/dev/null || die "zemi ended while the demo waited for: $1"
        ((SECONDS < deadline)) || die "waited 30 s in vain for: $1 (last answer: $answer)"
        sleep 0.05
    done
}

sql -t 'SELECT version()'
sql >/dev/null <<'SQL'
CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE products (sku text PRIMARY KEY, price numeric NOT NULL);
CREATE TABLE orders (customer_id int REFERENCES customers, number int,
    sku text REFERENCES products, quantity int NOT NULL, PRIMARY KEY (customer_id, number));
SQL

say 'Starting zemi on it'
for setting in "${settings[@]}"; do
    case $setting in DB_PASSWORD=*) setting='DB_PASSWORD=***' ;; esac
    printf '%s ' "$setting"
done
echo zemi
run=()
if setpriv --pdeathsig KILL true 2>/dev/null; then
    run=("$(command -v setpriv)" --pdeathsig KILL)
fi
env -i "${settings[@]}" ${run[@]+"${run[@]}"} "$target/release/zemi" 2>"$dir/zemi.log" &
zemi=$!
await 'zemi follows the write-ahead log' \
    "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'zemi' AND active" 1

say 'A day at the shop'
show 'an insert: one row' \
    "INSERT INTO customers VALUES (1, 'Ada')"
printf '\n-- a COPY: three rows\nCOPY products FROM STDIN\n'
printf 'tea\t4.20\ncup\t9.00\npot\t25.50\n' | sql --copy 'COPY products FROM STDIN' >/dev/null
show 'a table with a composite key: one row' \
    "INSERT INTO orders VALUES (1, 1, 'tea', 2)"
show 'a transaction that says who acts: one row, with context' \
    "BEGIN; SELECT pg_logical_emit_message(true, '_bemi', '{\"user\":\"ada\"}');
UPDATE orders SET quantity = 3 WHERE customer_id = 1 AND number = 1; COMMIT"
show 'an update: one row' \
    "UPDATE products SET price = 4.50 WHERE sku = 'tea'"
show 'a delete: one row' \
    "DELETE FROM products WHERE sku = 'cup'"
show 'a truncate: one row' \
    "TRUNCATE orders"
await 'nine rows in changes' 'SELECT count(*) FROM changes' 9

say 'What zemi wrote'
sql 'SELECT operation, "table", primary_key, before, after, context FROM changes ORDER BY position'

say 'Stopping zemi (SIGTERM)'
kill -TERM "$zemi"
code=0
wait "$zemi" || code=$?
zemi=''
echo "exit code $code"
[ "$code" = 0 ] || die "expected exit code 0 of zemi, found $code"
