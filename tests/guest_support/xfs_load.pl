# What a machine of its own does to a file system: xfs_load.pl DIRECTORY SEED ROUNDS. It is Perl because every Debian has
# that, and a machine may have no more.
use strict;
use IO::Handle;
my ($root, $seed, $rounds) = @ARGV;
my ($SETXATTR, $REMOVEXATTR) = (188, 197);

sub random {
    $seed = ($seed * 1103515245 + 12345) % 2147483648;
    return int($seed / 65536) % $_[0];
}

sub content {
    my ($length) = @_;
    my ($text, $word) = ('', random(30000));
    while (length($text) < $length) {
        $text .= pack('N', $word) . 'x' x ($word % 50);
        $word = ($word * 69069 + 1) % 4294967296;
    }
    return substr($text, 0, $length);
}

sub put {
    my ($path, $at, $bytes, $is_synced) = @_;
    open(my $new, '>>', $path) or return;
    close $new;
    open(my $file, '+<', $path) or return;
    seek($file, $at, 0);
    print $file $bytes;
    $file->flush;
    $file->sync if $is_synced;
    close $file;
}

my @orphans;
for my $round (1 .. $rounds) {
    my $directory = "$root/d" . random(6);
    my $name = sub { my $number = random(300); return "$directory/$number-" . 'n' x ($number % 80) };
    mkdir $directory;
    put($name->(), 0, content(random(6000)), 0) for 0 .. random(120);
    unlink $name->() for 0 .. random(150);

    my $file = "$root/f" . random(8);
    put($file, random(300) * 8192, content(500 + random(5000)), $_ % 40 == 7) for 0 .. random(90);
    truncate($file, random(2000000)) if random(3) == 0;
    for (0 .. random(40)) {
        my ($attribute, $value) = ((random(2) ? 'user' : 'trusted') . '.a' . random(60), content(random(random(8) ? 200 : 9000)));
        syscall($SETXATTR, $file, $attribute, $value, length($value), 0);
    }
    for (0 .. random(30)) {
        my $attribute = 'user.a' . random(60);
        syscall($REMOVEXATTR, $file, $attribute);
    }
    chmod 0600 + random(64), $file;
    chown random(5) * 1000, random(30000), $file;
    rename("$root/f" . random(8), "$root/f" . random(8)) if random(3) == 0;
    link($file, "$root/l" . random(5)) or unlink("$root/l" . random(5));
    my $link = "$root/s" . random(5);
    unlink $link;
    symlink('x' x (1 + random(1000)), $link);
    if (random(4) == 0) {
        open(my $orphan, '<', $file);
        push @orphans, $orphan;
        unlink $file;
    }
    if (random(8) == 0) {
        my $gone = "$root/d" . random(6);
        unlink glob("$gone/*");
        rmdir $gone;
        put("$root/f" . random(8), 0, content(200000), 1);
    }
    put("$root/marker", 0, "round $round", random(2));
}
put("$root/marker", 0, 'end', 1);
