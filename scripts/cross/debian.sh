# shellcheck shell=bash
# shellcheck disable=SC2154 # the variables of cross.sh
# Sourced by cross.sh. The way to the smallest programs: Debian's newest rustc (the packages
# that its browsers are built with), and a std built from its sources. All of it is kept in the cache
# folder; nothing is installed.

# What std is built with is part of its folder's name: count this up when it changes.
std_recipe=1

# Whether apt-get has that rustc, or the cache.
debian_has() {
    compgen -G "$cache/cross-rustc-*/rustc" >/dev/null && return
    has apt-get && has dpkg-deb && has_package rustc-web
}

# Sets rustc_home, and rustc to a command in it.
bring_rustc() {
    local found
    # An older one that is there is used: the same compiler gives the same bytes.
    for found in "$cache"/cross-rustc-*/rustc; do
        [ ! -x "$found" ] || { rustc=$found rustc_home=${found%/rustc} && return; }
    done
    local version short llvm work
    has_package rustc-web || true
    version=$(apt-cache policy rustc-web 2>/dev/null | sed -n 's/^ *Candidate: *//p')
    [[ $version == [0-9]*.*.* ]] || die "no static target: \`rustup target add\` brings none here," \
        "and apt-get has no package rustc-web (Debian 12 has)"
    short=$(cut -d. -f1,2 <<<"$version")
    llvm=$(apt-cache depends "libstd-rust-web-$short" | sed -n 's/.*Depends: *\(libllvm[0-9]*\)$/\1/p')
    note "bringing Debian's rustc $version into $cache"
    work=$(mktemp -d "$cache/cross-rustc.XXXXXX")
    # shellcheck disable=SC2064 # the folder of now
    trap "rm -rf '$work'" EXIT
    mkdir "$work/debs" "$work/root"
    (cd "$work/debs" && download_debs "rustc-web=$version" "libstd-rust-web-dev=$version" \
        "libstd-rust-web-$short=$version" "rust-web-src=$version" "$llvm") || exit 1
    for found in "$work"/debs/*.deb; do dpkg-deb -x "$found" "$work/root"; done
    rm -rf "$work/debs" "$work/root/usr/src/"rustc-*/{compiler,src,debian}
    rustc_home=$cache/cross-rustc-${version%%+*}
    rustc=$rustc_home/rustc
    # shellcheck disable=SC2016 # the script's own $@
    printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s/root/usr/bin/rustc "$@"\n' \
        "$(dirname "$(find "$work/root" -name 'librustc_driver*.so' | head -n 1)" |
            sed "s|^$work|$rustc_home|")" "$rustc_home" >"$work/rustc"
    chmod 755 "$work" "$work/rustc"
    mv "$work" "$rustc_home"
    trap - EXIT
    "$rustc" -V >/dev/null && return
    [ "$(id -u)" != 0 ] ||
        persist apt-get -qq install -y --no-install-recommends libz3-4 libedit2 libxml2 >&2 || true
    "$rustc" -V >/dev/null || die "$rustc does not run: apt-get install libz3-4 libedit2 libxml2"
}

# Builds std for a triple, unless it is there. It has the parts that a program with panic=abort and no
# symbols can use: no unwinding and no printing of backtraces.
build_std() {
    local lib=$rustc_home/root/usr/lib/rustlib/$1/lib source work
    [ "$(cat "$lib/recipe" 2>/dev/null)" != "$std_recipe" ] || return 0
    note "building std for $1 (once, some minutes)"
    source=$(cd "$rustc_home/root/usr/lib/rustlib/src/rust" && pwd -P)
    work=$rustc_home/std
    rm -rf "$work" "$lib"
    mkdir -p "$work/src" "$lib.new"
    : >"$work/src/lib.rs"
    cat >"$work/Cargo.toml" <<'TOML'
[package]
name = "std-for-zemi"
version = "0.1.0"
edition = "2021"

[profile.release]
opt-level = 3
codegen-units = 1
panic = "abort"
TOML
    (
        cd "$work"
        export RUSTC=$rustc RUSTC_BOOTSTRAP=1 CARGO_ENCODED_RUSTFLAGS
        CARGO_ENCODED_RUSTFLAGS=$(flags "$source=/rustc/std" -C embed-bitcode=yes \
            -C force-unwind-tables=no -C link-self-contained=no)
        persist cargo build -q --release --target "$1" --target-dir "$work/target" \
            -Z build-std=std,panic_abort -Z build-std-features=optimize_for_size
    ) || die "std for $1 could not be built"
    cp "$work/target/$1/release/deps"/*.rlib "$lib.new/"
    rm -f "$lib.new"/libstd_for_zemi*
    printf '%s\n' "$std_recipe" >"$lib.new/recipe"
    mv "$lib.new" "$lib"
    rm -rf "$work"
}
