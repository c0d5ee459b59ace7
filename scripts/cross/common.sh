# shellcheck shell=bash
# Sourced by the scripts around the static binaries: targets, the cache folder, messages.

# Linux, which is what is built unless targets are named; and macOS.
archs=(x86_64 aarch64 armv7)
mac_archs=(aarch64-macos x86_64-macos)

# What a program, and an image of it, may have packed, in bytes.
# shellcheck disable=SC2034 # for those that source this
packed_limit=1000000

note() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

die() {
    note "$@"
    exit 1
}

# shellcheck source=scripts/apt.sh
. "${BASH_SOURCE[0]%/*}/../apt.sh"

has() { command -v "$1" >/dev/null 2>&1; }

# Sets triple to the Rust target of one of ours, and program to the name of the file that is built for it.
# shellcheck disable=SC2034 # for those that source this
triple_of() {
    program=zemi-$1-linux
    case $1 in
        x86_64 | aarch64) triple=$1-unknown-linux-musl ;;
        armv7) triple=armv7-unknown-linux-musleabihf ;;
        x86_64-macos | aarch64-macos) triple=${1%-macos}-apple-darwin program=zemi-$1 ;;
        *) die "expected a target of ${archs[*]} ${mac_archs[*]}, found \`$1\`" ;;
    esac
}

# Sets cache, the folder of scripts/postgres/postgres.sh: what is brought or built once, outside this tree.
choose_cache() {
    if [ -n "${ZEMI_CACHE:-}" ]; then
        cache=$ZEMI_CACHE
    elif [ "$(id -u)" = 0 ]; then
        cache=/var/cache/zemi
    else
        cache=${XDG_CACHE_HOME:-${HOME:?HOME is not set: set ZEMI_CACHE}/.cache}/zemi
    fi
    mkdir -p "$cache" 2>/dev/null && [ -w "$cache" ] ||
        die "cannot write to the cache folder $cache: set ZEMI_CACHE to another folder"
    cache=$(cd "$cache" && pwd -P)
}

# Runs a command a few times until it succeeds: registries and mirrors have bad minutes.
persist() {
    local try
    for try in 1 2 3 4; do
        "$@" && return
        [ "$try" = 4 ] || { note "again in $((try * 5)) s: $1 failed" && sleep $((try * 5)); }
    done
    return 1
}
