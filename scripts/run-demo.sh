#!/bin/sh
# Shows the gateway at work: starts the demo agent and the gateway, says how to use them, ends both on Ctrl-C.
#
#   BUILD=build      where the programs are
#   LISTEN=ADDR:PORT where the gateway listens (default 127.0.0.1:8080, or a free port if that one is taken)
#   UPSTREAM=http:// a real agent instead of the demo agent; APP names its app
#   USER_NAME=guest  the user in the example lines
set -u

build=${BUILD:-build}
listen=${LISTEN:-127.0.0.1:8080}
upstream=${UPSTREAM:-}
app=${APP:-}
agent_pid=
gateway_pid=
tail_pid=
directory=$(mktemp -d "${TMPDIR:-/tmp}/sluice-demo.XXXXXX") || exit 1

say() { printf '%s\n' "$*"; }

fail() {
    say "run-demo: $*" >&2
    finish 1
}

# Ends what this script started, by process id, the gateway first, and waits for its end.
finish() {
    trap '' INT TERM HUP
    for pid in $gateway_pid $agent_pid $tail_pid; do
        kill -TERM "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
    done
    rm -rf "$directory"
    exit "$1"
}

# Whether process $1 runs: one that has ended but was not waited for yet (a zombie) does not.
runs() { kill -0 "$1" 2>/dev/null && ! grep -q '^State:[[:space:]]*Z' "/proc/$1/status" 2>/dev/null; }

# Waits until file $1, written by process $2, has a line that matches $3, and prints what \1 is there.
wait_for() {
    tries=0
    until found=$(sed -n "s|$3|\\1|p" "$1" | head -n 1) && [ -n "$found" ]; do
        tries=$((tries + 1))
        if [ "$tries" -gt 300 ] || ! runs "$2"; then return 1; fi
        sleep 0.05
    done
    say "$found"
}

trap 'say ""; finish 0' INT TERM HUP

for program in sluice demo-agent; do
    [ -x "$build/$program" ] || fail "$build/$program is missing; run make first"
done

# The programs get sessions of their own (setsid), so that the terminal's Ctrl-C reaches this script alone, and the
# gateway still has its agent while it drains.
if [ -z "$upstream" ]; then
    setsid "$build/demo-agent" >"$directory/agent" 2>&1 &
    agent_pid=$!
    upstream=$(wait_for "$directory/agent" "$agent_pid" '^LISTEN \(http.*\)$') ||
        fail "the demo agent did not start: $(cat "$directory/agent")"
fi

start_gateway() {
    setsid "$build/sluice" --listen "$1" --upstream "$upstream" --log-level info --log-format text --drain-ms 1000 \
        2>"$directory/gateway" &
    gateway_pid=$!
    port=$(wait_for "$directory/gateway" "$gateway_pid" '^.*listening.*port=\([0-9][0-9]*\).*$')
}

if ! start_gateway "$listen"; then
    wait "$gateway_pid" 2>/dev/null
    gateway_pid=
    [ -z "${LISTEN:-}" ] || fail "the gateway did not start: $(cat "$directory/gateway")"
    say "$listen is in use; the gateway takes a free port instead."
    start_gateway 127.0.0.1:0 || fail "the gateway did not start: $(cat "$directory/gateway")"
fi

base="http://${listen%:*}:$port"
[ -n "$app" ] || app=$(curl -s --max-time 5 "$base/list-apps" | sed -n 's/^\["\([^"]*\)".*/\1/p')
run="$base/apps/${app:-demo}/users/${USER_NAME:-guest}/sessions/first/run"

cat <<TEXT

  Sluice listens on $base, the agent is $upstream

  Demo page      $base/demo
  Start a run    curl -X POST $run -H 'Content-Type: application/json' -d '{"message":"hello"}'
  Follow it      curl -N $run
  Its state      curl $base/tasks

  Ctrl-C ends it. The gateway's log:

TEXT
tail -n +1 -f "$directory/gateway" &
tail_pid=$!
wait "$gateway_pid"
status=$?
gateway_pid=
[ "$status" -eq 0 ] || fail "the gateway ended with status $status"
finish 0
