#!/usr/bin/env bash
# The long search for what the tests of every day are too short for: power loss, kills, failing calls, damage, hostile
# bytes. Takes about CAMPAIGN_MINUTES (30): each part that can go on for ever gets its share of them, the others walk
# through all they have. What comes up once the time is over is left out, and said so.
#
# A part prints what it counted as one line `CAMPAIGN: ...`, and `NOT RUN: <what>: <why>` for what can't run here; all of
# those are told once more at the end. A part that fails prints what is needed to repeat it, and fails the whole.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

parts=(crash_power crash_kill_many crash_block_trace crash_faults damage_everything)
fuzz_seconds=60
minutes=${CAMPAIGN_MINUTES:-30}
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

tests=()
for name in "${parts[@]}"; do
    if [ -f "tests/$name.rs" ]; then
        tests+=("$name")
    else
        say "NOT RUN: $name: there is no such test" | tee -a "$log"
    fi
done
say "==> build"
cargo test "${quiet[@]}" --release --no-run "${tests[@]/#/--test=}"

began=$(now)
deadline=$(awk -v began="$began" -v minutes="$minutes" 'BEGIN { printf "%.6f", began + 60 * minutes }')
export ICECORE_CAMPAIGN=1
export ICECORE_CAMPAIGN_SECONDS=$((60 * minutes / (${#parts[@]} + 1)))
for name in "${tests[@]}"; do
    part "$name" cargo test --release --color never --test "$name" -- --nocapture
done
if [ -x scripts/fuzz.sh ]; then
    part "fuzz" scripts/fuzz.sh "$fuzz_seconds"
else
    say "NOT RUN: fuzz: there is no scripts/fuzz.sh" | tee -a "$log"
fi

say
told <"$log"
seconds=$(elapsed "$began" "$(now)")
if [ "${#failed[@]}" -gt 0 ]; then
    printf -v names '%s, ' "${failed[@]}"
    die "make campaign: FAILED: ${names%, }; $seconds s; how to repeat it: $log"
fi
say "make campaign: ok; $seconds s; all that was printed: $log"
