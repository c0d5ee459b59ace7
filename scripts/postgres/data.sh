# shellcheck shell=bash
# shellcheck disable=SC2154 # the variables of postgres.sh
# Part of postgres.sh: makes data folders, quickly, from a template that initdb made once.

# Sets template to a fresh data folder of this version, user and password, made once by initdb.
find_template() {
    local build key
    build=$("${run_as[@]}" "$bin/postgres" --version)
    key=$(printf '%s\n' "$bin" "$build" "$run_uid" "$password" | sha256sum | cut -c1-16)
    template=$cache/template-$major-$key
    holds_template || make_template || exit 1
}

# Whether the template is whole: its parts can be empty after a power cut.
holds_template() {
    local part
    for part in checksum_offset data/PG_VERSION data/global/pg_control data/postgresql.conf; do
        [ -s "$template/$part" ] || return 1
    done
}

make_template() (
    exec 9>"$template.lock"
    flock 9
    if holds_template; then exit; fi
    rm -rf "$template" "$template".??????
    work=$(mktemp -d "$template.XXXXXX") || exit 1
    trap 'rm -rf "$work"' EXIT
    (umask 077 && printf '%s\n' "$password" >"$work/password") || exit 1
    [ "$(id -u)" != 0 ] || chown "$run_uid" "$work" "$work/password"
    cd / # a folder that the server's user may enter
    "${run_as[@]}" "$bin/initdb" -D "$work/data" -U postgres -A scram-sha-256 -E UTF8 --locale=C \
        --pwfile="$work/password" --no-sync --no-instructions >"$work/out" 2>&1 </dev/null 9>&- ||
        die "initdb of PostgreSQL $major failed: $(grep -v '^ *$' "$work/out" | tail -n 1)"
    rm -f "$work/password" "$work/out"
    checksum_offset "$work/data/global/pg_control" >"$work/checksum_offset" || die \
        "global/pg_control of PostgreSQL $major holds no CRC-32C that fits it: cannot give each" \
        "server its own system identifier"
    sync -f "$work" # initdb did not
    mv "$work" "$template"
)

# CRC-32C of the bytes in ${bytes[@]}, continued in crc; PostgreSQL seals pg_control with it.
crc_table=()
crc_start() {
    crc=$((0xFFFFFFFF))
    local i value bit
    [ "${#crc_table[@]}" = 0 ] || return 0
    for ((i = 0; i < 16; i++)); do
        value=$i
        for ((bit = 0; bit < 4; bit++)); do
            ((value = value & 1 ? (value >> 1) ^ 0x82F63B78 : value >> 1)) || true
        done
        crc_table[i]=$value
    done
}
crc_add() {
    ((crc ^= $1)) || true
    ((crc = crc_table[crc & 15] ^ (crc >> 4))) || true
    ((crc = crc_table[crc & 15] ^ (crc >> 4))) || true
}

# Prints where in a pg_control file its own checksum stands: it differs between versions.
checksum_offset() {
    local bytes i word
    read -r -d '' -a bytes < <(od -An -v -tu1 -N1024 "$1") || true
    crc_start
    for ((i = 0; i + 4 <= ${#bytes[@]}; i++)); do
        ((word = bytes[i] | bytes[i + 1] << 8 | bytes[i + 2] << 16 | bytes[i + 3] << 24)) || true
        if ((i >= 64 && i % 4 == 0 && word == (crc ^ 0xFFFFFFFF))); then
            printf '%s\n' "$i"
            return
        fi
        crc_add "${bytes[i]}"
    done
    return 1
}

# Writes a number as little-endian bytes: FILE OFFSET SIZE NUMBER.
patch() {
    local i text=''
    for ((i = 0; i < $3; i++)); do
        text+=$(printf '\\x%02x' $((($4 >> (8 * i)) & 255)))
    done
    # shellcheck disable=SC2059 # the format is the data
    printf "$text" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# Gives a data folder its own system identifier, as initdb would: in pg_control and in the first
# page of each WAL segment. Copies that shared one would look like physical clones to zemi.
set_identifier() {
    local data=$1 offset=$2 identifier bytes i segment
    identifier=$((($(date +%s) << 32) | (($$ & 0x3FFFFF) << 10) | (RANDOM & 1023)))
    patch "$data/global/pg_control" 0 8 "$identifier"
    read -r -d '' -a bytes < <(od -An -v -tu1 -N"$offset" "$data/global/pg_control") || true
    crc_start
    for i in "${bytes[@]}"; do crc_add "$i"; done
    patch "$data/global/pg_control" "$offset" 4 $((crc ^ 0xFFFFFFFF))
    for segment in "$data"/pg_wal/0000*; do patch "$segment" 24 8 "$identifier"; done
}

# Appends NAME=VALUE lines to postgresql.conf; the last one of a name counts.
configure() {
    local data=$1 setting name value
    shift
    for setting in "$@"; do
        name=${setting%%=*} value=${setting#*=}
        printf "%s = '%s'\n" "$name" "${value//\'/\'\'}"
    done >>"$data/postgresql.conf"
}
