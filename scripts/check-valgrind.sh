#!/bin/bash
# Runs unit tests under valgrind; ends with "N passed, N failed", a check being one program under one tool.
#
#   scripts/check-valgrind.sh PLANTED TEST... -- TEST...
#
# Each test runs under memcheck, those behind the -- under helgrind too. PLANTED (tests/support/planted.c) comes
# first: each tool must find each fault that is planted there for it, and nothing without one.
set -uo pipefail
cd "$(dirname "$0")/.."

results=$(mktemp -d) || exit 1
trap 'rm -rf "$results"' EXIT
export results

# Runs the program and arguments $3... under the tool $2 and expects the status $1, which is 99 if the tool found
# something. If it is another one, what was said is kept in a file.
check() {
    local options=(--quiet --error-exitcode=99 --num-callers=20 --suppressions=tests/valgrind.supp --fair-sched=try)
    local said status name
    [ "$2" != memcheck ] || options+=(--leak-check=full --show-leak-kinds=definite,indirect,possible
        --errors-for-leak-kinds=definite,indirect,possible)
    # glibc reuses the stacks of threads that have ended by a lock of its own, which helgrind does not know.
    said=$(GLIBC_TUNABLES=glibc.pthread.stack_cache_size=0 timeout --kill-after=5 900 valgrind --tool="$2" "${options[@]}" "${@:3}" 2>&1)
    status=$?
    [ "$status" -ne "$1" ] || return 0
    name="$2: $(basename "$3") ${*:4}"
    printf '! %s: status %d, not %d\n%s\n' "$name" "$status" "$1" "$said" >"$results/${name//[ :]/-}"
}
export -f check

planted=${1:?}
shift
checks=("0 memcheck $planted none" "0 helgrind $planted none")
for fault in leak overrun unset; do
    checks+=("99 memcheck $planted $fault")
done
for fault in race late order; do
    checks+=("99 helgrind $planted $fault")
done
tool=memcheck
for test in "$@"; do
    if [ "$test" = -- ]; then
        tool=helgrind
    else
        checks+=("0 $tool $test")
    fi
done

printf '%s\n' "${checks[@]}" | xargs -P "$(nproc)" -I{} bash -c 'check $1' - {}
failed=$(find "$results" -type f | wc -l)
find "$results" -type f -exec cat {} +
echo "$((${#checks[@]} - failed)) passed, $failed failed"
[ "$failed" -eq 0 ]
