# shellcheck shell=bash
# shellcheck disable=SC2154 # the variables of cross.sh
# Sourced by cross.sh. The way to the smallest programs: Debian's newest rustc (the packages
# that its browsers are built with), and a std built from its sources. All of it is kept in the cache
# folder; nothing is installed but libraries that this rustc needs.

# What std is built with is part of its folder's name: count this up when it changes.
std_recipe=3
std_sources=root/usr/lib/rustlib/src/rust

# Sets rustc and rustc_home to Debian's compiler, from the cache or from apt-get; else fails and says in
# debian_why what is in the way. Whether it is new enough is known before anything is downloaded or kept.
find_debian() {
    find_cached_rustc && return
    local try
    for try in first last; do
        apt_offers_rustc || return 1
        if bring_rustc; then return; fi
        # Lists that name what a mirror has no more.
        [ "$try" = first ] && apt_refresh || return 1
    done
}

# Sets rustc and rustc_home to the newest compiler in the cache that is new enough and runs. One that is older
# than Debian's newest is used: the same compiler gives the same bytes.
find_cached_rustc() {
    local home
    while IFS= read -r home; do
        [ -d "$home" ] || continue
        if [ ! -d "$home/$std_sources" ] || ! rustc_runs "$home/rustc"; then
            note "removing $home, which is not whole or does not run"
            rm -rf "$home"
        elif version_at_least "$rustc_version" "$rust_wanted"; then
            rustc=$home/rustc rustc_home=$home
            return
        else
            note "passing over $home: expected Rust $rust_wanted or later, found $rustc_version"
        fi
    done < <(printf '%s\n' "$cache"/cross-rustc-* | sort -rV)
    return 1
}

# Whether that rustc runs, at last with libraries that the machine has lost, or never had.
rustc_runs() {
    ask_rustc "$1" && return
    [ -x "$1" ] && [ "$(id -u)" = 0 ] && apt_install libz3-4 libedit2 libxml2 && ask_rustc "$1"
}

# Whether apt-get has a rustc that is new enough; sets candidate.
apt_offers_rustc() {
    if ! has apt-get || ! has apt-cache || ! has dpkg-deb; then
        debian_why='there is no apt-get'
        return 1
    fi
    apt_candidate rustc-web "$rust_wanted" && return
    if [ -z "$candidate" ]; then
        debian_why='apt-get has no package rustc-web (Debian 12 has)'
    else
        debian_why="apt-get offers rustc-web $candidate, older than Rust $rust_wanted"
    fi
    [ "$(id -u)" = 0 ] || debian_why+=', by lists that only root can refresh (apt-get update)'
    return 1
}

# Downloads the rustc of candidate and its std's sources into the cache.
bring_rustc() {
    local short work llvm home file debs
    short=$(cut -d. -f1,2 <<<"$candidate")
    llvm=$(apt-cache depends "libstd-rust-web-$short" 2>/dev/null |
        sed -n 's/.*Depends: *\(libllvm[0-9]*\)$/\1/p')
    home=${candidate%%[+-]*}
    home=$cache/cross-rustc-${home#*:}
    debs=("rustc-web=$candidate" "libstd-rust-web-dev=$candidate" "libstd-rust-web-$short=$candidate"
        "rust-web-src=$candidate" ${llvm:+"$llvm"})
    note "bringing Debian's rustc $candidate into $cache"
    rm -rf "$cache"/cross-rustc.??????
    work=$(mktemp -d "$cache/cross-rustc.XXXXXX") && mkdir "$work/debs" "$work/root" || exit 1
    # shellcheck disable=SC2064 # the folder of now
    trap "rm -rf '$work'" EXIT
    if ! apt_download "$work/debs" "${debs[@]}"; then
        debian_why="apt-get cannot download ${debs[*]}: $apt_why"
        rm -rf "$work"
        return 1
    fi
    for file in "$work"/debs/*.deb; do
        dpkg-deb -x "$file" "$work/root" || die "cannot unpack ${file##*/} into $cache: is its disk full?"
    done
    rm -rf "$work/debs" "$work/root/usr/src/"rustc-*/{compiler,src,debian}
    file=$(find "$work/root" -name 'librustc_driver*.so' | head -n 1)
    # Where it is does not matter: this folder gets another name when it is whole.
    # shellcheck disable=SC2016 # the script's own variables
    printf '#!/bin/sh\nhome=${0%%/*}\nLD_LIBRARY_PATH=$home%s exec "$home/root/usr/bin/rustc" "$@"\n' \
        "$(dirname "${file#"$work"}")" >"$work/rustc"
    chmod 755 "$work" "$work/rustc"
    rustc_runs "$work/rustc" || die "Debian's rustc $candidate does not run here:" \
        "apt-get install libz3-4 libedit2 libxml2, or CROSS_WAY=rustup"
    sync -f "$work"
    rm -rf "$home"
    mv "$work" "$home"
    trap - EXIT
    rustc=$home/rustc rustc_home=$home
    remove_old_rustc
}

# Removes the compilers that are too old, once a newer one is there.
remove_old_rustc() {
    local home
    for home in "$cache"/cross-rustc-*; do
        ask_rustc "$home/rustc" || rustc_version=''
        version_at_least "$rustc_version" "$rust_wanted" || rm -rf "$home"
    done
}

# Builds std for a triple, unless it is there. It has the parts that a program with panic=abort and no
# symbols can use: no unwinding and no printing of backtraces.
build_std() {
    local lib=$rustc_home/root/usr/lib/rustlib/$1/lib source work code_flags
    [ "$(cat "$lib/recipe" 2>/dev/null)" != "$std_recipe" ] || return 0
    note "building std for $1 (once, some minutes)"
    source=$(cd "$rustc_home/$std_sources" && pwd -P)
    work=$rustc_home/std
    # Left by a run that was killed, or by another recipe: two std in one folder are none.
    rm -rf "$work" "$lib" "$lib.new"
    mkdir -p "$work/src" "$lib.new"
    : >"$work/src/lib.rs"
    code_flags_of
    cat >"$work/Cargo.toml" <<'TOML'
[package]
name = "std-for-zemi"
version = "0.1.0"
edition = "2021"

[profile.release]
opt-level = "s"
codegen-units = 1
panic = "abort"
TOML
    (
        cd "$work"
        export RUSTC=$rustc RUSTC_BOOTSTRAP=1 CARGO_ENCODED_RUSTFLAGS
        # cargo names the sources by the folder of rustc, in which a link leads to them.
        CARGO_ENCODED_RUSTFLAGS=$(flags "$source=/rustc/std" \
            "--remap-path-prefix=$rustc_home/$std_sources=/rustc/std" -C embed-bitcode=yes \
            -C link-self-contained=no "${code_flags[@]}")
        persist cargo build -q --release --target "$1" --target-dir "$work/target" \
            -Z build-std=std,panic_abort -Z build-std-features=optimize_for_size
    ) || die "std for $1 could not be built: CROSS_WAY=rustup takes a ready-made one"
    cp "$work/target/$1/release/deps"/*.rlib "$lib.new/"
    rm -f "$lib.new"/libstd_for_zemi*
    printf '%s\n' "$std_recipe" >"$lib.new/recipe"
    sync -f "$lib.new"
    mv "$lib.new" "$lib"
    rm -rf "$work"
}

# Removes what was built for the target of triple with another std than that of now: cargo does not see that
# it is another one, and the two do not fit.
forget_other_std() {
    local stamp=$target/$triple.std now
    now=$(cat "$rustc_home/root/usr/lib/rustlib/$triple/lib"/*.rlib | sha256sum)
    [ "$(cat "$stamp" 2>/dev/null)" != "$now" ] || return 0
    rm -rf "${target:?}/$triple"
    mkdir -p "$target"
    printf '%s\n' "$now" >"$stamp"
}
