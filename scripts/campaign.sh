#!/usr/bin/env bash
# The long search for what the tests of every day are too short for: power loss, kills, failing calls, damage, threads that
# meet, hostile bytes. Takes about CAMPAIGN_MINUTES (40): each part that can go on for ever gets its share of them, the others walk
# through all they have. What comes up once the time is over is left out, and said so.
#
# A part prints what it counted as one line `CAMPAIGN: ...`, and `NOT RUN: <what>: <why>` for what can't run here; all of
# those are told once more at the end. A part that fails prints what is needed to repeat it, and fails the whole.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

# Each a test program, and the module of it.
parts=(crash/power crash/kill_many crash/block_trace crash/faults crash/repair crash/gc damage_everything/)
parts+=(guest/ext_crash guest/ext_journal_damage guest/xfs_crash guest/xfs_v4_log guest/lvm_kernel)
fuzz_seconds=60
# What the models take, about.
model_seconds=360
minutes=${CAMPAIGN_MINUTES:-40}
[[ "$minutes" =~ ^[1-9][0-9]*$ ]] || die "CAMPAIGN_MINUTES must be a number of minutes, not '$minutes'"
quiet=(--quiet)
[ ! -t 1 ] || quiet=()
failed=()

# The lines of a log that a person wants to see, whatever the runner put before them.
told() { sed -un -E 's/^(test .* \.\.\. )?((CAMPAIGN|NOT RUN): .*)/\2/p'; }

# part NAME COMMAND...
part() {
    local name=$1 start
    shift
    if awk -v now="$(now)" -v end="$deadline" 'BEGIN { exit now < end }'; then
        say "NOT RUN: $name: the time is over" | tee -a "$log"
        return
    fi
    start=$(now)
    say "==> $name"
    if "$@" 2>&1 | tee -a "$log" | told; then
        say "    ok, $(elapsed "$start" "$(now)") s"
    else
        failed+=("$name")
        say "    FAILED, $(elapsed "$start" "$(now)") s"
    fi
}

scripts/install-tools.sh campaign
find_cargo
log="$(target_directory)/campaign.log"
mkdir -p "$(dirname "$log")"
: >"$log"

say "==> build"
mapfile -t programs < <(printf '%s\n' "${parts[@]%%/*}" | sort -u)
cargo test "${quiet[@]}" --release --no-run "${programs[@]/#/--test=}"

began=$(now)
deadline=$(awk -v began="$began" -v minutes="$minutes" 'BEGIN { printf "%.6f", began + 60 * minutes }')
export ICECORE_CAMPAIGN=1
# What the models and the fuzzer do not take is for the other parts, a minute each at least.
fuzz_targets=(tests/fuzz/seeds/*/)
share=$(((60 * minutes - model_seconds - fuzz_seconds * ${#fuzz_targets[@]}) / ${#parts[@]}))
export ICECORE_CAMPAIGN_SECONDS=$((share > 60 ? share : 60))
for name in "${parts[@]}"; do
    module=${name#*/}
    part "$name" cargo test --release --color never --test "${name%%/*}" -- --nocapture "${module:+$module::}"
done
part "models" env MODEL_TIMES=10 MODEL_SEED="$RANDOM" scripts/model.sh
part "fuzz" scripts/fuzz.sh "$fuzz_seconds"

say
told <"$log"
seconds=$(elapsed "$began" "$(now)")
if [ "${#failed[@]}" -gt 0 ]; then
    printf -v names '%s, ' "${failed[@]}"
    die "make campaign: FAILED: ${names%, }; $seconds s; how to repeat it: $log"
fi
say "make campaign: ok; $seconds s; all that was printed: $log"
