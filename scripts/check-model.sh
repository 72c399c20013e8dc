#!/bin/bash
# Checks the models of tests/model/ with spin. Ends with "N passed, N failed".
#
#   scripts/check-model.sh         some seconds: three runs, and two with some pairs of those who interfere
#   scripts/check-model.sh long    many minutes: two runs with all who interfere, three with each of them, and two with a run
#                                  for later, or with a session that is waited for, and each of them
set -euo pipefail
cd "$(dirname "$0")/.."

models=$PWD/tests/model
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
passed=0
failed=0

# Builds and runs the verifier of model $1 with the definitions $3; $2 says how it must end: clean or guilty.
verify() {
    local verdict states
    # shellcheck disable=SC2086
    spin $3 -a "$models/$1.pml" >/dev/null
    gcc -O2 -w -DSAFETY -DCOLLAPSE -DVECTORSZ=2048 -o pan pan.c
    ./pan -m1000000 >output 2>&1 || true
    if grep -q 'errors: 0' output && ! grep -q 'Search not completed\|max search depth too small' output; then
        verdict=clean
    elif grep -q 'assertion violated\|invalid end state' output; then
        verdict=guilty
    else
        verdict=unknown
    fi
    states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' output)
    if [ "$verdict" = "$2" ]; then
        passed=$((passed + 1))
        echo "ok: $1 $3: $verdict, $states states"
    else
        failed=$((failed + 1))
        echo "not ok: $1 $3: $verdict instead of $2"
        cat output
    fi
}

others='-DWAIT -DCANCEL -DSUBSCRIBER -DCLEAN_UP -DSLOT'
if [ "${1:-}" = long ]; then
    verify sluice clean "-DRUNS=2 $others"
    for other in $others; do
        verify sluice clean "-DRUNS=3 $other"
        verify sluice clean "-DRUNS=2 -DDELAY $other"
        verify sluice clean "-DRUNS=2 -DAWAIT $other"
    done
else
    verify sluice clean -DRUNS=3
    for pair in '-DWAIT -DCANCEL' '-DWAIT -DSUBSCRIBER' '-DWAIT -DCLEAN_UP' '-DCANCEL -DSUBSCRIBER' \
        '-DCANCEL -DCLEAN_UP' '-DSUBSCRIBER -DCLEAN_UP' '-DSLOT -DCANCEL' '-DSLOT -DCLEAN_UP' '-DSLOT -DSUBSCRIBER' \
        '-DDELAY -DSLOT' '-DDELAY -DSUBSCRIBER' '-DDELAY -DCANCEL' '-DDELAY -DCLEAN_UP' '-DDELAY -DAWAIT'; do
        verify sluice clean "-DRUNS=2 $pair"
    done
fi
verify sluice guilty '-DRUNS=2 -DWITHOUT_FENCE'
verify sluice guilty '-DRUNS=2 -DCANCEL -DWITHOUT_ONE_END'
verify sluice guilty '-DRUNS=2 -DWITHOUT_NEXT'
verify sluice guilty '-DRUNS=2 -DWAIT -DWITHOUT_UNLINK'
verify sluice guilty '-DRUNS=2 -DSLOT -DWITHOUT_GRANT'
verify sluice guilty '-DRUNS=2 -DDELAY -DWITHOUT_PLACE'
verify sluice guilty '-DRUNS=2 -DAWAIT -DWITHOUT_RECHECK'
verify old guilty -DREGISTER
verify old guilty -DCANCEL
verify old guilty -DCLEAN_UP

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
