#!/usr/bin/env bash
# Builds static programs for Linux: dist/zemi-ARCH-linux for x86_64, aarch64 and armv7.
#
#   make cross [TARGETS='x86_64 aarch64']    or    scripts/cross/cross.sh [ARCH]...
#
# Two ways to a std for musl; it says which one it goes:
#   debian   Debian's rustc, and a std built from its sources without what zemi cannot use
#   rustup   elsewhere: the targets of the toolchain that is there (rustup target add)
# In both, zig (from PyPI, in a virtual environment) compiles C and links.
#
# Environment:
#   CROSS_WAY    rustup or debian, instead of the first that works
#   CROSS_DIST   folder of the programs (dist)
#   ZEMI_CACHE   folder that keeps compilers and std, as for scripts/postgres/postgres.sh

set -euo pipefail
umask 022
export LC_ALL=C CARGO_INCREMENTAL=0
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS RUSTC_WRAPPER
# Flags of the caller for C would take the place of ours.
unset "${!CFLAGS_@}" "${!TARGET_CFLAGS@}"

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=scripts/cross/common.sh
. scripts/cross/common.sh
# shellcheck source=scripts/cross/way.sh
. scripts/cross/way.sh
# shellcheck source=scripts/cross/debian.sh
. scripts/cross/debian.sh
# shellcheck source=scripts/cross/zig.sh
. scripts/cross/zig.sh

# These go into lists of flags for C and the linker, which are divided by blanks and commas.
case $PWD${CARGO_HOME:-$HOME/.cargo} in
    *[[:space:],]*) die "expected no blank and no comma in the paths of this folder and of cargo's: $PWD" ;;
esac

# Prints flags for CARGO_ENCODED_RUSTFLAGS: FROM=TO of a folder besides those of every build, then more.
# No path of this machine reaches the program.
flags() {
    local home=${CARGO_HOME:-$HOME/.cargo} all folder
    all="--remap-path-prefix=$1"
    for folder in "$home/registry/src" "$home"/registry/src/*; do
        [ ! -d "$folder" ] || all+=$'\x1f'"--remap-path-prefix=$folder=/crates"
    done
    shift
    while [ $# -gt 0 ]; do
        all+=$'\x1f'$1
        shift
    done
    printf '%s' "$all"
}

build() {
    local arch=$1 rustc_flags c_flags file program
    triple_of "$arch"
    program=$target/$triple/static/zemi
    # Zig's start files and Rust's own would collide. Nothing unwinds, so no tables for that. What runs
    # stands side by side, for the memory's sake.
    rustc_flags=$(flags "$PWD=/zemi" -C link-self-contained=no -C force-unwind-tables=no \
        -C "link-arg=-Wl,-T,$PWD/scripts/cross/order.ld" \
        ${rustc_home:+"--remap-path-prefix=$rustc_home/$std_sources=/rustc/std"})
    c_flags="-fno-asynchronous-unwind-tables -ffile-prefix-map=${CARGO_HOME:-$HOME/.cargo}=/cargo"
    c_flags+=" -include $PWD/scripts/cross/p256.h"
    [ "$way" != debian ] || forget_other_std
    # cargo does not know of these files.
    for file in scripts/cross/{order.ld,p256.h}; do
        [ -f "$program" ] && [ "$file" -nt "$program" ] || continue
        cargo clean --quiet --locked -p ring -p zemi \
            --profile static --target "$triple" --target-dir "$target"
    done
    CFLAGS=$c_flags CARGO_ENCODED_RUSTFLAGS=$rustc_flags \
        cargo zigbuild --profile static --locked --target "$triple" --target-dir "$target" --bin zemi
    mkdir -p "$dist"
    cp "$program" "$dist/.zemi-$arch-linux"
    mv "$dist/.zemi-$arch-linux" "$dist/zemi-$arch-linux"
}

if [ $# = 0 ]; then set -- "${archs[@]}"; fi
for arch in "$@"; do triple_of "$arch"; done
check_cargo
choose_cache
exec 9>"$cache/cross.lock"
flock 9
choose_way "$@"
bring_zig
# First, so that the folders that are to be mapped away are there.
persist cargo fetch --locked
if [ "$way" = debian ]; then
    for arch in "$@"; do
        triple_of "$arch"
        build_std "$triple"
    done
    export RUSTC=$rustc
fi
exec 9>&-
echo "way: $way, $("${RUSTC:-rustc}" -V), zig $(python3 -m ziglang version)"

dist=${CROSS_DIST:-dist}
target=$(cargo metadata --format-version 1 --no-deps --locked |
    sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')/cross-$way
for arch in "$@"; do build "$arch"; done
(cd "$dist" && sha256sum zemi-*-linux >SHA256SUMS)
for arch in "$@"; do
    printf '%-22s %8d bytes, %8d with gzip -9\n' "zemi-$arch-linux" \
        "$(wc -c <"$dist/zemi-$arch-linux")" "$(gzip -9 -n -c "$dist/zemi-$arch-linux" | wc -c)"
done
