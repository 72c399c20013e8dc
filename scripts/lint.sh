#!/bin/bash
# Static analysis of the rooms; ends with "N passed, N failed", a check being one analyzer over one file.
#
#   scripts/lint.sh
#
# cppcheck, gcc's analyzer, and clang-tidy (.clang-tidy says with which checks), which runs the analyzer that
# scan-build would. A finding is mended, or suppressed where it stands, with its reason.
set -uo pipefail
cd "$(dirname "$0")/.."

results=$(mktemp -d) || exit 1
trap 'rm -rf "$results"' EXIT
export results

# Runs the analyzer $1 on the file $2; what it says is kept in a file, and nothing is if it says nothing.
analyze() {
    local flags=(-std=gnu17 -I. -D_GNU_SOURCE) said status
    case $1 in
    cppcheck)
        # Our types come by the macros of sys/queue.h, and cppcheck does not look for the system's headers.
        said=$(cppcheck -q --std=c11 --library=posix,gnu --inline-suppr -I. -D_GNU_SOURCE \
            --include="/usr/include/$(gcc -print-multiarch)/sys/queue.h" \
            --enable=warning,performance,portability,style --error-exitcode=1 "$2" 2>&1)
        ;;
    gcc)
        # gcc 12 does not see that list->items holds what strdup() gave, and has no suppression that clang knows.
        # Nor does it see that uthash's table holds an address.
        case $2 in server/config_net.c | server/address_limits.c) flags+=(-Wno-analyzer-malloc-leak) ;; esac
        # At -O2, or with uthash's own hash function, it does not come to an end in uthash's macros.
        said=$(timeout 120 gcc "${flags[@]}" -DHASH_FUNCTION=HASH_SAX -O1 -fanalyzer -Werror -c -o /dev/null "$2" 2>&1)
        ;;
    clang-tidy)
        # One file each: with several, clang 14 takes every va_list for uninitialized.
        said=$(clang-tidy --quiet "$2" -- "${flags[@]}" 2>/dev/null)
        ;;
    esac
    status=$?
    [ "$status" -ne 0 ] || [ -n "$said" ] || return 0
    printf '%s\n%s: %s: status %d\n' "$said" "$2" "$1" "$status" >"$results/$1-${2//\//-}"
}
export -f analyze

mapfile -t files < <(ls {server,routes,broadcaster,upstream,base}/*.c)
checks=0
for analyzer in cppcheck gcc clang-tidy; do
    echo "  $analyzer"
    printf '%s\n' "${files[@]}" | xargs -P "$(nproc)" -I{} bash -c 'analyze "$@"' - "$analyzer" {}
    checks=$((checks + ${#files[@]}))
done

failed=$(find "$results" -type f | wc -l)
find "$results" -type f -exec cat {} +
echo "$((checks - failed)) passed, $failed failed"
[ "$failed" -eq 0 ]
