# How the fuzz targets are built and run here, for scripts that source this. libFuzzer needs options of the
# compiler that only nightly takes, or a stable one that is told to.
# shellcheck shell=bash

fuzz_missing=
command -v cargo-fuzz >/dev/null || fuzz_missing='cargo-fuzz (cargo install cargo-fuzz)'
command -v c++ >/dev/null ||
    fuzz_missing="${fuzz_missing:+$fuzz_missing; }a C++ compiler (Debian: apt-get install g++)"
if [ -n "$fuzz_missing" ]; then
    echo "missing: $fuzz_missing" >&2
    exit 1
fi

if cargo +nightly --version >/dev/null 2>&1; then
    fuzz_cargo=(cargo +nightly fuzz)
else
    echo 'no nightly toolchain: the default one with RUSTC_BOOTSTRAP=1' >&2
    export RUSTC_BOOTSTRAP=1
    fuzz_cargo=(cargo fuzz)
fi

# The names of all targets.
fuzz_targets() {
    for file in fuzz/fuzz_targets/*.rs; do
        basename "$file" .rs
    done
}

# Builds all targets and sets fuzz_bin, the folder that they are in.
fuzz_build() {
    "${fuzz_cargo[@]}" build || exit 1
    fuzz_bin=fuzz/target/$(rustc -vV | sed -n 's/^host: //p')/release
}
