#!/usr/bin/env bash
# Makes the corpus of the fuzz targets from real streams: records PostgreSQL 14 to 18, adds what was
# recorded before (tests/golden, fuzz/corpus) and what runs of the targets found since, and keeps of all
# that the fewest inputs that cover the same code.
#
#   scripts/fuzz/record-corpus.sh [TARGET]...      (all)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=scripts/fuzz/tools.sh
. scripts/fuzz/tools.sh

dir=$(mktemp -d)
servers=()
cleanup() {
    for major in "${servers[@]%%=*}"; do
        scripts/postgres/postgres.sh destroy "$dir/$major" >/dev/null || true
    done
    rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM
chmod 755 "$dir"
for major in 14 15 16 17 18; do
    port=$(scripts/postgres/postgres.sh start "$major" "$dir/$major" | tail -n 1)
    servers+=("$major=$port")
done
# Certificates of every kind of key, and of the authorities that this machine trusts.
mkdir "$dir/certificates"
number=0
certificate() {
    number=$((number + 1))
    openssl req -x509 -nodes -keyout "$dir/key" -outform DER -out "$dir/certificates/$number" -days 90 \
        -subj "/O=Zemi/CN=db.example" "$@" 2>/dev/null
}
certificate -newkey rsa:1024 -sha256 -addext 'subjectAltName=DNS:db.example,IP:127.0.0.1'
certificate -newkey rsa:1024 -sha384 -sigopt rsa_padding_mode:pss
certificate -newkey rsa:1024 -sha1
certificate -newkey ed25519
for hash in 224 256 384 512; do
    certificate -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -sha$hash
done
for file in /etc/ssl/certs/*.pem; do
    number=$((number + 1))
    openssl x509 -in "$file" -outform DER -out "$dir/certificates/$number" || true
done

cargo run --quiet --manifest-path fuzz/Cargo.toml --locked --bin seed -- \
    "$dir/seeds" tests/golden "$dir/certificates" "${servers[@]}"

fuzz_build
targets=${*:-$(fuzz_targets)}
for target in $targets; do
    mkdir -p "fuzz/corpus/$target" "fuzz/artifacts/corpus/$target" "$dir/small/$target"
    "$fuzz_bin/$target" -set_cover_merge=1 -use_counters=0 -max_len=8192 -rss_limit_mb=1024 \
        "$dir/small/$target" "fuzz/corpus/$target" "$dir/seeds/$target" "fuzz/artifacts/corpus/$target" \
        2>"$dir/log" || { cat "$dir/log" >&2; exit 1; }
    rm -rf "fuzz/corpus/${target:?}"
    mv "$dir/small/$target" "fuzz/corpus/$target"
    echo "$target: $(find "fuzz/corpus/$target" -type f | wc -l) inputs"
done
