#!/usr/bin/env bash
# The models in tests/model: the engine's own code, where a checker decides at every lock who goes on, schedule by
# schedule. MODEL_TIMES=20 runs twenty times as many schedules, MODEL_SEED=7 other ones. A failure prints its schedule.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

find_cargo
# All is built once more with the checker's locks: in a directory of its own, or the two builds would undo each other.
CARGO_TARGET_DIR="$(target_directory)/model"
export CARGO_TARGET_DIR RUSTFLAGS="${RUSTFLAGS:-} --cfg shuttle"
models=(-p icecore --no-default-features --test model)
cargo test --quiet --no-run "${models[@]}"
cargo test --color never --no-fail-fast "${models[@]}" -- --nocapture
