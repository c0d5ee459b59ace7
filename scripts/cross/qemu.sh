# shellcheck shell=bash
# Sourced. What runs programs of other processors.

# Sets qemu to a static program that runs those of ARCH; empty for this machine's own.
find_qemu() {
    local name work
    qemu=''
    [ "$1" != "$(uname -m)" ] || return 0
    name=qemu-${1/armv7/arm}-static
    qemu=$(command -v "$name" || true)
    [ -z "$qemu" ] || return 0
    qemu=$cache/cross-qemu/usr/bin/$name
    if qemu_runs; then return; fi
    exec 8>"$cache/cross-qemu.lock"
    flock 8
    if qemu_runs; then return; fi
    note "bringing qemu-user-static into $cache"
    rm -rf "$cache"/cross-qemu.??????
    work=$(mktemp -d "$cache/cross-qemu.XXXXXX")
    # Not installed: that would make the kernel run such programs for everybody.
    apt_download "$work" qemu-user-static || { apt_refresh && apt_download "$work" qemu-user-static; } || {
        rm -rf "$work"
        die "$name is missing and apt-get cannot download it: $apt_why" \
            "(Debian: apt-get install qemu-user-static)"
    }
    dpkg-deb -x "$work"/*.deb "$work" || die "cannot unpack qemu-user-static into $cache: is its disk full?"
    rm -f "$work"/*.deb
    sync -f "$work"
    rm -rf "$cache/cross-qemu"
    mv "$work" "$cache/cross-qemu"
    exec 8>&-
    qemu_runs || die "$qemu does not run here"
}

# The text counts: a file that is empty after a power cut ends well, too.
qemu_runs() { [[ $("$qemu" --version 2>/dev/null) == qemu* ]]; }
