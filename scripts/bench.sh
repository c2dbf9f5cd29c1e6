#!/usr/bin/env bash
# Runs the criterion benches; BENCH chooses some by name. Criterion compares with the figures of the run before.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

# The largest bench writes about 1 GB. In memory it measures the engine rather than the disk.
parent() {
    local free_kib
    free_kib=$(df --output=avail /dev/shm 2>/dev/null | tail -n 1) || free_kib=0
    if [ -w /dev/shm ] && [ "$free_kib" -gt $((2 << 20)) ] && [ "$(memory_kib)" -gt $((4 << 20)) ]; then
        say /dev/shm
    else
        say "${TMPDIR:-/tmp}"
    fi
}

memory_kib() { awk '/^MemAvailable:/ { print $2 }' /proc/meminfo; }

scripts/install-tools.sh bench
find_cargo
place=$(make_place bench "$(parent)")
trap 'leave_place "$place"' EXIT
trap 'exit 130' INT TERM
say "Vaults and disks of the benches are in $place"
# A filter that is not given must not arrive as an empty one.
TMPDIR=$place cargo bench -p icecore --bench engine -- ${BENCH:+"$BENCH"}
