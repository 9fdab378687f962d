#!/usr/bin/env bash
# Formatting, clippy without warnings, licences and advisories. All of them run, even when one fails.
set -uo pipefail
cd "$(dirname "$0")/.."

failed=()
cargo fmt --all --check || failed+=(formatting)
cargo clippy "$@" --workspace --all-targets -- -D warnings || failed+=(clippy)
if command -v cargo-deny >/dev/null; then
  cargo deny --log-level warn check || failed+=(cargo-deny)
else
  echo "lint: SKIPPED cargo deny (licences, advisories): cargo-deny is not installed"
fi

if [ "${#failed[@]}" -gt 0 ]; then
  echo "lint: FAILED: ${failed[*]}"
  exit 1
fi
echo "lint: ok"
