#!/usr/bin/env bash
# Asks what is known against the packages of Cargo.lock: by cargo deny, where that is installed, and for
# advisories only where their database can be had. Licences, duplicates and the packages themselves are
# held by tests/packages.rs on every machine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if ! command -v cargo-deny >/dev/null; then
    echo 'no cargo-deny here (cargo install cargo-deny): only tests/packages.rs holds the packages'
    exit
fi
cargo deny --locked --config scripts/audit/deny.toml check bans licenses sources
if timeout 120 cargo deny --config scripts/audit/deny.toml fetch db >/dev/null 2>&1; then
    cargo deny --locked --config scripts/audit/deny.toml check advisories
else
    echo 'the database of advisories cannot be had here: nothing is known of them'
fi
