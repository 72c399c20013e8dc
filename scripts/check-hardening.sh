#!/bin/bash
# Fails if a program was not built as hardened as a release is to be; says what is missing.
#
#   scripts/check-hardening.sh PROGRAM
set -euo pipefail

program=${1:?}
header=$(readelf -hW "$program")
segments=$(readelf -lW "$program")
dynamic=$(readelf -dW "$program")
symbols=$(readelf -W --dyn-syms "$program")
status=0

# Expects the pattern $2 in the text $3.
expect() {
    grep -qE -- "$2" <<<"$3" || { echo "$program: $1 is missing" >&2; status=1; }
}

expect 'PIE (position independent)' 'Type: +DYN .*Position-Independent Executable' "$header"
expect 'PIE (the flag)' 'FLAGS_1.*\bPIE\b' "$dynamic"
expect 'RELRO' '^ +GNU_RELRO ' "$segments"
expect 'full RELRO (BIND_NOW)' '\bBIND_NOW\b' "$dynamic"
expect 'a stack that is not executable' '^ +GNU_STACK .* RW +0x' "$segments"
expect 'the stack protector' ' __stack_chk_fail@' "$symbols"
expect '_FORTIFY_SOURCE' ' __snprintf_chk@' "$symbols"
# Only level 3 knows of sizes that are not constants, and there are no others here.
expect '_FORTIFY_SOURCE=3' ' __memcpy_chk@' "$symbols"
! grep -qE '(RPATH|RUNPATH|TEXTREL)' <<<"$dynamic" || { echo "$program: has RPATH, RUNPATH or TEXTREL" >&2; status=1; }
! grep -qE ' RWE ' <<<"$segments" || { echo "$program: a segment is writable and executable" >&2; status=1; }
exit $status
