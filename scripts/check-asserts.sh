#!/bin/bash
# Holds docs/internals/assertions.md to the sources: the page names each assertion and each broken state of the rooms, and no
# other ones.
#
#   scripts/check-asserts.sh [DIRECTORY]    prints each difference; the status is then 1
#   scripts/check-asserts.sh --self-test    proves that it finds what it should
#
# In the page an assertion is a row of the table below the heading of its file, "## base/buffer.c"; its second column is the
# expression in back quotes, with \| for |. A broken state is a row whose second column is the text that is noted.
set -euo pipefail

page=docs/internals/assertions.md

# "FILE: assert(EXPRESSION)" or "FILE: broken TEXT" for each one in the sources below the current directory.
list_sources() {
    find base upstream broadcaster relay routes http config server -name "*.[ch]" ! -path base/broken_state.h 2>/dev/null | sort | xargs -r awk '
        BEGIN { RS = ";" }
        { gsub(/[ \t\n]+/, " ") }
        /(^|[^_A-Za-z0-9])assert\(/ {
            expression = $0
            sub(/^(.*[^_A-Za-z0-9])?assert\(/, "", expression)
            sub(/\) ?$/, "", expression)
            print FILENAME ": assert(" expression ")"
        }
        /(broken_state_note|request_break)\(.*"/ {
            text = $0
            sub(/^.*(broken_state_note|request_break)\([^"]*"/, "", text)
            sub(/".*$/, "", text)
            print FILENAME ": broken " text
        }' | sort
}

# The same for the page.
list_page() {
    awk -F ' \\| ' '
        /^## / { file = $2 == "" ? substr($0, 4) : ""; next }
        file ~ /^[a-z]+\/[a-z0-9_]+\.[ch]$/ && /^\| `/ {
            text = $2
            gsub(/\\\|/, "|", text)
            kind = sub(/^`/, "", text) ? "assert" : "broken"
            sub(/`$/, "", text)
            print file ": " (kind == "assert" ? "assert(" text ")" : "broken " text)
        }' "$page" | sort
}

compare() {
    local missing too_many
    missing=$(comm -23 <(list_sources) <(list_page))
    too_many=$(comm -13 <(list_sources) <(list_page))
    [ -z "$missing" ] || sed "s|^|$page lacks: |" <<<"$missing"
    [ -z "$too_many" ] || sed "s|^|$page names what is not there: |" <<<"$too_many"
    [ -z "$missing$too_many" ]
}

# Expects that a source with the lines $1 and a page with the row $2 differ ($3 yes) or not ($3 no).
expect() {
    local found=no
    mkdir -p "$tree/base" "$tree/docs/internals"
    printf '%b\n' "$1" >"$tree/base/a.c"
    printf '## base/a.c\n\n| in | what | why |\n|---|---|---|\n%s\n\n## Others\n\n| `x` | `y` | z |\n' "$2" >"$tree/$page"
    (cd "$tree" && compare >/dev/null) || found=yes
    [ "$found" = "$3" ] || { echo "check-asserts: self-test: $1: $2: found $found, expected $3" >&2; exit 1; }
}

self_test() {
    tree=$(mktemp -d)
    trap 'rm -rf "$tree"' EXIT
    expect 'void f(void) {\n    assert(a > 0);\n}' '| `f` | `a > 0` | it is |' no
    expect 'void f(void) {\n    assert(a > 0);\n}' '' yes
    expect 'void f(void) {\n    assert(a > 0);\n}' '| `f` | `a > 1` | it is |' yes
    expect 'void f(void) {\n}' '| `f` | `a > 0` | it is |' yes
    expect 'void f(void) {\n    assert(a > 0 ||\n           (b && c)); /* d */\n}' '| `f` | `a > 0 \|\| (b && c)` | it is |' no
    expect '    assert(a);\n    assert(a);' '| `f` | `a` | it is |' yes
    expect '    assert(a);\n    assert(a);' "$(printf '| `f` | `a` | it is |\n| `g` | `a` | it is |')" no
    expect '    lock_assert_held(&a);\n    static_assert(sizeof(a) == 4, "b");' '' no
    expect '        broken_state_note("base/a.c: twice");' '| `f` | base/a.c: twice | the run ends |' no
    expect '        request_break(request,\n              "base/a.c: twice");' '| `f` | base/a.c: once | the run ends |' yes
    expect '        broken_state_note("base/a.c: twice");' '' yes
    rm -rf "$tree"
}

if [ "${1:-}" = --self-test ]; then
    self_test
    exit 0
fi
cd "${1:-$(dirname "$0")/..}"
compare
