#!/usr/bin/env bash
# Runs fuzz targets on a copy of their corpora and prints a line for each: how often it ran, how much code
# it covers. What breaks a target is kept in fuzz/artifacts; its exit code is 1 then.
#
#   scripts/fuzz/fuzz.sh SECONDS JOBS [TARGET]...      (all)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=scripts/fuzz/tools.sh
. scripts/fuzz/tools.sh
seconds=$1 jobs=$2
shift 2

fuzz_build
out=fuzz/artifacts
mkdir -p "$out"
export fuzz_bin seconds out
# Freed memory that the sanitizer keeps back would count towards the limit.
export ASAN_OPTIONS=quarantine_size_mb=16

one() {
    target=$1
    mkdir -p "$out/corpus/$target"
    if nice -n 19 "$fuzz_bin/$target" -artifact_prefix="$out/$target-" -max_len=65536 \
        -max_total_time="$seconds" -rss_limit_mb=1024 -timeout=60 -print_final_stats=1 \
        "$out/corpus/$target" "fuzz/corpus/$target" >"$out/$target.log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$out/$target.log")
        found=$(sed -n 's/^#.*DONE *cov: \([0-9]*\) ft: \([0-9]*\) corp: \([0-9]*\).*/\1 \2 \3/p' \
            "$out/$target.log")
        read -r edges features inputs <<<"$found"
        printf '%-10s %12s runs  %6s edges  %6s features  %5s inputs\n' \
            "$target" "$runs" "$edges" "$features" "$inputs"
    else
        printf '%-10s BROKEN: %s/%s.log\n' "$target" "$out" "$target"
        exit 1
    fi
}
export -f one
# shellcheck disable=SC2016
if [ $# -eq 0 ]; then fuzz_targets; else printf '%s\n' "$@"; fi |
    xargs -P "$jobs" -I{} bash -c 'one {}'
