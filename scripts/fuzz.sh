#!/usr/bin/env bash
# Lets libFuzzer loose on the decoders: fuzz.sh [SECONDS_PER_TARGET] [TARGET...]; 60 seconds and all targets, if not given.
#
# Stable Rust will do. What was found stays in FUZZ_DIR (fuzz-found below cargo's target directory): inputs that reach new
# code, by target, where the next run begins; and under crashes/ those that broke a promise.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

seconds=60
if [[ "${1:-}" =~ ^[0-9]+$ ]]; then
    seconds=$1
    shift
fi

# What one input may take of time, in seconds, and of memory with libFuzzer's own, in MiB. What it may have live is bounded in
# tests/fuzz/src/budget.rs.
timeout=10
memory=2048
# Longest input in bytes. A target refuses what is too long for itself.
longest=16384

# The host's triple: with a target named, what runs at build time is not instrumented.
triple() { rustc -vV | sed -n 's/^host: //p'; }

# Every counter, table and hook that libFuzzer asks for (the options of cargo-fuzz, without its sanitizer).
instrumentation() {
    local option flags="-C passes=sancov-module"
    for option in level=4 inline-8bit-counters pc-table trace-compares; do
        flags+=" -C llvm-args=-sanitizer-coverage-$option"
    done
    say "$flags"
}

build() {
    RUSTFLAGS="$(instrumentation)" \
        cargo build --quiet --profile fuzz --target "$1" -p icecore-fuzz --features libfuzzer --bin fuzz
}

# A figure of libFuzzer's, from the last line that has it.
figure() { sed -n "s/.*$1 *\([0-9][0-9]*\).*/\1/p" "$2" | tail -n 1; }

# Runs one target; false where an input broke it.
run() {
    local name=$1 corpus=$found/$1 log=$found/$1.log status=0 result=ok input
    mkdir -p "$corpus"
    ICECORE_FUZZ_TARGET=$name RUST_BACKTRACE=1 "$program" -max_total_time="$seconds" -max_len="$longest" -timeout="$timeout" \
        -rss_limit_mb="$memory" -use_value_profile=1 -print_final_stats=1 -artifact_prefix="$crashes/$name-" \
        "$corpus" "tests/fuzz/seeds/$name" >"$log" 2>&1 </dev/null || status=$?
    [ "$status" -eq 0 ] || result=FAILED
    printf '%-18s %12s executions  %6s edges  %5s inputs  %s\n' "$name" "$(figure 'stat::number_of_executed_units:' "$log")" \
        "$(figure 'cov:' "$log")" "$(find "$corpus" -type f | wc -l)" "$result"
    [ "$status" -eq 0 ] && return
    input=$(sed -n 's/.*Test unit written to \(.*\)/\1/p' "$log" | tail -n 1)
    warn "  what it said: $log"
    warn "  the input:    ${input:-none was written}"
    warn "  once more:    cargo run -p icecore-fuzz --bin replay -- $name ${input:-FILE}"
    warn "  for ever:     cp ${input:-FILE} tests/fuzz/seeds/$name/found-WHAT"
    return 1
}

scripts/install-tools.sh fuzz
find_cargo
host=$(triple)
say "Building for the fuzzer (the first time takes some minutes)"
build "$host"
target_directory=$(target_directory)
program=$target_directory/$host/fuzz/fuzz
found=${FUZZ_DIR:-$target_directory/fuzz-found}
crashes=$found/crashes
mkdir -p "$crashes"

failed=() ran=0 executions=0
for seeds in tests/fuzz/seeds/*/; do
    name=$(basename "$seeds")
    if [ "$#" -gt 0 ] && [[ " $* " != *" $name "* ]]; then
        continue
    fi
    run "$name" || failed+=("$name")
    ran=$((ran + 1))
    executed=$(figure 'stat::number_of_executed_units:' "$found/$name.log")
    executions=$((executions + ${executed:-0}))
done
[ "$ran" -gt 0 ] || die "no such target: $*"
say "CAMPAIGN: fuzz: $ran targets, $executions inputs, ${#failed[@]} targets broken"
[ "${#failed[@]}" -eq 0 ] || die "fuzz: FAILED: ${failed[*]}"
say "fuzz: ok"
