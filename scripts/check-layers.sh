#!/bin/bash
# Holds the rooms to their layers: includes go one way, base <- upstream, broadcaster <- relay <- routes <- http
# <- config <- server. JSON from outside is read in one place. Hash tables come from base/table.h alone. Only the adapters know a kind of upstream by name.
#
#   scripts/check-layers.sh [DIRECTORY]    prints each include that breaks a rule; the status is then 1
#   scripts/check-layers.sh --self-test    proves that it finds what it should
set -euo pipefail

# Prints the breaches in the files of the directory $1.
find_breaches() {
    (cd "$1" && find base upstream broadcaster relay routes http config server -name '*.[ch]' 2>/dev/null | sort | xargs -r awk '
        BEGIN {
            may["base"] = " base "
            may["upstream"] = " base upstream "
            may["broadcaster"] = " base broadcaster "
            may["relay"] = " base upstream broadcaster relay "
            may["routes"] = may["relay"] " routes "
            may["http"] = may["routes"] " http "
            may["config"] = may["http"] " config "
            may["server"] = may["config"] " server "
        }
        function breach(why) { printf "%s:%d: %s: %s\n", FILENAME, FNR, $0, why }
        /^[ \t]*#[ \t]*include[ \t]*"/ {
            room = FILENAME; sub(/\/.*/, "", room)
            header = $0; sub(/^[^"]*"/, "", header); sub(/".*/, "", header)
            other = header; sub(/\/.*/, "", other)
            if (header !~ /\// || header ~ /\.\./ || !(other in may))
                breach("an include is written from the root, room/file.h")
            else if (index(may[room], " " other " ") == 0)
                breach(room " may not include " other)
            else if (header == "base/log.h" && room !~ /^(relay|routes|http|config|server)$/ &&
                     FILENAME !~ /^base\/(log|broken_state)\.c$/)
                breach("base, upstream and broadcaster do not log")
        }
        /^[ \t]*#[ \t]*include[ \t]*<microhttpd\.h/ && FILENAME ~ /^(base|upstream|relay)\// {
            breach("only routes and http know microhttpd")
        }
        /^[ \t]*#[ \t]*include[ \t]*<uthash\.h>/ && FILENAME != "base/table.h" {
            breach("tables come from base/table.h, which seeds their hash")
        }
        /^[ \t]*#[ \t]*include[ \t]*<(microhttpd\.h|curl\/|cjson\/|cJSON)/ && FILENAME ~ /^broadcaster\// {
            breach("broadcaster knows no HTTP, no upstream and no JSON bodies")
        }
        /&adapter_[a-z]/ && FILENAME !~ /^upstream\/adapter/ {
            breach("what differs between kinds of upstream is a member of struct adapter")
        }
        /cJSON_Parse/ && FILENAME !~ /^base\/json_parse\.[ch]$/ {
            breach("JSON from outside is read by json_parse() (base/json_parse.h), which bounds it")
        }')
}

# Expects that the line $2 in file $1 is a breach ($3 yes) or not ($3 no).
expect() {
    local found=no
    rm -rf "${tree:?}"/*
    mkdir -p "$tree/$(dirname "$1")"
    printf '%s\n' "$2" >"$tree/$1"
    [ -z "$(find_breaches "$tree")" ] || found=yes
    [ "$found" = "$3" ] || { echo "check-layers: self-test: $1: $2: found $found, expected $3" >&2; exit 1; }
}

self_test() {
    tree=$(mktemp -d)
    trap 'rm -rf "$tree"' EXIT
    expect base/a.c '#include "upstream/b.h"' yes
    expect base/a.c '#include "base/log.h"' yes
    expect base/log.c '#include "base/log.h"' no
    expect base/broken_state.c '#include "base/log.h"' no
    expect broadcaster/a.c '#include "base/log.h"' yes
    expect upstream/a.h '#include "broadcaster/b.h"' yes
    expect upstream/a.h '#  include "base/log.h"' yes
    expect upstream/a.c '#include <curl/curl.h>' no
    expect broadcaster/a.c '#include "upstream/b.h"' yes
    expect broadcaster/a.c '#include <microhttpd.h>' yes
    expect broadcaster/a.c '#include <curl/curl.h>' yes
    expect broadcaster/a.c '#include <cjson/cJSON.h>' yes
    expect broadcaster/a.c '#include "base/lock.h"' no
    expect broadcaster/a.c '#include "task.h"' yes
    expect broadcaster/a.c '#include "../routes/b.h"' yes
    expect relay/a.c '#include "upstream/b.h"' no
    expect relay/a.c '#include "routes/b.h"' yes
    expect relay/a.c '#include <microhttpd.h>' yes
    expect upstream/a.c '#include "relay/b.h"' yes
    expect broadcaster/a.c '#include "relay/b.h"' yes
    expect routes/a.c '#include "relay/b.h"' no
    expect routes/a.c '#include "http/b.h"' yes
    expect routes/a.c '#include "server/b.h"' yes
    expect http/a.c '#include "routes/b.h"' no
    expect http/a.c '#include "config/b.h"' yes
    expect config/a.c '#include "http/b.h"' no
    expect config/a.c '#include "server/b.h"' yes
    expect routes/a.c '#include "broadcaster/b.h"' no
    expect routes/a.c '#include "tests/b.h"' yes
    expect server/a.c '#include "config/b.h"' no
    expect upstream/a.c '    cJSON *json = cJSON_ParseWithLength(data, length);' yes
    expect routes/a.c '    cJSON *json = cJSON_Parse(text);' yes
    expect routes/a.c '    cJSON *json = json_parse(text, length, 10, NULL);' no
    expect base/json_parse.c '    return cJSON_ParseWithLengthOpts(text, length, ret_end, false);' no
    expect config/a.c '    bool is_sse = settings->adapter == &adapter_sse;' yes
    expect upstream/adapter.c '    return &adapter_sse;' no
    expect base/a.h '#include <uthash.h>' yes
    expect upstream/a.c '# include <uthash.h>' yes
    expect base/table.h '#include <uthash.h>' no
    rm -rf "$tree"
}

if [ "${1:-}" = --self-test ]; then
    self_test
    exit 0
fi
breaches=$(find_breaches "${1:-$(dirname "$0")/..}")
[ -n "$breaches" ] || exit 0
printf '%s\n' "$breaches"
exit 1
