# What the scripts share. Sourced, never run.
# shellcheck shell=bash

# mke2fs, debugfs and losetup are where an ordinary user's PATH does not lead.
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

say() { printf '%s\n' "$*"; }
warn() { printf '%s\n' "$*" >&2; }
die() {
    warn "$*"
    exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

# Finds cargo, also where the shell that started us has not read what rustup wrote.
find_cargo() {
    has cargo && return
    local home="${CARGO_HOME:-$HOME/.cargo}"
    [ -x "$home/bin/cargo" ] || die "cargo is missing: install Rust 1.89 or later (https://rustup.rs), then call this again"
    export PATH="$home/bin:$PATH"
}

# Where cargo puts what it builds, whatever decides that.
target_directory() {
    cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p'
}

# Seconds since 1970, with six digits behind the point whatever the locale.
now() { printf '%s\n' "${EPOCHREALTIME/,/.}"; }

# Seconds between two of those, with two digits.
elapsed() { awk -v from="$1" -v to="$2" 'BEGIN { printf "%.2f", to - from }'; }

# Why nothing can be mounted here; silent where it can. Root mounts by itself, others need the helper and the device.
why_no_mount() {
    if [ ! -c /dev/fuse ]; then
        say "no /dev/fuse"
    elif [ "$(id -u)" -eq 0 ]; then
        may_administer || say "root without CAP_SYS_ADMIN"
    elif ! has fusermount3; then
        say "no fusermount3 (package fuse3)"
    elif [ ! -r /dev/fuse ] || [ ! -w /dev/fuse ]; then
        say "/dev/fuse is closed to this user"
    fi
}

# Root in a container is often root by name only.
may_administer() {
    local capabilities
    capabilities=$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status)
    (((0x$capabilities >> 21) & 1))
}

# A new directory for a script's own files, removed by leave_place: make_place NAME PARENT.
make_place() { mktemp -d "${2%/}/icecore-$1.XXXXXXXX"; }

# Unmounts whatever is mounted below a directory, the innermost first, and removes it.
leave_place() {
    local place=$1 mount
    [ -n "$place" ] && [ -d "$place" ] || return 0
    while read -r mount; do
        fusermount3 -uz "$mount" 2>/dev/null || umount -l "$mount" 2>/dev/null || warn "still mounted: $mount"
    done < <(awk -v below="$place/" 'index($5, below) == 1 { print $5 }' /proc/self/mountinfo | sort -r)
    rm -rf --one-file-system "$place"
}
