# shellcheck shell=bash
# shellcheck disable=SC2154 # the variables of cross.sh
# Sourced by cross.sh. Brings zig and cargo-zigbuild, of the versions in zig.txt, from PyPI.

# Prints the version of a package in zig.txt.
pinned() { sed -n "s/^$1==\([^ ]*\).*/\1/p" scripts/cross/zig.txt; }

# Whether that virtual environment is whole and has these versions. It breaks when the python goes that it was
# made by, or when it was not yet on the disk at a power cut.
zig_works() {
    [ -f "$1/complete" ] &&
        [ "$("$1/bin/python3" -m ziglang version 2>/dev/null)" = "$(pinned ziglang)" ] &&
        [ "$("$1/bin/cargo-zigbuild" -V 2>/dev/null)" = "cargo-zigbuild $(pinned cargo-zigbuild)" ]
}

# Brings them where they are not there yet, and sets PATH.
bring_zig() {
    local venv
    venv=$cache/cross-zig-$(sha256sum scripts/cross/zig.txt | cut -c1-12)
    if ! zig_works "$venv"; then
        has python3 || die "python3 is missing (Debian: apt-get install python3 python3-venv)"
        note "bringing zig into $cache"
        rm -rf "$venv"
        python3 -m venv "$venv" >&2 ||
            die "python3 cannot make a virtual environment (Debian: apt-get install python3-venv)"
        persist "$venv/bin/pip" -q --disable-pip-version-check install --no-deps --require-hashes \
            --only-binary :all: --retries 5 --timeout 60 -r scripts/cross/zig.txt >&2 ||
            die "pip cannot bring zig from PyPI"
        sync -f "$venv"
        : >"$venv/complete"
        zig_works "$venv" || die "zig of scripts/cross/zig.txt does not run here"
    fi
    PATH=$venv/bin:$PATH
    # Its C library and its compiled headers: else they go to the caller's home.
    export ZIG_GLOBAL_CACHE_DIR=$cache/cross-zig-cache
}
