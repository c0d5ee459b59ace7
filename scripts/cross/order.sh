#!/usr/bin/env bash
# Finds out which functions of the program run, and writes them to scripts/cross/order.ld, which has the
# linker place them side by side: first those of a start and of waiting, then those of the work.
#
#   make cross-order    or    scripts/cross/order.sh
#
# The kernel maps the 64 kB around each page of a program that is touched. Where what runs is strewn over all
# of it, all of it is resident; side by side it is less than half. A function that is in no list, or not
# there on another processor, costs nothing but its place: nothing has to be done when functions change,
# until memory has grown by much.
#
# Needs valgrind and openssl, and x86-64.

set -euo pipefail
umask 022
export LC_ALL=C

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=scripts/cross/common.sh
. scripts/cross/common.sh
# shellcheck source=scripts/cross/scene.sh
. scripts/cross/scene.sh
[ "$(uname -m)" = x86_64 ] || die "expected x86-64, for the program runs in valgrind"
for need in valgrind openssl nm; do
    has "$need" || die "$need is missing (Debian: apt-get install valgrind openssl binutils)"
done

begin_scene order
CARGO_PROFILE_STATIC_STRIP=none CROSS_DIST="$dir/dist" scripts/cross/cross.sh x86_64 >&2
cargo build --quiet --locked --example sql
target=$(cargo metadata --format-version 1 --no-deps --locked |
    sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')

# Both kinds of certificate.
for kind in 'rsa:2048 -source' 'ec -pkeyopt ec_paramgen_curve:prime256v1 -destination'; do
    # shellcheck disable=SC2086 # words
    openssl req -x509 -newkey ${kind% -*} -nodes -days 2 \
        -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 \
        -keyout "$dir/${kind##*-}.key" -out "$dir/${kind##*-}.pem" 2>/dev/null
done
server source "$dir/source.key" "$dir/source.pem"
source_port=$port
server destination "$dir/destination.key" "$dir/destination.pem"
destination_port=$port

# Runs the program and appends the functions that ran to $dir/ran: [WORK QUERY WANTED]
metrics_port=$((40000 + RANDOM % 10000))
run() {
    env -i DB_HOST=localhost "DB_PORT=$source_port" "DB_PASSWORD=$ZEMI_TEST_PASSWORD" \
        DEST_DB_HOST=127.0.0.1 "DEST_DB_PORT=$destination_port" "METRICS_PORT=$metrics_port" \
        DB_SSL_MODE=verify-full "DB_SSL_ROOT_CERT=$dir/source.pem" \
        DEST_DB_SSL_MODE=verify-full "DEST_DB_SSL_ROOT_CERT=$dir/destination.pem" \
        valgrind -q --tool=callgrind --demangle=no "--callgrind-out-file=$dir/calls" \
        "$dir/dist/zemi-x86_64-linux" 2>"$dir/log" &
    zemi=$!
    await 'the slot is read' source "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'" 1
    if [ $# != 0 ]; then
        sql source "$1" >/dev/null
        await 'all rows' destination "$2" "$3"
        exec 3<>"/dev/tcp/127.0.0.1/$metrics_port"
        printf 'GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
        grep -q zemi_ <&3 || die 'expected metrics'
        exec 3>&-
    fi
    kill -TERM "$zemi"
    wait "$zemi"
    zemi=''
    instructions=$(sed -n 's/^totals: \([0-9]*\).*/\1/p' "$dir/calls")
    sed -n 's/^c\?fn=([0-9]*) \([^ ]*\)$/\1/p' "$dir/calls" | sed "s/'[0-9]*\$//" | sort -u >>"$dir/ran"
}

# Names as section patterns. What the compiler counts and hashes differs from build to build.
patterns() {
    sed -E -e 's/\.[0-9]+$//; s/\.llvm\.[0-9]+$//; s/17h[0-9a-f]{16}E$/17h*/; s/Cs[0-9A-Za-z]+_/Cs*_/g' \
        -e '/^_R/s/$/*/' -e 's/.*/        *(.text*.&)/' | sort -u
}

# The functions of the program among these names, by all names that each has: its section has one of them.
functions() {
    awk 'NR == FNR { ran[$1] = 1; next }
        $2 ~ /^[tTwW]$/ { at[$3] = $1; if ($3 in ran) here[$1] = 1 }
        END { for (name in at) if (at[name] in here) print name }' \
        - <(nm --defined-only "$dir/dist/zemi-x86_64-linux")
}

sql source 'CREATE TABLE t (id int PRIMARY KEY, n numeric, v text, b bool, u uuid, j jsonb,
    at timestamptz, f float8)' >/dev/null
run
: >"$dir/ran" # what is made at the first start is not made again
run
run
functions <"$dir/ran" | patterns >"$dir/start"
idle=$instructions
run "INSERT INTO t SELECT i, i / 7.0, repeat('x', 100), true, gen_random_uuid(), to_jsonb(i), now(), i / 3.0
        FROM generate_series(1, 20000) i;
    BEGIN; SELECT pg_logical_emit_message(true, '_bemi', '{\"user\": \"ada\"}');
    UPDATE t SET n = 2 WHERE id = 1; COMMIT; DELETE FROM t WHERE id = 2; TRUNCATE t" \
    'SELECT count(*) FROM changes' 20003
functions <"$dir/ran" | patterns | comm -13 "$dir/start" - >"$dir/work"
{
    echo '/* Written by scripts/cross/order.sh, which says what for. */'
    echo 'SECTIONS {'
    echo '    .text_start : {'
    cat "$dir/start"
    echo '    }'
    echo '    .text_work : {'
    cat "$dir/work"
    echo '    }'
    echo '} INSERT BEFORE .text;'
} >"$dir/order.ld"
mv "$dir/order.ld" scripts/cross/order.ld
wc -l "$dir/start" "$dir/work" >&2
echo "instructions: $idle from start to stop, $(((instructions - idle) / 20003)) for a row of work" >&2
