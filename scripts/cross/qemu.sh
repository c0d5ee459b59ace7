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
    [ ! -x "$qemu" ] || return 0
    note "bringing qemu-user-static into $cache"
    work=$(mktemp -d "$cache/cross-qemu.XXXXXX")
    # Not installed: that would make the kernel run such programs for everybody.
    (cd "$work" && download_debs qemu-user-static && dpkg-deb -x ./*.deb . && rm -f ./*.deb) || {
        rm -rf "$work"
        die "$name is missing (Debian: apt-get install qemu-user-static)"
    }
    rm -rf "$cache/cross-qemu"
    mv "$work" "$cache/cross-qemu"
}
