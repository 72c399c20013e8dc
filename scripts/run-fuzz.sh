#!/bin/bash
# Runs the fuzzers and ends with the line "N passed, N failed".
#
#   scripts/run-fuzz.sh BUILD SECONDS [NAME]...
#
# Each of BUILD/tests/fuzz/fuzz_NAME is run for SECONDS, all of them if none is named. What it learns is kept in
# BUILD/corpus/NAME, an input that it fails on in BUILD/crashes/; to run one of those again:
# BUILD/tests/fuzz/fuzz_NAME FILE.
set -uo pipefail
cd "$(dirname "$0")/.."

build=${1:?}
seconds=${2:?}
shift 2
passed=0
failed=0

[[ $seconds =~ ^[1-9][0-9]*$ ]] || { echo "run-fuzz: $seconds is not a number of seconds" >&2; exit 2; }
[ ! -x build-node/bin/node ] || PATH=$PWD/build-node/bin:$PATH
export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1

# One of the numbers that a fuzzer ends with.
statistic() {
    sed -n "s/^stat::$2: *//p" "$1"
}

# Fuzzes target $1.
fuzz() {
    local log=$build/crashes/$1.log inputs=("$build/corpus/$1" "$build/seeds/$1") options=() known runs
    [ ! -e "tests/fuzz/$1.dict" ] || options=(-dict="tests/fuzz/$1.dict")
    mkdir -p "${inputs[@]}"
    rm -f "$build/crashes/$1"-*
    known=$(find "${inputs[@]}" -type f | wc -l)
    if "$build/tests/fuzz/fuzz_$1" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=16384 \
        -artifact_prefix="$build/crashes/$1-" -print_final_stats=1 "${options[@]}" "${inputs[@]}" >"$log" 2>&1; then
        runs=$(statistic "$log" number_of_executed_units)
        if [ "${runs:-0}" -gt "$known" ]; then
            echo "   $1: $runs runs, $(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1) edges, nothing found"
            passed=$((passed + 1))
            return
        fi
        echo "$1: it tried no new input in $seconds s, only the $known known ones"
    fi
    grep -v -e '^#' -e '^NEW_FUNC' "$log" | head -n 80
    echo "!  $1: see $log; the input is $(find "$build/crashes" -name "$1-*" -print -quit)"
    failed=$((failed + 1))
}

mkdir -p "$build/crashes"
node tests/fuzz/make-seeds.mjs "$build/seeds" || exit 1
names=("$@")
if [ ${#names[@]} -eq 0 ]; then
    for source in tests/fuzz/fuzz_*.c; do
        names+=("$(basename "${source#*/fuzz_}" .c)")
    done
fi
for name in "${names[@]}"; do
    fuzz "${name#fuzz_}"
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
