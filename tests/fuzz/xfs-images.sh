#!/usr/bin/env bash
# Makes the images of XFS that the fuzzer changes: xfs-images.sh DIRECTORY. Needs root, loop devices, xfsprogs, and
# linux.uml for what newer kernels do not mount any more.
set -euo pipefail
to=$1
place=$(mktemp -d)
mkdir "$place/mnt"
trap 'umount "$place/mnt" 2>/dev/null || true; rm -rf "$place"' EXIT

# Names enough for an index with nodes, extents enough for a tree, attributes in every form.
cat >"$place/fill.pl" <<'PERL'
use strict;
my ($root, $names) = @ARGV;
my $put = sub { my ($path, $at, $bytes) = @_; open(my $new, '>>', $path); close $new; open(my $file, '+<', $path);
    seek($file, $at, 0); print $file $bytes; close $file };
my $xattr = sub { my ($path, $name, $value) = @_; syscall(188, $path, $name, $value, length($value), 0) };
mkdir "$root/$_" for 'a', 'a/b', 'few', 'some', 'many';
$put->("$root/few/$_", 0, 'x') for 1 .. 3;
$put->("$root/some/name-$_", 0, '') for 1 .. 25;
link("$root/few/1", "$root/many/quite-a-long-name-to-fill-blocks-" . sprintf('%060d', $_)) for 1 .. $names;
for my $piece (0 .. 90) { $put->("$root/a/b/tree", $piece * 8192, 'text' x 100) }
$put->("$root/a/large", 0, "line of text\n" x 2000);
symlink('x' x 900, "$root/link");
symlink('a/b', "$root/short-link");
$xattr->("$root/few/1", 'user.one', 'value');
$xattr->("$root/few/2", "user.$_", 'v' x 60) for 1 .. 9;
$xattr->("$root/few/3", "trusted.$_", 'v' x (50 + $_)) for 1 .. 60;
$xattr->("$root/a/large", 'user.large', 'v' x 5000);
PERL

# keep NAME: what the image is now.
keep() { cp --sparse=always "$place/image" "$to/$1"; }

make() {
    rm -f "$place/image"
    truncate -s 17M "$place/image"
    mkfs.xfs -q --unsupported "$@" "$place/image" 2>/dev/null
}

make -b size=1024
mount -o loop "$place/image" "$place/mnt"
perl "$place/fill.pl" "$place/mnt" 400
umount "$place/mnt"
keep xfs

# A log with changes of all kinds: written, and not yet in their places.
make -b size=1024 -m rmapbt=1
mount -o loop,logbsize=64k "$place/image" "$place/mnt"
perl "$place/fill.pl" "$place/mnt" 60
sync "$place/mnt/few/3"
rm -r "$place/mnt/some"
cp --reflink=always "$place/mnt/a/large" "$place/mnt/a/shared"
perl "$place/fill.pl" "$place/mnt" 30
sync "$place/mnt/few/3"
cp "$place/image" "$place/crashed"
umount "$place/mnt"
mv "$place/crashed" "$place/image"
keep xfs-log

# fill_apart WHAT: has a machine of its own fill the image; it is switched off after WHAT.
fill_apart() {
    cat >"$place/init" <<INIT
#!/bin/sh
mount -t proc proc /proc
mount -t tmpfs tmp /run
mkdir -p /run/mnt /run/lib/modules
ln -s /usr/lib/uml/modules/* /run/lib/modules/
modprobe -d /run xfs
mount /dev/ubda /run/mnt
perl $place/fill.pl /run/mnt 150
$1
echo o >/proc/sysrq-trigger
sleep 60
INIT
    chmod +x "$place/init"
    TMPDIR=$place timeout 60 linux.uml mem=256M root=/dev/root rootfstype=hostfs hostfs=/ ro quiet panic=-1 con=null \
        init="$place/init" uml_dir="$place/" ubd0="$place/image" >/dev/null 2>&1 </dev/null || true
}

make -m crc=0 -b size=1024
fill_apart 'umount /run/mnt'
keep xfs-v4

make -m crc=0 -b size=512 -l version=1
fill_apart 'sync /run/mnt/few/3'
keep xfs-v4-log
