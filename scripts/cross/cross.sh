#!/usr/bin/env bash
# Builds static programs for Linux: dist/zemi-ARCH-linux for x86_64, aarch64 and armv7. Told so, for macOS,
# too: dist/zemi-x86_64-macos and zemi-aarch64-macos, which have libSystem alone beside them.
#
#   make cross [TARGETS='x86_64 aarch64-macos']    or    scripts/cross/cross.sh [ARCH]...
#
# Two ways to a std for a target; it says which one it goes:
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

# Sets code_flags to how code for the target of triple is made, that of std and of the program alike.
code_flags_of() {
    code_flags=(-C force-unwind-tables=no) # nothing unwinds
    # Every ARMv7 has these instructions, half of which take two bytes instead of four. The unstable
    # feature that rustc warns of is just this choice.
    [[ $triple != armv7-* ]] || code_flags+=(-C target-feature=+thumb-mode)
}

# Sets rustc_flags and c_flags for the target of triple.
flags_of() {
    local own code_flags
    code_flags_of
    own=("${code_flags[@]}")
    c_flags="-fno-asynchronous-unwind-tables -ffile-prefix-map=${CARGO_HOME:-$HOME/.cargo}=/cargo"
    c_flags+=" -include $PWD/scripts/cross/p256.h"
    case $triple in
        # Zig's start files and Rust's own would collide. What runs stands side by side, for the memory's
        # sake.
        *-linux-*) own+=(-C link-self-contained=no -C "link-arg=-Wl,-T,$PWD/scripts/cross/order.ld") ;;
        # The linker strips, and then signs: rustc would strip what is signed, by a tool that is not here. Of
        # the libraries that the package libc asks for, two are not used.
        *) own+=(-C strip=none -C "link-arg=-Wl,-s,-x" -C link-arg=-Wl,-dead_strip_dylibs) ;;
    esac
    [ -z "$rustc_home" ] || own+=("--remap-path-prefix=$rustc_home/$std_sources=/rustc/std")
    # Less is inlined than by default, which is 50 where code is optimised for size.
    rustc_flags=$(flags "$PWD=/zemi" "${own[@]}" -C llvm-args=-inline-threshold=15)
}

build() {
    local file built triple program rustc_flags c_flags
    triple_of "$1"
    flags_of
    [ "$way" != debian ] || forget_other_std
    built=$target/$triple/static/zemi
    # cargo does not know of these files.
    for file in scripts/cross/{order.ld,p256.h}; do
        [ -f "$built" ] && [ "$file" -nt "$built" ] || continue
        cargo clean --quiet --locked -p ring -p zemi \
            --profile static --target "$triple" --target-dir "$target"
    done
    CFLAGS=$c_flags CARGO_ENCODED_RUSTFLAGS=$rustc_flags \
        cargo zigbuild --profile static --locked --target "$triple" --target-dir "$target" --bin zemi
    mkdir -p "$dist"
    cp "$built" "$dist/.$program"
    mv "$dist/.$program" "$dist/$program"
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
(cd "$dist" && shopt -s nullglob && sha256sum zemi-*-linux zemi-*-macos >SHA256SUMS)
for arch in "$@"; do
    triple_of "$arch"
    printf '%-22s %8d bytes, %8d with gzip -9\n' "$program" \
        "$(wc -c <"$dist/$program")" "$(gzip -9 -n -c "$dist/$program" | wc -c)"
done
