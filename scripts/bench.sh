#!/usr/bin/env bash
# Runs the criterion benches; BENCH chooses some by name. Figures of earlier runs are compared with.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

scripts/install-tools.sh bench
find_cargo
# A filter that is not given must not arrive as an empty one.
cargo bench -p icecore --bench engine -- ${BENCH:+"$BENCH"}
