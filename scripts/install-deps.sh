#!/bin/bash
# Installs what is missing to build and to test, and is done in no time if nothing is.
#
#   scripts/install-deps.sh build    what the programs are built from: Debian packages
#   scripts/install-deps.sh lint     what make lint, coverage and valgrind need besides
#   scripts/install-deps.sh test     also what the tests need: more of them, Node.js 20, npm and Python packages
#   scripts/install-deps.sh servers  also the real servers that are large: what make real-servers needs
#   scripts/install-deps.sh bench    what the gateway is measured against; what cannot be had is said and left out
set -euo pipefail
cd "$(dirname "$0")/.."

build_packages=(build-essential pkg-config libmicrohttpd-dev libuv1-dev libcurl4-openssl-dev libcjson-dev
    libcyaml-dev libyaml-dev uthash-dev libhiredis-dev libssl-dev)
test_packages=(libcmocka-dev clang libclang-rt-14-dev clang-format curl chromium git openssl spin prometheus redis-server python3 python3-venv)
lint_packages=(clang clang-tidy clang-tools cppcheck gcovr valgrind libc6-dbg)
peer_packages=(nginx libnginx-mod-nchan haproxy python3-fastapi uvicorn python3-uvloop python3-httptools)
# Those of them that are services of the machine.
services=(nginx haproxy prometheus redis-server)

fail() {
    echo "install-deps: $*" >&2
    exit 1
}

# Prints those of the packages $@ that are not installed.
missing_packages() {
    local installed
    installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null | sed -n 's/^installed //p') || true
    printf '%s\n' "$@" | grep -vxF "$installed" || true
}

install_packages() {
    local missing
    command -v dpkg-query >/dev/null || fail "this system is not Debian; install the contents of these Debian packages: $*"
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" -eq 0 ] || fail "packages are missing. Run:
    sudo apt-get install --no-install-recommends ${missing[*]}"
    echo "install-deps: installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update || echo 'install-deps: apt-get update failed; the installation continues with the present lists' >&2
    install_without_services "${missing[@]}"
}

# Installs packages, without leaving a service running or one that starts with the machine: the tests start what they
# need themselves.
install_without_services() {
    local policy=/usr/sbin/policy-rc.d made='' service status=0
    if [ ! -e "$policy" ]; then
        made=$policy
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    apt-get -qq install -y --no-install-recommends "$@" >/dev/null || status=$?
    [ -z "$made" ] || rm -f "$made"
    for service in "${services[@]}"; do
        if printf '%s\n' "$@" | grep -qxF "$service" && command -v systemctl >/dev/null; then
            systemctl --quiet disable "$service" 2>/dev/null || true
        fi
    done
    return "$status"
}

# Whether there is a Node.js that has what the tests use: 20.10 or later.
node_is_new_enough() {
    command -v node >/dev/null &&
        node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 10) ? 0 : 1)'
}

# Debian 12 has Node.js 18. The npm package that holds the program of version 20 then goes to build-node/,
# where scripts/run-tests.sh looks for it first.
install_node() {
    local machine packages=()
    PATH=$PWD/build-node/bin:$PATH
    command -v node >/dev/null || packages+=(nodejs)
    command -v npm >/dev/null || packages+=(npm)
    [ ${#packages[@]} -eq 0 ] || install_packages "${packages[@]}"
    ! node_is_new_enough || return 0
    case $(uname -m) in
    x86_64) machine=x64 ;;
    aarch64) machine=arm64 ;;
    *) fail "Node.js 20.10 or later is needed" ;;
    esac
    echo "install-deps: installing Node.js 20 in build-node"
    npm install --loglevel=error --no-save --ignore-scripts --no-audit --no-fund --prefix build-node "node-linux-$machine@20"
    mkdir -p build-node/bin
    ln -sf "../node_modules/node-linux-$machine/bin/node" build-node/bin/node
    hash -r
    node_is_new_enough || fail "Node.js 20.10 or later is needed; this is $(node --version)"
}

# Installs the npm packages of directory $1 unless they are those of its lock file.
install_modules() {
    [ -e "$1/package-lock.json" ] || return 0
    ! cmp -s "$1/package-lock.json" "$1/node_modules/.installed-lock.json" || return 0
    echo "install-deps: installing the npm packages of $1"
    (cd "$1" && npm ci --loglevel=error --ignore-scripts --no-audit --no-fund)
    cp "$1/package-lock.json" "$1/node_modules/.installed-lock.json"
}

# Installs the Python packages of directory $2 in $1 unless they are those of its requirements and its lock file.
install_python() {
    local wanted
    wanted=$(cat "$2/requirements.txt" "$2/lock.txt")
    ! cmp -s - "$1/installed-requirements.txt" <<<"$wanted" || return 0
    echo "install-deps: installing the Python packages of $2 in $1"
    rm -rf "$1"
    python3 -m venv "$1"
    "$1/bin/pip" install --quiet --disable-pip-version-check -r "$2/requirements.txt"
    printf '%s\n' "$wanted" >"$1/installed-requirements.txt"
}

install_for_tests() {
    install_packages "${build_packages[@]}" "${test_packages[@]}"
    install_node
    install_modules tests
    install_modules tests/adk-upstream
    install_python build-python tests/python
}

# Installs the servers to compare with. They are not needed for anything else: without one of them the rest is measured.
install_peers() {
    local missing
    mapfile -t missing < <(missing_packages "${peer_packages[@]}")
    [ ${#missing[@]} -gt 0 ] || return 0
    (install_packages "${missing[@]}") || echo "install-deps: left out of the benchmarks: ${missing[*]}" >&2
}

# Asks for a Go program to compare with, and says in build-peers/absent why it cannot be: $1 is its name, $2 its module.
# Where the module proxy has it, settings for it are still to be written.
look_for_module() {
    local answer status
    if ! command -v go >/dev/null; then
        answer="there is no Go toolchain"
    elif answer=$(cd build-peers && timeout 60 go list -m -versions "$2" 2>&1); then
        answer="the Go module proxy has it, but no settings for it are kept here"
    else
        status=$(grep -o -m 1 '[45][0-9][0-9] [A-Z][A-Za-z ]*' <<<"$answer") || status="no answer"
        answer="the Go module proxy does not give its module: $status"
    fi
    echo "install-deps: left out of the benchmarks: $1: $answer" >&2
    printf '%s\t%s\n' "$1" "$answer" >>build-peers/absent
}

case ${1:-} in
build)
    install_packages "${build_packages[@]}"
    ;;
test)
    install_for_tests
    ;;
servers)
    install_for_tests
    install_python build-litellm tests/python/litellm
    ;;
lint)
    install_packages "${build_packages[@]}" "${lint_packages[@]}"
    ;;
bench)
    install_packages "${build_packages[@]}"
    install_node
    install_modules tests/bench
    install_peers
    mkdir -p build-peers && : >build-peers/absent
    look_for_module Mercure github.com/dunglas/mercure
    look_for_module Centrifugo github.com/centrifugal/centrifugo/v6
    ;;
*)
    fail "usage: scripts/install-deps.sh build|test|lint|servers|bench"
    ;;
esac
