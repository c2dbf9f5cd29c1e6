#!/bin/sh -e
# shellcheck disable=SC2154  # `name` and `path` are set by eval
# Snapshots of logical volumes, for `icecore backup --snapshot-command`.
# Called to make the snapshots, and again to remove them. Standard output is for NAME=PATH alone.
n=0
while [ $((n += 1)) -le "$ICECORE_DISK_COUNT" ]; do
    eval "name=\$ICECORE_DISK_${n}_NAME path=\$ICECORE_DISK_${n}_PATH"
    ! [ -e "$path-icecore" ] || lvremove -qy "$path-icecore" >&2
    [ "$ICECORE_PHASE" = snapshot ] || continue
    lvcreate -qs -L 5G -n "${path##*/}-icecore" "$path" >&2
    echo "$name=$path-icecore"
done
