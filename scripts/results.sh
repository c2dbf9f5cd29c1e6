#!/usr/bin/env bash
# Measures, and writes benches/RESULTS.md: results.sh SECTION|all [OPTIONS].
#
#   RESULTS_DISKS=DIR   disks as make-disks makes them; made anew, if not given
#   RESULTS_DIR=DIR     where to work: a file system with 16 GB free, 26 GB where disks are made; TMPDIR or /tmp, if not
#                       given. Nothing stays there.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

[ "$#" -gt 0 ] || set -- all
scripts/install-tools.sh demo
# The section `guests` makes and mounts file systems as the campaign does.
scripts/install-tools.sh campaign
find_cargo
parent=${RESULTS_DIR:-${TMPDIR:-/tmp}}
[ -w "$parent/." ] || die "$parent is not a directory that I may write to; set RESULTS_DIR"
no_mount=$(why_no_mount)
[ -z "$no_mount" ] || warn "Nothing can be mounted here ($no_mount): those figures will be missing."
cargo run --release --quiet -p icecore-results -- "$@" --dir "$parent" ${RESULTS_DISKS:+--disks "$RESULTS_DISKS"}
