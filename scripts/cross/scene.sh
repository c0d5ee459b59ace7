# shellcheck shell=bash
# Sourced after common.sh. Two PostgreSQL servers with TLS, for scripts that run a program between them.
#
# Expects `zemi`, the program's process or nothing. What it logs belongs into $dir/log.

major=17

# Makes dir, a folder that goes at the end, with the servers, the program and what clean_up_more ends.
begin_scene() { # NAME
    dir=$(mktemp -d "${TMPDIR:-/tmp}/zemi-$1.XXXXXX")
    chmod 755 "$dir" # the user who runs the servers has to get through
    zemi=''
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    export ZEMI_TEST_PASSWORD="zemi-$1" ZEMI_OWNER_PID=$$
}

clean_up_more() { :; }

clean_up() {
    local code=$? server
    trap - EXIT
    [ -z "$zemi" ] || kill -KILL "$zemi" 2>/dev/null || true
    clean_up_more
    if [ "$code" != 0 ] && [ -s "$dir/log" ]; then
        printf '\nthe log of zemi:\n' >&2
        tail -n 40 "$dir/log" >&2
    fi
    for server in source destination; do scripts/postgres/postgres.sh destroy "$dir/$server" || true; done
    rm -rf "$dir"
    exit "$code"
}

# Starts a server and sets port; it has TLS from then on, by a key and a certificate.
server() { # NAME KEY CERTIFICATE
    local at=$dir/$1 owner
    port=$(scripts/postgres/postgres.sh start "$major" "$at")
    owner=$(stat -c %u "$at/data")
    install -m 600 -o "$owner" "$2" "$at/data/server.key"
    install -m 600 -o "$owner" "$3" "$at/data/server.crt"
    printf 'ssl = on\n' >>"$at/data/postgresql.conf"
    scripts/postgres/postgres.sh restart "$at" >/dev/null
}

sql() { # SIDE STATEMENTS
    local port=$source_port
    [ "$1" = source ] || port=$destination_port
    env -i DB_HOST=127.0.0.1 "DB_PORT=$port" "DB_PASSWORD=$ZEMI_TEST_PASSWORD" \
        "$target/debug/examples/sql" -t "$2"
}

patience=120 # seconds; a program under qemu or valgrind is some ten times slower

await() { # WHAT SIDE QUERY WANTED
    local deadline=$((SECONDS + patience)) answer=''
    until answer=$(sql "$2" "$3") && [ "$answer" = "$4" ]; do
        kill -0 "$zemi" 2>/dev/null || die "zemi ended while the test waited for: $1"
        ((SECONDS < deadline)) || die "waited $patience s in vain for: $1 (last answer: $answer)"
        sleep 0.1
    done
}
