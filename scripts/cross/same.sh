#!/usr/bin/env bash
# Tests that a program of `make cross` depends on nothing but the commit: builds it again from a clone in
# another folder, and compares the bytes with those in dist/.
#
#   make cross-same [TARGETS=x86_64]    or    scripts/cross/same.sh [ARCH]...
#
# One build per target, x86_64 unless told. Environment: CROSS_WAY, as for scripts/cross/cross.sh; it must be
# the way that dist/ was built.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=scripts/cross/common.sh
. scripts/cross/common.sh

[ $# -gt 0 ] || set -- x86_64
[ -z "$(git status --porcelain --untracked-files=no)" ] ||
    die "expected no change since the last commit, for that is what is built again"
for arch in "$@"; do
    triple_of "$arch"
    [ -f "dist/$program" ] || die "dist/$program is missing: make cross TARGETS=$arch"
done
dir=$(mktemp -d "${TMPDIR:-/tmp}/zemi-same.XXXXXX")
trap 'rm -rf "$dir"' EXIT
git clone --quiet . "$dir/another-folder"
unset CARGO_TARGET_DIR CROSS_DIST
"$dir/another-folder/scripts/cross/cross.sh" "$@"
for arch in "$@"; do
    triple_of "$arch"
    cmp "dist/$program" "$dir/another-folder/dist/$program" ||
        die "$arch: expected the same bytes from another folder (is dist/ of this commit?)"
    echo "$arch: the same bytes from another folder"
done
