#!/bin/bash
# Runs tests and ends with the line "N passed, N failed".
#
#   scripts/run-tests.sh BUILD TEST...
#
# A TEST is the program of a unit test, or a directory with *.test.mjs files. The programs under test are those in
# BUILD. The status is not 0 if a test failed or was skipped, if a TEST holds no test, and if a sanitizer found
# something in any process.
set -uo pipefail
cd "$(dirname "$0")/.."

unit_timeout_s=${UNIT_TIMEOUT_S:-120}
suite_timeout_s=${SUITE_TIMEOUT_S:-600}
passed=0
failed=0

build=$(realpath "${1:?}") || exit 1
shift
output=$(mktemp) && tap=$(mktemp) || exit 1
trap 'rm -f "$output" "$tap"' EXIT

[ ! -x build-node/bin/node ] || PATH=$PWD/build-node/bin:$PATH
export SLUICE_BIN=$build/sluice DEMO_AGENT_BIN=$build/demo-agent CMOCKA_MESSAGE_OUTPUT=TAP
# Findings go to files, so that none is lost in the output of a process whose end nobody looks at.
findings=$build/sanitizer-finding
rm -f "$findings".*
export ASAN_OPTIONS=log_path=$findings:detect_stack_use_after_return=1:strict_string_checks=1
export UBSAN_OPTIONS=log_path=$findings:print_stacktrace=1
export TSAN_OPTIONS=log_path=$findings:suppressions=$PWD/tests/tsan.supp
export LSAN_OPTIONS=log_path=$findings

# Adds to the sums; says how test $1 went.
count() {
    passed=$((passed + $2))
    failed=$((failed + $3))
    printf '%s %s: %d passed, %d failed\n' "$([ "$3" -eq 0 ] && echo '  ' || echo '! ')" "$1" "$2" "$3"
}

run_unit() {
    local status good planned bad
    timeout --kill-after=5 "$unit_timeout_s" "$1" >"$output" 2>&1
    status=$?
    good=$(grep -c '^ok ' "$output")
    planned=$(sed -n 's/^1\.\.\([0-9]*\)$/\1/p' "$output" | awk '{ sum += $1 } END { print sum + 0 }')
    bad=$((planned - good))
    if [ "$bad" -le 0 ] && { [ "$status" -ne 0 ] || [ "$planned" -eq 0 ]; }; then
        bad=1
    fi
    if [ "$bad" -gt 0 ]; then
        cat "$output"
        echo "$1: exit status $status"
    fi
    count "$(basename "$1")" "$good" "$bad"
}

# One number from the summary that node's TAP reporter ends with; nothing if it never got there.
summary() {
    sed -n "s/^# $1 \([0-9]*\)$/\1/p" "$tap" | tail -n 1
}

run_directory() {
    local status good total bad files
    files=$(find "$1" -maxdepth 1 -name '*.test.mjs' | sort)
    if [ -z "$files" ]; then
        count "$1 (it holds no tests)" 0 1
        return
    fi
    : >"$tap"
    # shellcheck disable=SC2086 # the names hold no spaces
    timeout --kill-after=10 "$suite_timeout_s" node --test --test-concurrency="${TEST_CONCURRENCY:-2}" \
        --test-reporter=spec --test-reporter-destination=stdout \
        --test-reporter=tap --test-reporter-destination="$tap" $files
    status=$?
    good=$(summary pass)
    total=$(summary tests)
    bad=$((${total:-0} - ${good:-0}))
    if [ "$bad" -le 0 ] && { [ "$status" -ne 0 ] || [ "${total:-0}" -eq 0 ]; }; then
        bad=1
    fi
    [ "$status" -ne 124 ] || echo "$1: did not end within $suite_timeout_s s"
    count "$1" "${good:-0}" "$bad"
}

for test in "$@"; do
    if [ -d "$test" ]; then
        run_directory "$test"
    else
        run_unit "$test"
    fi
done

for file in "$findings".*; do
    [ -e "$file" ] || continue
    cat "$file"
    count "a sanitizer, see above" 0 1
done

[ $((passed + failed)) -gt 0 ] || count "no tests at all" 0 1
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
