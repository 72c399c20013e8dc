#!/bin/bash
# Builds the clients of tests/clients/ that are written in Go, Java and Rust, in build-clients/. Their packages come from the
# public registries, in the versions of go.sum, pom.xml and Cargo.lock.
set -euo pipefail
cd "$(dirname "$0")/.."

for tool in go cargo java mvn; do
    command -v "$tool" >/dev/null || { echo "build-clients: $tool is missing; install golang, cargo, default-jdk and maven" >&2; exit 1; }
done
mkdir -p build-clients
(cd tests/clients/go && go build -o ../../../build-clients/go-clients .)
CARGO_TARGET_DIR=build-clients/rust cargo build --quiet --locked --release --manifest-path tests/clients/rust/Cargo.toml
mvn --quiet --batch-mode --file tests/clients/java/pom.xml compile dependency:copy-dependencies
