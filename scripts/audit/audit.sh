#!/usr/bin/env bash
# Checks the packages of Cargo.lock with cargo deny, where that is installed, and against the advisories where
# their database can be fetched. tests/packages.rs checks licences, duplicates and the list of packages on
# every machine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if ! command -v cargo-deny >/dev/null; then
    echo 'no cargo-deny here (cargo install cargo-deny): only tests/packages.rs checks the packages'
    exit
fi
cargo deny --locked --config scripts/audit/deny.toml check bans licenses sources
if timeout 120 cargo deny --config scripts/audit/deny.toml fetch db >/dev/null 2>&1; then
    cargo deny --locked --config scripts/audit/deny.toml check advisories
else
    echo 'the database of advisories cannot be fetched here: advisories were not checked'
fi
