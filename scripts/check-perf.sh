#!/bin/bash
# Counts instructions by valgrind's callgrind and holds them against tests/bench/instructions.txt: more than 5 % above
# fails. Ends with "N passed, N failed", a check being one program.
#
#   scripts/check-perf.sh DIRECTORY PROGRAM...            callgrind's output goes to DIRECTORY
#   scripts/check-perf.sh --raise DIRECTORY PROGRAM...    writes down what was counted instead
#
# A program tests/bench/perf_NAME.c prints how many there were of what it counts; its figure is NAME.
set -uo pipefail
cd "$(dirname "$0")/.."

tolerance_percent=5
figures=tests/bench/instructions.txt
# What is counted: a worker's thread, and the function of a program that has no worker.
options=(--tool=callgrind --quiet --toggle-collect=run_thread --toggle-collect=perf_parse)
# Without the instructions that only some processors have, which change what memchr() and the like take.
export GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX2,-BMI2,-ERMS,-FSRM,-AVX_Fast_Unaligned_Load

# Prints how many instructions program $1 takes for one of what it counts, and what that is. The counts of before are in
# the first part of the output, $2.1; a second one is written when the program ends. Calls that have not returned yet
# have what they took before, too: without them callgrind_annotate shows what was counted.
count() {
    local said total
    rm -f "$2".*
    if said=$(timeout --kill-after=5 120 valgrind "${options[@]}" --callgrind-out-file="$2" "$1" 2>"$2.stderr"); then
        sed -i -e '/^calls=0 /,+1d' -e '/^summary:/d' "$2.1"
        total=$(sed -n 's/^totals: \([0-9]*\)$/\1/p' "$2.1")
    fi
    if [ "${total:-0}" -eq 0 ]; then
        tail -n 5 "$2.stderr" >&2
        echo "not counted: the program failed, or no function that ${options[*]: -2} name ran"
        return 1
    fi
    echo "$((total / ${said%% *})) ${said#* }"
}

raise=
if [ "${1:-}" = --raise ]; then
    raise=yes
    shift
fi
directory=${1:?}
shift
mkdir -p "$directory"
passed=0
failed=0
written="# Instructions for one of what is said behind each figure. \`make perf-check\` counts them again; docs/testing.md
# says how. Written by \`make perf-check RAISE=1\`, never by hand."
for program in "$@"; do
    name=$(basename "$program")
    name=${name#perf_}
    if ! counted=$(count "$program" "$directory/$name"); then
        echo "! $name: $counted"
        failed=$((failed + 1))
        continue
    fi
    read -r now what <<<"$counted"
    written+=$'\n'"$name $now $what"
    kept=$(sed -n "s/^$name \([0-9]*\) .*/\1/p" "$figures" 2>/dev/null)
    change=$(awk "BEGIN { printf \"%+.1f\", 100 * $now / ${kept:-$now} - 100 }")
    printf '%-8s %8d instructions, %8s kept, %6s %%: %s\n' "$name" "$now" "${kept:-none}" "$change" "$what"
    if [ -n "$raise" ]; then
        passed=$((passed + 1))
    elif [ -z "$kept" ] || [ $((now * 100)) -gt $((kept * (100 + tolerance_percent))) ]; then
        failed=$((failed + 1))
        echo "! $name: more than $tolerance_percent % above the count in $figures
  look:   callgrind_annotate --auto=no $directory/$name.1
  raise:  make perf-check RAISE=1, and give the reason in the commit message"
    else
        passed=$((passed + 1))
        [ $((now * 100)) -ge $((kept * (100 - tolerance_percent))) ] ||
            echo "  $name is better than the kept count; make perf-check RAISE=1 keeps the new one"
    fi
done
[ -z "$raise" ] || [ "$failed" -gt 0 ] || echo "$written" >"$figures"
[ $((passed + failed)) -gt 0 ] || failed=1
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
