#!/bin/bash
# Runs unit tests under valgrind's memcheck; ends with "N passed, N failed", a check being one test program.
#
#   scripts/check-valgrind.sh TEST...
set -uo pipefail
cd "$(dirname "$0")/.."

options=(--quiet --error-exitcode=99 --num-callers=20 --suppressions=tests/valgrind.supp --leak-check=full
    --show-leak-kinds=definite,indirect,possible --errors-for-leak-kinds=definite,indirect,possible)

output=$(mktemp) || exit 1
trap 'rm -f "$output"' EXIT
passed=0
failed=0
for test in "$@"; do
    if timeout --kill-after=5 300 valgrind "${options[@]}" "$test" >"$output" 2>&1; then
        passed=$((passed + 1))
    else
        echo "! $(basename "$test"): status $?"
        cat "$output"
        failed=$((failed + 1))
    fi
done
[ $((passed + failed)) -gt 0 ] || failed=1
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
