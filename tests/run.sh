#!/usr/bin/env bash
# Runs every test: units, laws, end-to-end paths, tidy, and the examples in the documentation.
set -uo pipefail
cd "$(dirname "$0")/.."

tests/setup.sh || exit 1

# One profile, one selection of packages: every dependency is built once, for tests and binary.
cargo build "$@" --workspace --all-targets || exit 1
target="${CARGO_TARGET_DIR:-target}"
export TESTED_GNOMON="$target/debug/gnomon"
log="$target/test.log"

if cargo nextest --version >/dev/null 2>&1; then
  cargo nextest run "$@" --workspace --no-fail-fast --config-file tests/nextest.toml 2>&1 | tee "$log"
  failed=$?
  cargo test "$@" --workspace --doc --no-fail-fast 2>&1 | tee -a "$log"
  failed=$((failed + $?))
else
  cargo test "$@" --workspace --no-fail-fast 2>&1 | tee "$log"
  failed=$?
fi

# nextest: `Summary [1.2s] 9 tests run: 8 passed (1 slow), 1 failed, 0 skipped`
# cargo:   `test result: FAILED. 8 passed; 1 failed; 0 ignored; …`
sed 's/\x1b\[[0-9;]*m//g' "$log" | awk -v status="$failed" '
  /^ *Summary \[|^test result:/ {
    for (i = 2; i <= NF; i++) {
      if ($i ~ /^passed/) passed += $(i - 1)
      if ($i ~ /^(failed|timed|exec)/) broken += $(i - 1)
    }
  }
  END {
    if (status != 0 && broken == 0) print "tests: FAILED before they could be counted, see above"
    printf "tests: %d passed, %d failed\n", passed, broken
    exit status != 0 || passed == 0
  }'
