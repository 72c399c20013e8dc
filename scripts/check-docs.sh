#!/bin/bash
# Fails if what is written about the settings differs from what the program says of them.
#
#   scripts/check-docs.sh PROGRAM
set -euo pipefail

program=$(realpath "${1:?}")
cd "$(dirname "$0")/.."
status=0

# Compares the file $1 with standard input.
same() {
    diff -u "$1" - || { echo "$1 is out of date; run make docs" >&2; status=1; }
}

"$program" --print-config-docs | same docs/configuration.md
"$program" --print-config-example | same scripts/sluice.example.yaml

# The example with every key in force says the defaults.
values() { "$program" "$@" --check-config | sed 's/  # .*//'; }
diff <(values) <(values --config <(sed 's/^#\([a-z_]*:\)/\1/' scripts/sluice.example.yaml)) ||
    { echo 'scripts/sluice.example.yaml differs from the defaults' >&2; status=1; }

# The man page speaks of no flag and no version that there is not.
help=$("$program" --help)
for flag in $(sed 's/\\-/-/g' scripts/sluice.1 | grep -o -- '--[a-z][a-z-]*' | sort -u); do
    grep -q -- "^  $flag " <<<"$help" || { echo "scripts/sluice.1: $flag does not exist" >&2; status=1; }
done
version=$("$program" --version)
grep -qF "\"${version%%$'\n'*}\"" scripts/sluice.1 || { echo "scripts/sluice.1: names another version" >&2; status=1; }
exit $status
