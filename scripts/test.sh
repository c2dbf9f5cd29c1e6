#!/usr/bin/env bash
# Everything that must hold before a change is taken: format, lints, documents, tests. Each step runs even when one
# before it failed; the whole fails when one did.
#
# A test, or a part of one, that can't run on this machine prints a line `NOT RUN: <test>: <why>` to standard output or
# standard error and passes. libtest keeps what passing tests print; `--show-output` gets it into the log, and from there
# each such line is told once at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

# Quiet cargo: what it builds interests only a person who is waiting.
quiet=(--quiet)
[ ! -t 1 ] || quiet=()
failed=()

# step TITLE COMMAND...
step() {
    local title=$1 began
    shift
    began=$(now)
    say "==> $title"
    if "$@"; then
        say "    ok, $(elapsed "$began" "$(now)") s"
    else
        failed+=("$title")
        say "    FAILED, $(elapsed "$began" "$(now)") s"
    fi
}

# Names files, not lines: `cargo fmt --all` puts them right.
format() { cargo fmt --all --check -- --files-with-diff | sort -u; }

clippy() { cargo clippy "${quiet[@]}" "$@" -- -D warnings; }

# The engine as those embed it who want no command, no mount, or neither.
clippy_features() {
    clippy -p icecore --lib --no-default-features &&
        clippy -p icecore --lib --no-default-features --features mount &&
        clippy -p icecore-fuse --lib --no-default-features
}

documents() { RUSTDOCFLAGS="-D warnings" cargo doc "${quiet[@]}" --no-deps --workspace; }

scripts() {
    if ! has shellcheck; then
        say "NOT RUN: scripts: shellcheck is missing" | tee -a "$log"
        return
    fi
    shellcheck -x scripts/*.sh .ci/run examples/hooks/*.sh
}

# Of a log with --show-output: which program runs, what failed with all it printed, and the runner's closing lines.
concise() {
    sed -un -e '/^failures:$/,/^test result:/{p;d}' -e '/^ *Running /p' -e '/^ *Doc-tests /p' -e '/^test result:/p' \
        -e '/^error/p' -e '/^  process didn/p' -e '/^Caused by/p'
}

tests() {
    cargo test "${quiet[@]}" --workspace --no-run &&
        cargo test --workspace --color never --no-fail-fast -- --show-output 2>&1 | tee -a "$log" | concise
}

not_run() { sed -n -E 's/^(test .* \.\.\. )?(NOT RUN: .*)/\2/p' "$log" | sort -u; }

# Adds up the runner's closing lines.
totals() {
    awk '/^test result:/ { passed += $4; failed += $6; ignored += $8 }
        END { printf "%d passed, %d failed, %d ignored", passed, failed, ignored }' "$log"
}

scripts/install-tools.sh test
find_cargo
log="$(target_directory)/test.log"
mkdir -p "$(dirname "$log")"
: >"$log"
began=$(now)

step "format" format
step "lints" clippy --workspace --all-targets
step "lints of the libraries with fewer features" clippy_features
step "documents" documents
step "scripts" scripts
step "tests (all they print: $log)" tests

not_run
said="$(totals), $(not_run | wc -l) not run; $(elapsed "$began" "$(now)") s"
if [ "${#failed[@]}" -gt 0 ]; then
    printf -v steps '%s, ' "${failed[@]%% (*}"
    die "make test: FAILED: ${steps%, }; $said"
fi
say "make test: ok; $said"
