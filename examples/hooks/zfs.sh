#!/bin/sh -e
# Snapshots of ZFS volumes tank/web01/os and tank/web01/data, for `icecore backup --snapshot-command`, after
# `zfs set snapdev=visible tank/web01` once.
! zfs list tank/web01@icecore >/dev/null 2>&1 || zfs destroy -r tank/web01@icecore >&2
[ "$ICECORE_PHASE" = snapshot ] || exit 0
zfs snapshot -r tank/web01@icecore >&2      # all disks at one moment
udevadm settle
for disk in os data; do echo "$disk=/dev/zvol/tank/web01/$disk@icecore"; done
