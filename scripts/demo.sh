#!/usr/bin/env bash
# The whole path, for a person to watch: two days of a machine's disks, made here, backed up, browsed, compared with the
# originals, restored. Every command is shown as one would type it. Fails when one comparison does.
#
#   DEMO_SIZE=full|medium|small   the largest that fits, if not given
#   ICECORE_DEMO_DIR=DIR          where to work; TMPDIR or /tmp, if not given. Nothing stays there.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

# Size and fill of the OS disk, and the room that everything takes, in MiB. The data disk has a quarter of both.
declare -A size=([full]=8GiB [medium]=2GiB) fill=([full]=3.5GiB [medium]=800MiB)
declare -A room_mib=([full]=17408 [medium]=4608 [small]=1024)

# Seconds between looks at the memory of a command: what it takes rises at once and stays.
watch_seconds=0.05

place='' child='' mounted='' rows=() differences=0
# Of the last command; of all backups.
peak_kib=0 seconds=0 backup_peak_kib=0 total_used=0

heading() { printf '\n## %s\n' "$*"; }

# run COMMAND: shows it, runs it.
run() {
    printf '$ %s\n' "$1"
    eval "$1" || die "FAILED (exit code $?): $1"
}

# same WHAT COMMAND: runs what compares; goes on when it finds a difference, which fails the demo at its end.
same() {
    printf '$ %s\n' "$2"
    if eval "$2"; then
        say "equal: $1"
    else
        say "DIFFERENT: $1"
        differences=$((differences + 1))
    fi
}

# measured COMMAND: runs it by itself; leaves its seconds and, of one that lasts, its peak memory.
measured() {
    printf '$ %s\n' "$1"
    local began
    began=$(now)
    eval "exec $1" &
    child=$!
    watch_memory "$child"
    wait "$child" || die "FAILED (exit code $?): $1"
    child=''
    seconds=$(elapsed "$began" "$(now)")
}

# The kernel keeps the peak while the process lives; the shell alone reads it, so that watching costs nothing.
watch_memory() {
    local nothing
    peak_kib=0
    exec {nothing}<> <(:)
    while read_peak "$1" 2>/dev/null; do
        read -rt "$watch_seconds" -u "$nothing" _ || :
    done
    exec {nothing}<&-
}

# Fails when the process has ended.
read_peak() {
    local key value
    while read -r key value _; do
        if [ "$key" = VmHWM: ]; then
            peak_kib=$value
            return 0
        fi
    done <"/proc/$1/status"
    return 1
}

# of_latest KEY [DISK]: a number that the newest point tells of its disks, added up.
of_latest() {
    icecore cat web01/latest/point.json | awk -F '[:,]' -v key="\"$1\"" -v disk="${2:-}" '
        /"volumes"/ { exit }
        $1 ~ /"name"/ { wanted = disk == "" || $2 ~ "\"" disk "\"" }
        wanted && $1 ~ key { sum += $2 }
        END { printf "%.0f", sum }'
}

# used_bytes [DISK]: what is moved of the newest point's disks, zeros left out.
used_bytes() { printf '%s\n' $(($(of_latest size_bytes "$@") - $(of_latest zero_bytes "$@"))); }

vault_bytes() { du -s --block-size=1 --apparent-size vault | cut -f 1; }

# row STEP USED_BYTES [NEW_BYTES STORED_BYTES]
row() { rows+=("$1|$seconds|$2|${3-}|${4-}"); }

print_table() {
    printf '\n%-34s %9s %9s %12s %12s %12s\n' step seconds MB/s "used MB" "new MB" "stored MB"
    printf '%s\n' "${rows[@]}" | awk -F '|' '
        function mb(bytes) { return bytes == "" ? "" : sprintf("%.1f", bytes / 1e6) }
        { printf "%-34s %9.2f %9.0f %12s %12s %12s\n", $1, $2, $3 / 1e6 / ($2 > 0 ? $2 : 0.01), mb($3), mb($4), mb($5) }'
}

choose_size() {
    local available_mib
    available_mib=$(df --output=avail -BM "$1" | tail -n 1 | tr -dc '0-9')
    if [ -n "${DEMO_SIZE:-}" ]; then
        [ -n "${room_mib[$DEMO_SIZE]:-}" ] || die "DEMO_SIZE is full, medium or small"
        [ "$available_mib" -ge "${room_mib[$DEMO_SIZE]}" ] ||
            die "$1 has $available_mib MiB free; DEMO_SIZE=$DEMO_SIZE needs ${room_mib[$DEMO_SIZE]} MiB (ICECORE_DEMO_DIR names another place)"
        return
    fi
    for DEMO_SIZE in full medium small; do
        [ "$available_mib" -lt "${room_mib[$DEMO_SIZE]}" ] || break
        say "$1 has $available_mib MiB free, too little for the $DEMO_SIZE demo (${room_mib[$DEMO_SIZE]} MiB); ICECORE_DEMO_DIR names another place."
        [ "$DEMO_SIZE" != small ] || die "That is too little for any."
    done
}

build() {
    heading "Build"
    run 'cargo build --release --quiet -p icecore -p icecore-fixtures'
    PATH="$(target_directory)/release:$PATH"
    export PATH
}

make_disks() {
    heading "The disks of a machine on two days: an OS disk with a partition table, a data disk without"
    if [ "$DEMO_SIZE" = small ]; then
        run 'make-disks --out . --small'
    else
        run "make-disks --out . --size ${size[$DEMO_SIZE]} --fill ${fill[$DEMO_SIZE]}"
    fi
    run 'ls -lsh day1/*.raw day2/*.raw'
}

make_vault() {
    heading "A vault"
    (umask 077 && head -c 24 /dev/urandom | base64 >password)
    run 'export ICECORE_VAULT=vault ICECORE_PASSWORD_FILE=password'
    # What is noted of vaults that were seen goes with the demo.
    export XDG_STATE_HOME="$PWD/state"
    run 'icecore init'
}

# back_up DAY STEP
back_up() {
    local before used
    before=$(vault_bytes)
    measured "icecore backup web01 --disk os=$1/os.raw --disk data=$1/data.raw"
    used=$(used_bytes)
    total_used=$((total_used + used))
    row "$2" "$used" "$(of_latest new_bytes)" "$(($(vault_bytes) - before))"
    say "peak memory: $((peak_kib / 1024)) MiB"
    [ "$peak_kib" -le "$backup_peak_kib" ] || backup_peak_kib=$peak_kib
}

backups() {
    heading "Day 1: everything is new"
    back_up day1 "first backup"
    heading "The same again: everything is read, nothing is new"
    back_up day1 "unchanged again"
    heading "Day 2: what changed"
    back_up day2 "day 2"
    heading "Recovery points"
    run 'icecore points'
    first=$(icecore ls web01 | sed -n 1p)
    run "icecore diff web01/$first web01/latest | grep '^[^ ]'"
}

# The guest's files as another program reads them from the original disk, to compare with.
read_originals() {
    local start
    heading "The guest's files, read from the original disk by e2fsprogs, to compare with"
    start=$(partx -g -n 2 -o START day2/os.raw | tr -d ' ')
    mkdir original
    run "debugfs -R 'rdump /etc original' 'day2/os.raw?offset=$((start * 512))' 2>debugfs.log"
    run "debugfs -R 'rdump /documents original' day2/data.raw 2>debugfs.log"
}

through_the_mount() {
    local latest=points/web01/latest
    heading "Mount: all machines, all points"
    mkdir points
    mounted=yes
    measured 'icecore mount points'
    say "mounted after $seconds s"
    run "ls points points/web01 $latest/ $latest/files/os/p2"
    run "ls -l $latest/files/os/p2/etc/nginx"
    run "cat points/web01/$first/files/os/p2/etc/hostname $latest/files/os/p2/etc/hostname"
    heading "Whole disks through the mount"
    measured "dd if=$latest/disks/os.raw of=/dev/null bs=1M status=none"
    row "read the OS disk through the mount" "$(used_bytes os)"
    same "OS disk of day 1" "cmp day1/os.raw points/web01/$first/disks/os.raw"
    same "data disk of day 1" "cmp day1/data.raw points/web01/$first/disks/data.raw"
    same "data disk of day 2" "cmp day2/data.raw $latest/disks/data.raw"
    same_hash day2/os.raw "$latest/disks/os.raw"
    heading "Files through the mount"
    same "/etc" "diff -r --no-dereference original/etc $latest/files/os/p2/etc"
    same "/documents" "diff -r --no-dereference original/documents $latest/files/data/whole/documents"
    same "the database" "debugfs -R 'cat /db/orders.db' day2/data.raw 2>debugfs.log | cmp - $latest/files/data/whole/db/orders.db"
    run "cp -r $latest/files/os/p2/etc/nginx nginx-back"
    same "the copy" 'diff -r --no-dereference original/etc/nginx nginx-back'
    run 'icecore umount points'
    mounted=''
}

same_hash() {
    run "sha256sum $1 | tee sums"
    same "SHA-256 of $2" "sed 's|$1|$2|' sums | sha256sum --check"
}

without_mount() {
    local latest=web01/latest
    heading "Nothing can be mounted here ($1): the same through the command line"
    run "icecore ls $latest/files/os/p2"
    run "icecore ls -l $latest/files/os/p2/etc/nginx"
    heading "Whole disks"
    same "OS disk of day 1" "icecore cat web01/$first/disks/os.raw | cmp - day1/os.raw"
    same "data disk of day 1" "icecore cat web01/$first/disks/data.raw | cmp - day1/data.raw"
    same "OS disk of day 2" "icecore cat $latest/disks/os.raw | cmp - day2/os.raw"
    same "data disk of day 2" "icecore cat $latest/disks/data.raw | cmp - day2/data.raw"
    heading "Files"
    run "icecore cp -r $latest/files/os/p2/etc etc-back"
    same "/etc" 'diff -r --no-dereference original/etc etc-back'
    run "icecore cp -r $latest/files/data/whole/documents documents-back"
    same "/documents" 'diff -r --no-dereference original/documents documents-back'
}

on_the_command_line() {
    heading "The same tree on the command line"
    run "icecore ls -l web01/latest/files/os/p2/etc/nginx"
    run 'icecore cat web01/latest/files/os/p2/etc/hostname'
    run 'icecore cp -r web01/latest/files/os/p2/etc/nginx nginx-again'
    same "the copy" 'diff -r --no-dereference original/etc/nginx nginx-again'
    run "icecore find web01/latest 'nginx*.conf'"
}

restore_disk() {
    heading "Restore"
    measured 'icecore restore web01/latest --disk os --to restored.raw'
    row "restore the OS disk" "$(used_bytes os)"
    run 'ls -lsh restored.raw'
    same_hash day2/os.raw restored.raw
}

check_vault() {
    heading "Verify"
    measured 'icecore verify'
    row "verify" "$(vault_bytes)"
    heading "What the vault holds"
    run 'icecore stats'
}

summary() {
    local stored
    stored=$(vault_bytes)
    print_table
    say "(MB = 1,000,000 bytes; zeros don't count; of verify: the vault's bytes)"
    awk -v used="$total_used" -v stored="$stored" 'BEGIN {
        printf "3 points use %.1f MB; the vault stores %.1f MB, 1 byte for %.1f\n", used / 1e6, stored / 1e6, used / stored }'
    say "Peak memory of a backup: $((backup_peak_kib / 1024)) MiB"
    [ -z "$1" ] || say "NOT RUN: mount: $1"
    [ "$differences" -eq 0 ] || die "demo: FAILED: $differences comparisons found a difference"
    say "demo: ok: everything came back as it was"
}

clean_up() {
    local code=$?
    trap '' INT TERM
    [ -z "$child" ] || kill "$child" 2>/dev/null || :
    [ -z "$mounted" ] || icecore umount "$place/points" 2>/dev/null || :
    cd /
    leave_place "$place"
    exit "$code"
}

main() {
    local parent no_mount
    scripts/install-tools.sh demo
    find_cargo
    parent=${ICECORE_DEMO_DIR:-${TMPDIR:-/tmp}}
    [ -w "$parent/." ] || die "$parent is not a directory that I may write to; set ICECORE_DEMO_DIR"
    choose_size "$parent"
    build
    trap clean_up EXIT
    trap 'exit 130' INT TERM
    place=$(make_place demo "$(cd "$parent" && pwd)")
    cd "$place"
    make_disks
    make_vault
    backups
    read_originals
    no_mount=$(why_no_mount)
    if [ -z "$no_mount" ]; then through_the_mount; else without_mount "$no_mount"; fi
    on_the_command_line
    restore_disk
    check_vault
    summary "$no_mount"
}

main
