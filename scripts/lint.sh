#!/bin/bash
# Static analysis of the rooms; ends with "N passed, N failed", a check being one analyzer over one file.
#
#   scripts/lint.sh [FILE...]
#
# With files, only these are looked at, and the build is not.
# cppcheck, gcc's analyzer and clang-tidy (.clang-tidy says with which checks) look at one file at a time, scan-build at
# the build of the gateway. A finding is mended, or suppressed where it stands, with its reason. Each analyzer must
# first find a fault that was planted for it.
set -uo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
export findings=$work/findings
mkdir "$findings"

# Keeps what was said, $3, of the file $2 by the analyzer $1 in a file; none is if it said nothing and succeeded.
keep() {
    [ "$4" -ne 0 ] || [ -n "$3" ] || return 0
    printf '%s\n%s: %s: status %d\n' "$3" "$2" "$1" "$4" >"$findings/$1-${2//\//-}"
}

# Leaks that gcc 12 sees for want of seeing that a list, or uthash's table, holds the address now. It would be told in
# the source by a pragma, at which clang stops.
export held_elsewhere="config/values_http\.c:.* leak of .strdup\(item\)|config/upstreams\.c:.* leak of .strdup|(http/address_limits|upstream/cache|upstream/flight)\.c:.* leak of .<unknown>"

# Runs the analyzer $1 on the file $2.
analyze() {
    local flags=(-std=gnu17 -I. -D_GNU_SOURCE) said
    case $1 in
    cppcheck)
        # Our types come by the macros of sys/queue.h, and cppcheck does not look for the system's headers.
        said=$(cppcheck -q --std=c11 --library=posix,gnu --inline-suppr -I. -D_GNU_SOURCE \
            --include="/usr/include/$(gcc -print-multiarch)/sys/queue.h" \
            --enable=warning,performance,portability,style --error-exitcode=1 "$2" 2>&1)
        ;;
    gcc)
        # At -O2 it does not come to an end in uthash's macros.
        said=$(LC_ALL=C timeout 120 gcc "${flags[@]}" -O1 -fanalyzer -c -o /dev/null "$2" 2>&1)
        [ $? -ne 0 ] || grep 'warning: ' <<<"$said" | grep -qvE "$held_elsewhere" || said=
        ;;
    clang-tidy)
        # One file each: with several, clang 14 takes every va_list for uninitialized.
        said=$(clang-tidy --quiet "$2" -- "${flags[@]}" 2>/dev/null)
        ;;
    esac
    keep "$1" "$2" "$said" $?
}
export -f keep analyze

# Runs scan-build over the command $2...; what is found is kept as that of the file or directory $1.
scan() {
    local said status
    said=$(env -u MAKEFLAGS -u MAKELEVEL scan-build --status-bugs --use-cc=clang -o "$work/reports" "${@:2}" 2>&1)
    status=$?
    [ "$status" -eq 0 ] || keep scan-build "$1" "$said" "$status"
}

planted=$work/planted.c
cat >"$planted" <<'EOF'
#include <stdlib.h>
void planted(char *bytes, int again);
void planted(char *bytes, int again) {
    free(bytes);
    if (again > 0)
        free(bytes);
}
EOF

# Expects that the analyzer $1 has found what was planted.
expect_planted() {
    local finding="$findings/$1-${planted//\//-}"
    if grep -qsiE 'double|twice|released' "$finding"; then
        rm "$finding"
    else
        keep "$1" planted "what was planted was not found" 1
    fi
}

files=("$@")
[ $# -gt 0 ] || files=({server,config,http,routes,relay,broadcaster,upstream,base}/*.c)
checks=0
for analyzer in cppcheck gcc clang-tidy; do
    echo "  $analyzer"
    analyze "$analyzer" "$planted"
    expect_planted "$analyzer"
    printf '%s\n' "${files[@]}" | xargs -P "$(nproc)" -I{} bash -c 'analyze "$@"' - "$analyzer" {}
    checks=$((checks + 1 + ${#files[@]}))
done
if [ $# -eq 0 ]; then
    echo '  scan-build'
    scan "$planted" clang -c -o /dev/null "$planted"
    expect_planted scan-build
    scan build make -s -j"$(nproc)" BUILD="$work/build" "$work/build/sluice"
    checks=$((checks + 2))
fi

failed=$(find "$findings" -type f | wc -l)
find "$findings" -type f -exec cat {} +
echo "$((checks - failed)) passed, $failed failed"
[ "$failed" -eq 0 ]
