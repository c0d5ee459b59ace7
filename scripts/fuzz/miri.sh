#!/usr/bin/env bash
# Runs the tests of the pure modules (lsn, pgoutput, change) where undefined behaviour is seen: in miri, or,
# where no toolchain has it, with the address sanitizer. Zemi itself holds no unsafe code; the packages
# beneath it and the standard library do.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if cargo +nightly miri --version >/dev/null 2>&1; then
    # Files are read (the recorded messages). What is left out would take an interpreter hours: thousands of
    # rounds of a hash, every character there is, texts of megabytes, cases by the hundred.
    skip=()
    for name in mask:: every_single every_byte_at judged:: is_that_of_numeric beyond_jsonb scratch_buffers \
        too_large threshold whatever_the agree nesting_is a_large_row towards_the_limit not_far_above \
        golden:: roundtrip:: changed_byte without_end texts_survive; do
        skip+=(--skip "$name")
    done
    export PROPTEST_CASES=${PROPTEST_CASES:-4} MIRIFLAGS=-Zmiri-disable-isolation
    cargo +nightly miri test --locked --lib -- lsn:: pgoutput:: change:: "${skip[@]}"
    exit
fi
echo 'no miri here (rustup +nightly component add miri): the address sanitizer in its place' >&2
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTC_BOOTSTRAP=1 RUSTFLAGS='-Zsanitizer=address' CARGO_TARGET_DIR=target/sanitizer \
    cargo test --locked --lib --target "$host" -- lsn:: pgoutput:: change::
