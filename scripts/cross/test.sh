#!/usr/bin/env bash
# Tests the programs of `make cross`: static, small enough, and able to do the whole job with nothing
# around them.
#
#   make cross-test [TARGETS='x86_64 aarch64']    or    scripts/cross/test.sh [ARCH]...
#
# Each runs in a chroot that holds the program and a CA certificate, resolves the names of its servers,
# speaks TLS to two PostgreSQL servers, follows one into the other, is killed and goes on. Programs of
# another processor run under qemu-user-static from Debian's packages. Of programs for macOS (aarch64-macos,
# x86_64-macos) the file is read: format, processor, imported libraries, signature.
#
# Needs root, for chroot and for a network namespace of its own (a name server listens in it).

set -euo pipefail
umask 022
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
cd "$here"
# shellcheck source=scripts/cross/common.sh
. scripts/cross/common.sh
# shellcheck source=scripts/cross/qemu.sh
. scripts/cross/qemu.sh
# shellcheck source=scripts/cross/scene.sh
. scripts/cross/scene.sh

# Sets limit: what a program may have in bytes.
limit_of() {
    case $1 in
        x86_64) limit=2000000 ;;
        *) limit=1800000 ;;
    esac
}

# Sets linuxes and macs to the targets that are tested: those that are named, else all of Linux and what of
# macOS is in dist/.
choose_targets() {
    local triple program arch
    linuxes=() macs=()
    if [ $# = 0 ]; then
        set -- "${archs[@]}"
        for arch in "${mac_archs[@]}"; do [ ! -f "dist/zemi-$arch" ] || set -- "$@" "$arch"; done
    fi
    for arch in "$@"; do
        triple_of "$arch"
        [ -f "dist/$program" ] || die "dist/$program is missing: make cross TARGETS='$*'"
        case $arch in
            *-macos) macs+=("$arch") ;;
            *) linuxes+=("$arch") ;;
        esac
    done
}

check_common() { # PROGRAM
    (cd dist && grep " $1\$" SHA256SUMS | sha256sum -c --quiet) || die "SHA256SUMS differs"
    ! grep -qaF -e "$here" -e "${CARGO_HOME:-$HOME/.cargo}/registry" -e "$cache" "dist/$1" ||
        die "dist/$1 holds a path of this machine"
}

# A program for macOS is not run here: its file is read.
check_mac() {
    check_common "zemi-$1"
    found=$(python3 scripts/cross/macho.py "${1%-macos}" "dist/zemi-$1") || exit 1
    echo "$1: $found, $(wc -c <"dist/zemi-$1") bytes; not run"
}

# ---- with the network: brings what is missing --------------------------------------------------

if [ "${1:-}" != --inside ]; then
    has python3 || die "python3 is missing (Debian: apt-get install python3)"
    choose_targets "$@"
    choose_cache
    for arch in ${macs[@]+"${macs[@]}"}; do check_mac "$arch"; done
    set -- ${linuxes[@]+"${linuxes[@]}"}
    [ $# -gt 0 ] || exit 0
    [ "$(id -u)" = 0 ] || die "expected root, for chroot and a network namespace"
    for need in file openssl unshare chroot; do
        has "$need" || die "$need is missing (Debian: apt-get install file openssl util-linux coreutils)"
    done
    for arch in "$@"; do find_qemu "$arch"; done
    scripts/postgres/postgres.sh bin "$major" >/dev/null
    cargo build --quiet --locked --example sql
    exec unshare --net -- "$here/scripts/cross/test.sh" --inside "$@"
fi
shift

# ---- without it: only what listens in this namespace can be reached ----------------------------

names=''
clean_up_more() { [ -z "$names" ] || kill -KILL "$names" 2>/dev/null || true; }
begin_scene cross

target=$(cargo metadata --format-version 1 --no-deps --locked --offline |
    sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')

make_certificates() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
        -subj '/CN=Zemi test CA' -keyout "$dir/ca.key" -out "$dir/ca.pem" 2>/dev/null
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=servers \
        -keyout "$dir/server.key" -out "$dir/server.csr" 2>/dev/null
    printf 'subjectAltName=DNS:source.zemi.test,DNS:destination.zemi.test\n' >"$dir/server.ext"
    openssl x509 -req -in "$dir/server.csr" -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -days 2 \
        -set_serial 7 -extfile "$dir/server.ext" -out "$dir/server.pem" 2>/dev/null
}

# Runs the program in the chroot: SETTING... -- ARGUMENT...
in_chroot() {
    local own=()
    while [ "$1" != -- ]; do
        own+=("$1")
        shift
    done
    shift
    exec env -i "${settings[@]}" ${own[@]+"${own[@]}"} "$(command -v chroot)" "$dir/root" \
        ${qemu:+/qemu} /zemi "$@"
}

start() {
    (in_chroot -- 2>>"$dir/log") &
    zemi=$!
    await 'the slot is read' source \
        "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'zemi' AND active" 1
}

# Waits for the end of zemi and sets code.
finish() {
    code=0
    wait "$zemi" 2>/dev/null || code=$?
    zemi=''
}

check_file() {
    local program=dist/zemi-$1-linux size packed most_packed=$packed_limit
    check_common "zemi-$1-linux"
    kind=$(file -b "$program")
    [[ $kind == *static* && $kind == *stripped* && $kind != *interpreter* && $kind != *"not stripped"* ]] ||
        die "expected a static and stripped program, found: $kind"
    size=$(wc -c <"$program")
    packed=$(gzip -9 -n -c "$program" | wc -c)
    limit_of "$1"
    # A std that comes ready-made can unwind and print backtraces.
    ! grep -qaF .gcc_except_table "$program" ||
        limit=$((limit + 400000)) most_packed=$((most_packed + 150000))
    facts="$size bytes of $limit, $packed packed of $most_packed"
    ((size <= limit && packed <= most_packed)) ||
        missed+=("$1: expected at most $limit bytes, $most_packed packed; found $size and $packed")
}

memory() { sed -n 's/^VmRSS:[ \t]*//p' "/proc/$zemi/status"; }

check_job() {
    local wanted code
    rm -rf "$dir/root" "$dir/log"
    mkdir "$dir/root"
    install -m 755 "dist/zemi-$1-linux" "$dir/root/zemi"
    install -m 644 "$dir/ca.pem" "$dir/root/ca.pem"
    find_qemu "$1"
    [ -z "$qemu" ] || install -m 755 "$qemu" "$dir/root/qemu"

    sql source 'CREATE TABLE t (id int PRIMARY KEY, n numeric, v text, j jsonb, at timestamptz)' >/dev/null
    start
    await 'the destination is connected' destination \
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name LIKE 'zemi%'" t
    facts+=", memory idle $(memory)"
    sql source "INSERT INTO t VALUES (1, 1.50, 'ä', '{\"a\": [1]}', '2026-01-02 03:04:05.6+00');
        BEGIN; SELECT pg_logical_emit_message(true, '_bemi', '{\"user\": \"ada\"}');
        UPDATE t SET n = 2 WHERE id = 1; COMMIT;
        INSERT INTO t SELECT i, i / 7.0, repeat(md5(i::text), 20), to_jsonb(i), now()
            FROM generate_series(2, 3001) i;
        DELETE FROM t WHERE id = 2" >/dev/null
    kill -KILL "$zemi"
    finish
    sql source "INSERT INTO t SELECT i, NULL, 'x', 'null', 'infinity' FROM generate_series(4000, 4099) i
        " >/dev/null
    start
    await 'all rows' destination 'SELECT count(*), count(DISTINCT position) FROM changes' '3103|3103'
    wanted=$(sql source "SELECT md5(string_agg(to_jsonb(t)::text, '' ORDER BY id)) FROM t WHERE id > 2")
    await 'the values of the source' destination "SELECT md5(string_agg(after::text, '' ORDER BY
        primary_key::int)) FROM changes WHERE operation = 'CREATE' AND primary_key::int > 2" "$wanted"
    await 'the context' destination \
        "SELECT context FROM changes WHERE operation = 'UPDATE'" '{"user": "ada"}'
    for side in source destination; do
        await "TLS to the $side" "$side" "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity
            USING (pid) WHERE application_name LIKE 'zemi%'" t
    done
    (in_chroot -- health >/dev/null) || die "zemi health: expected exit code 0, found $?"
    facts+=" and after work $(memory)${qemu:+ with qemu}"
    kill -TERM "$zemi"
    finish
    [ "$code" = 0 ] || die "expected exit code 0 after SIGTERM, found $code"
    for wanted in 'DB_PASSWORD=wrong:77' 'DB_PORT=x:78'; do
        code=0
        (in_chroot "${wanted%:*}" -- 2>>"$dir/log") || code=$?
        [ "$code" = "${wanted##*:}" ] ||
            die "expected exit code ${wanted##*:} with ${wanted%:*}, found $code"
    done
    sql source "SELECT pg_drop_replication_slot('zemi'); DROP PUBLICATION zemi; DROP TABLE t" >/dev/null
    sql destination 'DROP TABLE changes, zemi_progress' >/dev/null
}

python3 scripts/cross/names.py >"$dir/names" &
names=$!
disown "$names"
until [ -s "$dir/names" ]; do
    kill -0 "$names" 2>/dev/null || die "the name server did not start"
    sleep 0.05
done
make_certificates
server source "$dir/server.key" "$dir/server.pem"
source_port=$port
server destination "$dir/server.key" "$dir/server.pem"
destination_port=$port
settings=(DB_HOST=source.zemi.test "DB_PORT=$source_port" "DB_PASSWORD=$ZEMI_TEST_PASSWORD"
    DEST_DB_HOST=destination.zemi.test "DEST_DB_PORT=$destination_port" HEALTH_PORT=8080
    DB_SSL_MODE=verify-full DB_SSL_ROOT_CERT=/ca.pem
    DEST_DB_SSL_MODE=verify-full DEST_DB_SSL_ROOT_CERT=/ca.pem)
choose_cache
missed=()
for arch in "$@"; do
    begun=$SECONDS
    check_file "$arch"
    check_job "$arch"
    echo "$arch: static, does its job: $facts, $((SECONDS - begun)) s"
done
# Last, so that a program that is too large is tested all the same.
[ ${#missed[@]} = 0 ] || die "${missed[@]}"
