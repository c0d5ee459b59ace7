# shellcheck shell=bash
# Sourced by the scripts that bring packages of Debian, as root or, to unpack them in a folder, as anybody.
#
# The package lists of a machine grow old: they hide newer versions, and name some that the mirrors have no
# more (404). So each function here tries with the lists as they are, and where that does not give what is
# wanted, refreshes them, once in a process, and tries once more. Only root can refresh them.

apt_note() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# Whether the version FOUND is WANTED or a later one. Only what is before the first character that is neither
# digit nor dot counts: 1.96.0+dfsg1 is 1.96.0. What is no version is older than all.
version_at_least() {
    local found wanted i
    IFS=. read -r -a found <<<"${1%%[!0-9.]*}"
    IFS=. read -r -a wanted <<<"${2%%[!0-9.]*}"
    [ -n "${found[0]:-}" ] || return 1
    for ((i = 0; i < ${#wanted[@]}; i++)); do
        ((10#${found[i]:-0} == 10#${wanted[i]:-0})) || {
            ((10#${found[i]:-0} > 10#${wanted[i]:-0}))
            return
        }
    done
}

# Refreshes the lists. Fails where that cannot help: not as root, without apt-get, or the second time.
# What fails of it is said by the next try: one source among several that does not answer matters to none of
# the others.
apt_refresh() {
    [ -z "${apt_refreshed:-}" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    apt_refreshed=yes
    apt_note 'refreshing the package lists (apt-get update)'
    apt_run update || apt_note "apt-get update: $apt_why"
}

# Runs apt-get; sets apt_why to its last error where it fails.
apt_run() {
    local said
    apt_why=''
    said=$(DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -qq -o Acquire::Retries=3 \
        -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold "$@" 2>&1 </dev/null) && return
    apt_why=$(grep '^E:' <<<"$said" | tail -n 1 || true)
    apt_why=${apt_why:-$(tail -n 1 <<<"$said")}
    apt_why=${apt_why#E: }
    return 1
}

# Sets candidate to the version of PACKAGE that the lists offer, or to nothing.
apt_look() {
    candidate=''
    command -v apt-cache >/dev/null || return 0
    candidate=$(LC_ALL=C apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: *//p')
    [[ $candidate == [0-9]* ]] || candidate=''
}

# Sets candidate to the version of PACKAGE that apt-get would bring; fails where that is older than WANTED.
apt_candidate() {
    apt_look "$1"
    if version_at_least "$candidate" "$2"; then return; fi
    apt_refresh || return 1
    apt_look "$1"
    version_at_least "$candidate" "$2"
}

# Installs packages. Needs root.
apt_install() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        apt_why='only root can install packages, on Debian'
        return 1
    fi
    apt_note "installing $*"
    apt_run install -y --no-install-recommends "$@" && return
    apt_refresh && apt_run install -y --no-install-recommends "$@"
}

# Downloads packages into FOLDER and installs nothing. Needs no root.
apt_download() {
    local here=$PWD folder=$1 code=0
    shift
    if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
        apt_why='there is no apt-get and no dpkg-deb'
        return 1
    fi
    cd "$folder" || return 1
    # The user _apt may not write here.
    apt_run -o APT::Sandbox::User=root download "$@" || code=1
    cd "$here" || return 1
    return $code
}
