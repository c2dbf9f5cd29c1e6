#!/usr/bin/env bash
# Installs what is missing with apt-get: install-tools.sh build|bench|demo|test|campaign|fuzz.
# Ends with an error only where the task can't be done without what is still missing.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

# COMMAND:PACKAGE+PACKAGE, or a module of Python as python3.MODULE:PACKAGE. Without these nothing works.
needed=(cc:gcc+libc6-dev)
# Without these a part is left out, and said so.
wanted=(fusermount3:fuse3)

case "${1:-}" in
    build | bench) ;;
    demo) needed+=(mke2fs:e2fsprogs debugfs:e2fsprogs cmp:diffutils partx:util-linux) ;;
    fuzz) needed+=(c++:g++) ;;
    test)
        wanted+=(mke2fs:e2fsprogs debugfs:e2fsprogs setpriv:util-linux pkill:procps losetup:mount sfdisk:fdisk sgdisk:gdisk)
        wanted+=(mkfs.xfs:xfsprogs xfs_io:xfsprogs getfattr:attr)
        # Volumes that are named, and what names them: for their labels and UUIDs.
        wanted+=(mkfs.vfat:dosfstools mkfs.exfat:exfatprogs mkfs.ntfs:ntfs-3g mkfs.btrfs:btrfs-progs mkfs.f2fs:f2fs-tools)
        wanted+=(mksquashfs:squashfs-tools mkfs.erofs:erofs-utils cryptsetup:cryptsetup-bin)
        wanted+=(linux.uml:user-mode-linux modprobe:kmod lvm:lvm2 dmsetup:dmsetup)
        wanted+=(python3:python3-minimal python3.cryptography:python3-cryptography)
        wanted+=(python3.zstandard:python3-zstandard python3.argon2:python3-argon2)
        wanted+=(shellcheck:shellcheck faketime:faketime)
        ;;
    campaign)
        wanted+=(losetup:mount mkfs.ext4:e2fsprogs mkfs.xfs:xfsprogs xfs_io:xfsprogs)
        wanted+=(linux.uml:user-mode-linux modprobe:kmod getfattr:attr)
        wanted+=(lvm:lvm2 dmsetup:dmsetup)
        ;;
    *) die "usage: install-tools.sh build|bench|demo|test|campaign|fuzz" ;;
esac

# Modules are asked of the system's own Python: that is whom packages give them to.
has_tool() {
    case "$1" in
        python3.*) [ -x /usr/bin/python3 ] && /usr/bin/python3 -c "import ${1#*.}" 2>/dev/null ;;
        *) has "$1" ;;
    esac
}

# The packages of those of the given tools that are not there.
missing() {
    local tool
    for tool in "$@"; do
        has_tool "${tool%%:*}" || tr '+' '\n' <<<"${tool#*:}"
    done | sort -u
}

# Runs apt-get as root; asks for a password only where somebody can answer.
apt() {
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        as_root=(sudo)
        [ -t 0 ] || as_root+=(-n)
    fi
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y "$@" </dev/null >/dev/null
}

install() {
    if ! has apt-get || { [ "$(id -u)" -ne 0 ] && ! has sudo; }; then
        return 1
    fi
    say "Installing with apt-get: $*"
    # A package list that is there may do; one that is missing or old is fetched.
    apt install --no-install-recommends "$@" 2>/dev/null || { apt update && apt install --no-install-recommends "$@"; }
}

install_rust_components() {
    local absent=()
    cargo fmt --version >/dev/null 2>&1 || absent+=(rustfmt)
    cargo clippy --version >/dev/null 2>&1 || absent+=(clippy)
    [ "${#absent[@]}" -eq 0 ] && return
    say "Installing with rustup: ${absent[*]}"
    rustup component add "${absent[@]}" || die "please install Rust's ${absent[*]}, then call this again"
}

find_cargo
mapfile -t packages < <(missing "${needed[@]}" "${wanted[@]}")
if [ "${#packages[@]}" -gt 0 ] && ! install "${packages[@]}"; then
    warn "These packages are missing and could not be installed from here; please run as root:"
    warn "    apt-get install ${packages[*]}"
fi
mapfile -t packages < <(missing "${needed[@]}")
[ "${#packages[@]}" -eq 0 ] || die "It does not work without: ${packages[*]}"
[ "$1" != test ] || install_rust_components
