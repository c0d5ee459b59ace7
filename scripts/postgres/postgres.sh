#!/usr/bin/env bash
# Throw-away PostgreSQL servers for the tests, the demo and the benchmark.
#
#   postgres.sh bin MAJOR|any        print a folder with postgres, initdb and pg_ctl
#   postgres.sh start MAJOR|any DIR [-o NAME=VALUE]...
#                                    make and start a server in DIR, print its port
#   postgres.sh standby DIR NEW [-o NAME=VALUE]...
#                                    make and start a standby of the stopped server in DIR, print its port
#   postgres.sh stop DIR [MODE]      stop it, keep its data; MODE: fast, smart, immediate (a crash)
#   postgres.sh up DIR               start it again: same port, same settings
#   postgres.sh restart DIR [MODE]   stop, then up
#   postgres.sh status DIR           "running PORT PID" (exit 0), "stopped" (3) or "none" (4)
#   postgres.sh destroy DIR          stop it at once and remove DIR
#
# MAJOR is 14 to 18; `any` is the newest installed one, else 17. Binaries come from what is
# installed (PATH, /usr/lib/postgresql/*/bin), else from npm, else, for root on Debian, from apt.
#
# A server listens on 127.0.0.1 and on DIR/socket, with wal_level=logical, user `postgres` and the
# password below. Its port is in DIR/port, its log in DIR/log, its data in DIR/data. fsync is off
# unless `-o fsync=on` is given. Every server has a system identifier of its own.
#
# Root may not run PostgreSQL: then the servers run as user postgres, else nobody.
#
# Environment:
#   ZEMI_CACHE          folder for binaries and template data; it outlives this tree
#                       (default: /var/cache/zemi for root, else ${XDG_CACHE_HOME:-~/.cache}/zemi)
#   ZEMI_TEST_PASSWORD  password of the superuser `postgres` (default: zemi-test)
#   ZEMI_OWNER_PID      for start: when this process is gone, the server is destroyed

set -euo pipefail
umask 022
export LC_ALL=C TZ=UTC
# Settings of the caller's own PostgreSQL must not reach these servers.
for name in ${!PG@}; do unset "$name"; done

lowest_port=20000 # below the range from which the kernel takes ports of outgoing connections
ports=12000
start_seconds=60
stop_seconds=120

self=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)/$(basename "${BASH_SOURCE[0]}")

die() {
    printf 'postgres.sh: %s\n' "$*" >&2
    exit 1
}

note() { printf 'postgres.sh: %s\n' "$*" >&2; }

has() { command -v "$1" >/dev/null 2>&1; }

# shellcheck source=scripts/apt.sh
. "${self%/*}/../apt.sh"
# shellcheck source=scripts/postgres/binaries.sh
. "${self%/*}/binaries.sh"
# shellcheck source=scripts/postgres/data.sh
. "${self%/*}/data.sh"

# ---- user of the servers, and where things are kept ------------------------------------------

# Sets run_uid and run_as, the prefix of every command of the server's user.
choose_user() {
    if [ "$(id -u)" != 0 ]; then
        run_uid=$(id -u)
        run_as=(env)
        return
    fi
    local name=nobody gid
    if id -u postgres >/dev/null 2>&1; then name=postgres; fi
    run_uid=$(id -u "$name" 2>/dev/null) || die "root cannot run PostgreSQL, and there is neither" \
        "a user postgres nor a user nobody: run this as another user"
    gid=$(id -g "$name")
    run_as=(setpriv "--reuid=$run_uid" "--regid=$gid" --clear-groups --)
    "${run_as[@]}" true 2>/dev/null && return
    run_as=(runuser -u "$name" --)
    "${run_as[@]}" true 2>/dev/null && return
    # shellcheck disable=SC2016 # the inner shell expands it
    run_as=(su -s /bin/sh -c 'exec "$@"' -- "$name" sh)
    "${run_as[@]}" true 2>/dev/null && return
    die "root cannot run PostgreSQL and cannot become user $name here (setpriv, runuser and su" \
        "fail): run this as another user"
}

# Sets cache.
choose_cache() {
    if [ -n "${ZEMI_CACHE:-}" ]; then
        cache=$ZEMI_CACHE
    elif [ "$(id -u)" = 0 ]; then
        cache=/var/cache/zemi # root's home is closed to the user who runs the servers
    else
        cache=${XDG_CACHE_HOME:-${HOME:?HOME is not set: set ZEMI_CACHE}/.cache}/zemi
    fi
    if ! mkdir -p "$cache/ports" 2>/dev/null || [ ! -w "$cache" ]; then
        die "cannot write to the cache folder $cache: set ZEMI_CACHE to another folder"
    fi
    cache=$(cd "$cache" && pwd -P)
    "${run_as[@]}" test -x "$cache" ||
        die "user $run_uid, who runs the servers, cannot enter the cache folder $cache:" \
            "set ZEMI_CACHE to a folder that every user may enter"
}

# ---- processes -------------------------------------------------------------------------------

# Whether a process runs. A zombie does not, though kill -0 finds it.
alive() {
    if [ -d /proc/self ]; then
        local stat
        { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
        stat=${stat##*) }
        case $stat in [ZX]*) return 1 ;; esac
    else
        kill -0 "$1" 2>/dev/null
    fi
}

# Prints when a process started (clock ticks after boot), to tell it from a later one of the same
# number; nothing where there is no /proc.
birth() {
    local stat
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
    read -r -a stat <<<"${stat##*) }"
    printf '%s\n' "${stat[19]}"
}

# Reads DIR/data/postmaster.pid into lines: pid, folder, …, and the state as the eighth.
read_pidfile() {
    lines=()
    [ ! -f "$dir/data/postmaster.pid" ] || mapfile -t lines 2>/dev/null <"$dir/data/postmaster.pid"
} 2>/dev/null

# Sets pid to the running server's.
find_pid() {
    read_pidfile || true
    pid=${lines[0]:-}
    [[ $pid =~ ^[0-9]+$ ]] && alive "$pid" || return 1
    # A pid file that a crash left may name another process by now.
    local cwd
    cwd=$(readlink "/proc/$pid/cwd" 2>/dev/null) || return 0
    [ "$cwd" = "$dir/data" ]
}

# Starts the server of DIR: 0 it accepts connections, 1 it ended (the reason is in `why`).
launch() {
    local mark=0 old child deadline
    [ ! -f "$dir/log" ] || mark=$(wc -c <"$dir/log")
    read_pidfile || true
    old=${lines[0]:-}
    local server=("${run_as[@]}" "$(<"$dir/bin")/postgres" -D "$dir/data")
    # A session of its own: no Ctrl-C and no hang-up of the caller's terminal reaches it.
    if has setsid; then server=(setsid "${server[@]}"); fi
    (cd / && exec "${server[@]}" </dev/null >>"$dir/log" 2>&1 9>&-) &
    child=$!
    deadline=$((SECONDS + start_seconds))
    while :; do
        read_pidfile || true
        # `old` is the number that a crash left in the file.
        if [ -n "${lines[0]:-}" ] && [ "${lines[0]}" != "$old" ]; then
            case ${lines[7]:-} in ready* | standby*) return 0 ;; esac
        fi
        if ! alive "$child"; then break; fi
        if ((SECONDS >= deadline)); then
            kill -QUIT "$child" 2>/dev/null || true
            why="it does not accept connections after $start_seconds s"
            return 1
        fi
        sleep 0.01
    done
    why=$(tail -c +$((mark + 1)) "$dir/log" | grep -E 'FATAL|PANIC|could not|invalid|unrecognized' |
        sed 's/^.*\(FATAL\|PANIC\|LOG\|WARNING\): *//' | head -n 3 | paste -s -d ';' || true)
    why=${why:-$(tail -n 1 "$dir/log")}
    return 1
}

port_taken() { [[ $why == *'could not bind'* || $why == *'could not create any TCP/IP'* ]]; }

# ---- commands --------------------------------------------------------------------------------

# Sets dir to an absolute path and takes its lock, which ends with this script.
enter() {
    dir=$(cd "$1" 2>/dev/null && pwd -P) || die "there is no folder $1"
    [ -f "$dir/zemi-postgres" ] || die "$dir holds no server of postgres.sh"
    exec 9>"$dir/zemi-postgres"
    flock 9
    [ -f "$dir/zemi-postgres" ] || die "the server in $dir has been destroyed meanwhile"
}

# Sets settings from -o NAME=VALUE...
read_settings() {
    settings=()
    while [ $# -gt 0 ]; do
        if [ "$1" != -o ] || [ $# -lt 2 ]; then usage; fi
        [[ $2 =~ ^[a-z_][a-z0-9_.]*= && $2 != *$'\n'* ]] ||
            die "expected -o NAME=VALUE, found \`$2\`"
        settings+=("$2")
        shift 2
    done
}

command_start() {
    local settings
    read_settings "${@:3}"
    find_bin "$1"
    find_template
    make_folder "$2"
    cp -a "$template/data" "$dir/data"
    set_identifier "$dir/data" "$(<"$template/checksum_offset")"
    configure "$dir/data" listen_addresses=127.0.0.1 \
        wal_level=logical max_wal_senders=20 max_replication_slots=20 max_connections=50 \
        shared_buffers=16MB min_wal_size=32MB fsync=off autovacuum=on jit=off \
        timezone=UTC log_timezone=UTC logging_collector=off log_destination=stderr \
        'log_line_prefix=%m [%p] %q%u@%d/%a '
    settle
}

command_standby() {
    local settings of
    read_settings "${@:3}"
    enter "$1"
    ! find_pid || die "the server in $1 runs: stop it, and start it again when its standby is there"
    of=$dir
    bin=$(<"$dir/bin")
    major=$(<"$dir/data/PG_VERSION")
    make_folder "$2"
    cp -a "$of/data" "$dir/data"
    # As pg_basebackup has it: slots are not part of a copy.
    rm -rf "$dir/data/pg_replslot"/*
    "${run_as[@]}" touch "$dir/data/standby.signal"
    settle
}

# Makes the folder of a server, and sets dir to it.
make_folder() {
    local longest
    dir=$1
    case $dir in /*) ;; *) dir=$PWD/$dir ;; esac
    # sockaddr_un holds 107 bytes and a final zero.
    longest=$dir/socket/.s.PGSQL.$lowest_port
    ((${#longest} <= 107)) ||
        die "$dir is too long a path for a Unix socket (by $((${#longest} - 107)) bytes):" \
            "give a shorter folder or set TMPDIR to one"
    mkdir -p "$dir" || die "cannot make the folder $dir"
    dir=$(cd "$dir" && pwd -P)
    [ -z "$(ls -A "$dir")" ] || die "$dir is not empty: give a new folder"
    : >"$dir/zemi-postgres"
    exec 9>"$dir/zemi-postgres"
    flock 9
    trap 'abandon' EXIT
    if [ -n "${ZEMI_OWNER_PID:-}" ]; then
        [[ $ZEMI_OWNER_PID =~ ^[0-9]+$ ]] || die "ZEMI_OWNER_PID is no process id"
        local watch=(bash "$self" watch "$dir" "$ZEMI_OWNER_PID")
        if has setsid; then watch=(setsid "${watch[@]}"); fi
        (cd / && exec "${watch[@]}" </dev/null >/dev/null 2>&1 9>&-) &
        printf '%s\n' "$!" >"$dir/watcher"
    fi
    [ "$(id -u)" != 0 ] || chown "$run_uid" "$dir"
    "${run_as[@]}" test -x "$dir" || die "user $run_uid, who runs the server, cannot enter $dir:" \
        "give a folder that every user may reach"
    printf '%s\n' "$bin" >"$dir/bin"
    mkdir "$dir/socket"
    [ "$(id -u)" != 0 ] || chown "$run_uid" "$dir/socket"
}

# Starts the server of dir, which has its data, on a port of its own, and prints that.
settle() {
    local try
    configure "$dir/data" "unix_socket_directories=\"${dir//\"/\"\"}/socket\"" \
        ${settings[@]+"${settings[@]}"}
    for ((try = 0; try < 50; try++)); do
        reserve_port
        configure "$dir/data" "port=$port"
        if launch; then
            printf '%s\n' "$port" >"$dir/port"
            trap - EXIT
            printf '%s\n' "$port"
            return
        fi
        rm -f "$cache/ports/$port"
        port_taken || die "PostgreSQL $major did not start: $why"
    done
    die "no free port of 127.0.0.1 found: $why"
}

# Takes a port that no other server of this script has, also while that one is stopped.
# Whether another program has it shows at bind(2).
reserve_port() {
    while :; do
        port=$((lowest_port + RANDOM % ports))
        if ln -s "$dir" "$cache/ports/$port" 2>/dev/null; then return; fi
        # Left by a folder that was removed by hand: free for the next draw.
        [ -e "$cache/ports/$port" ] || rm -f "$cache/ports/$port"
    done
}

# A start that failed leaves nothing.
# shellcheck disable=SC2317 # called by trap
abandon() {
    local code=$?
    trap - EXIT
    remove
    exit "$code"
}

command_stop() {
    local mode=${2:-fast} signal deadline
    case $mode in
        smart) signal=TERM ;;
        fast) signal=INT ;;
        immediate) signal=QUIT ;;
        *) die "expected fast, smart or immediate, found \`$mode\`" ;;
    esac
    enter "$1"
    find_pid || return 0
    kill "-$signal" "$pid" 2>/dev/null || return 0
    deadline=$((SECONDS + stop_seconds))
    while alive "$pid"; do
        ((SECONDS < deadline)) ||
            die "the server in $dir still runs $stop_seconds s after a $mode shutdown"
        sleep 0.01
    done
}

command_up() {
    enter "$1"
    find_pid || {
        # The last backends of a server that was killed may still hold its memory for a moment.
        local deadline=$((SECONDS + 15))
        until launch; do
            [[ $why == *'pre-existing shared memory'* || $why == *'lock file'* ]] || port_taken ||
                die "the server in $dir did not start: $why"
            ((SECONDS < deadline)) || die "the server in $dir did not start: $why"
            sleep 0.1
        done
    }
    cat "$dir/port"
}

command_restart() {
    (command_stop "$@") || exit 1
    command_up "$1"
}

command_status() {
    if ! dir=$(cd "$1" 2>/dev/null && pwd -P) || [ ! -f "$dir/zemi-postgres" ]; then
        echo none
        exit 4
    elif find_pid; then
        printf 'running %s %s\n' "$(cat "$dir/port" 2>/dev/null)" "$pid"
    else
        echo stopped
        exit 3
    fi
}

command_destroy() {
    [ -e "$1" ] || return 0
    enter "$1"
    remove
}

# Stops the server of dir at once and removes all that it had.
remove() {
    local watcher='' tries
    { read -r watcher <"$dir/watcher"; } 2>/dev/null || true
    if [ -n "$watcher" ] && [ "$watcher" != $$ ] && is_watcher "$watcher"; then
        kill "$watcher" 2>/dev/null || true
    fi
    for ((tries = 0; tries < 1000; tries++)); do
        find_pid || break
        case $tries in
            0) kill -QUIT "$pid" 2>/dev/null || true ;;
            800) kill -KILL "$pid" 2>/dev/null || true ;;
        esac
        sleep 0.01
    done
    local name
    { read -r name <"$dir/port"; } 2>/dev/null || name=${port:-}
    if [ -n "$name" ] && [ "$(readlink "$cache/ports/$name")" = "$dir" ]; then
        rm -f "$cache/ports/$name"
    fi
    # A last backend may still write a file while its folder goes.
    for ((tries = 0; tries < 50; tries++)); do
        rm -rf "$dir" 2>/dev/null && return
        sleep 0.1
    done
    rm -rf "$dir"
}

# Whether this process is the watcher of dir, and not a later one of the same number.
is_watcher() {
    local line
    line=$(tr '\0' ' ' <"/proc/$1/cmdline") 2>/dev/null || return 1
    [[ $line == *" watch $dir "* ]]
}

# Destroys the server of DIR when its owner is gone; ends with the folder.
command_watch() {
    local born
    dir=$1
    born=$(birth "$2")
    while alive "$2" && [ "$(birth "$2")" = "$born" ]; do
        sleep 1
        [ -e "$dir/zemi-postgres" ] || return 0
    done
    command_destroy "$dir"
}

usage() {
    sed -n '2,/^$/s/^# \{0,1\}//p' "$self" >&2
    exit 64
}

main() {
    local task=${1:-}:$# need
    for need in flock od dd sha256sum mktemp; do
        has "$need" || die "$need is missing (Debian: apt-get install util-linux coreutils)"
    done
    password=${ZEMI_TEST_PASSWORD:-zemi-test}
    case $task in
        bin:2 | start:[3-9] | start:[1-9][0-9] | standby:[3-9] | \
            standby:[1-9][0-9] | up:2 | restart:[23] | destroy:2 | watch:3)
            choose_user
            choose_cache
            ;;
        stop:[23] | status:2) ;;
        *) usage ;;
    esac
    shift
    case $task in
        bin:*) find_bin "$1" && printf '%s\n' "$bin" ;;
        start:*) command_start "$@" ;;
        standby:*) command_standby "$@" ;;
        stop:*) command_stop "$@" ;;
        up:*) command_up "$1" ;;
        restart:*) command_restart "$@" ;;
        status:*) command_status "$1" ;;
        destroy:*) command_destroy "$1" ;;
        watch:*) command_watch "$@" ;;
    esac
}

main "$@"
exit
