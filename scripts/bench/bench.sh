#!/usr/bin/env bash
# Measures zemi against what its servers can do, in one run on two throw-away PostgreSQL clusters.
#
#   make bench        or        scripts/bench/bench.sh [JSON]
#
#   make figures      or        scripts/bench/bench.sh --figures [JSON]
#
# Prints one table and writes the same figures to JSON (default: target/bench.json). What each
# figure means is in scripts/bench/. Nothing here passes or fails by a time. `--figures` measures
# nothing: it writes the table and the plots of scripts/bench/README.md from the JSON.
#
# Environment:
#   BENCH          only these, separated by commas: start, idle, latency, bulk, backlog, live, full,
#                  wide, large, tables, same, tls, instructions, million, growth; and pending,
#                  which runs only when named
#   ROWS           rows of the one large transaction (300000); the other loads scale with it
#   RUNS           how often bulk, backlog and live are repeated (3)
#   IDLE_SECONDS   how long an idle zemi is watched (60)
#   GROWN_ROWS     rows of the large table that growth starts from (5000000)
#   MAJOR          PostgreSQL of source and destination, 14 to 18 (15)
#   BENCH_ZEMI     measure this program instead of the release build
#
# Both clusters have fsync on. Checkpoints and vacuum run between the timed parts only, so that
# zemi and the floors have the same conditions.

set -euo pipefail
umask 022

die() {
    printf 'bench: %s\n' "$*" >&2
    exit 1
}

[ -r /proc/self/stat ] || die "memory and CPU are read from /proc: this needs Linux"
figures=''
[ "${1:-}" != --figures ] || { figures=yes && shift; }
json=${1:-}
case $json in '' | /*) ;; *) json=$PWD/$json ;; esac
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
major=${MAJOR:-15}

dir=''

# Also after Ctrl-C and after a failure. Should this script be killed, the servers go by themselves
# (ZEMI_OWNER_PID).
clean_up() {
    local code=$?
    trap - EXIT
    if [ -n "$dir" ]; then
        scripts/postgres/postgres.sh destroy "$dir/source" || true
        scripts/postgres/postgres.sh destroy "$dir/destination" || true
        rm -rf "$dir"
    fi
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

target=$(cargo metadata --format-version 1 --no-deps --locked |
    sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
json=${json:-$target/bench.json}
if [ -n "$figures" ]; then
    [ -r "$json" ] || die "there is no $json: run make bench first"
    cargo run --quiet --locked --example bench -- --figures "$json"
    exit
fi
cargo build --release --locked --bin zemi --example bench

bin=$(scripts/postgres/postgres.sh bin "$major")
recvlogical=$bin/pg_recvlogical
[ -x "$recvlogical" ] || recvlogical=$(command -v pg_recvlogical || true)

dir=$(mktemp -d "${TMPDIR:-/tmp}/zemi-bench.XXXXXX")
chmod 755 "$dir" # the user who runs the servers has to get through
export ZEMI_TEST_PASSWORD='zemi-bench' ZEMI_OWNER_PID=$$
server() {
    scripts/postgres/postgres.sh start "$major" "$dir/$1" -o fsync=on -o full_page_writes=on \
        -o shared_buffers=256MB -o max_wal_size=16GB -o checkpoint_timeout=1h -o autovacuum=off
}
source_port=$(server source)
destination_port=$(server destination)

# For the encrypted load; without openssl it is left out.
tls=
if command -v openssl >/dev/null; then
    tls=$dir/tls
    openssl req -x509 -newkey rsa:2048 -nodes -keyout "$tls.key" -out "$tls.crt" -subj /CN=bench \
        -days 2 2>/dev/null
fi

# The caller's own settings must not reach zemi here. The folder of a server belongs to the user
# who runs it, so that it can write the file of rows there.
settings=(DB_HOST=127.0.0.1 "DB_PORT=$source_port" DB_NAME=postgres DB_USER=postgres
    "DB_PASSWORD=$ZEMI_TEST_PASSWORD" DEST_DB_HOST=127.0.0.1 "DEST_DB_PORT=$destination_port")
env -i "${settings[@]}" "BENCH=${BENCH:-}" "ROWS=${ROWS:-}" "RUNS=${RUNS:-}" \
    "IDLE_SECONDS=${IDLE_SECONDS:-}" "GROWN_ROWS=${GROWN_ROWS:-}" "PATH=$PATH" \
    "BENCH_ZEMI=${BENCH_ZEMI:-$target/release/zemi}" \
    "BENCH_FILE=$dir/destination/rows.bin" "BENCH_RECVLOGICAL=$recvlogical" \
    "BENCH_TLS=$tls" "BENCH_COMMIT=$(git describe --always --dirty 2>/dev/null || true)" \
    "$target/release/examples/bench" "$json"
