//! Promise 5: logical volumes of every layout read byte for byte what the kernel's device-mapper gives.
//!
//! With `ICECORE_CAMPAIGN` set, groups made at random, whose power is cut while they are written to, go on for
//! `ICECORE_CAMPAIGN_SECONDS`.

use std::path::Path;
use std::time::{Instant, SystemTime};

use crate::common;
use crate::guest_support::source::noise;
use crate::guest_support::{lvm, not_run};

/// One of every layout, and noise on each.
const EVERYTHING: &str = r#"
pvcreate $disks
vgcreate -s 256k vg $disks
lvcreate -y -n linear -l 12 vg /dev/ubda
lvextend -l +8 vg/linear /dev/ubdc
lvcreate -y -n striped -i 3 -I 16k -l 12 vg
lvcreate -y --type mirror -m 1 -n mirror -l 8 vg
lvcreate -y --type raid0 -i 3 -I 32k -n raid0 -l 12 vg
lvcreate -y --type raid0_meta -i 2 -n raid0m -l 8 vg
lvcreate -y --type raid1 -m 2 -n raid1 -l 8 vg
lvcreate -y --type raid10 -i 2 -m 1 -n raid10 -l 8 vg
lvcreate -y --type raid4 -i 2 -n raid4 -l 8 vg
for kind in $raid5; do
    lvcreate -y --type $kind -i 2 -I 16k -n $kind -l 8 vg
done
for kind in $raid6; do
    lvcreate -y --type $kind -i 3 -I 16k -n $kind -l 12 vg
done
for name in $(cd /dev/vg; ls); do
    seed=$((seed + 1))
    noise /dev/vg/$name 0 $(($(blockdev --getsize64 /dev/vg/$name) / 1024)) $seed
done
sync
for name in $(cd /dev/vg; ls); do volume vg-$name; done
"#;

const THIN_AND_SNAPSHOTS: &str = r#"
pvcreate $disks
vgcreate -s 256k vg $disks
# A snapshot of the old kind, with changes on either side, and an origin that grew.
lvcreate -y -n origin -L 6M vg
noise /dev/vg/origin 0 6144 1
lvcreate -y -s -n before -L 3M vg/origin
lvcreate -y -s -n other -c 16k -L 4M vg/origin
for at in 3 900 40 41 42 43 2000 6100; do noise /dev/vg/origin $at 11 $((at + 2)); done
for at in 7 500 3000; do noise /dev/vg/before $at 9 $((at + 3)); done
# Thin volumes: holes, shared chunks, discarded ones, more than one leaf of a tree.
lvcreate -y -L 20M -T -c 64k vg/pool
lvcreate -y -V 128M -n thin -T vg/pool
for at in 0 64 128 5000 60000 131008; do noise /dev/vg/thin $at 64 $((at % 9000)); done
at=70000
while [ $at -lt 118000 ]; do noise /dev/vg/thin $at 4 $((at / 256)); at=$((at + 256)); done
lvcreate -y -s -kn -n thinsnap vg/thin
noise /dev/vg/thin 30 100 5
noise /dev/vg/thinsnap 5010 10 6
blkdiscard -o 72089600 -l 65536 /dev/vg/thin
# A thin volume with an origin outside of the pool, which is larger than that.
lvcreate -y -n base -L 1M vg
noise /dev/vg/base 0 1024 7
lvchange -an vg/base
lvchange -pr vg/base
lvcreate -y -s -kn -n overlay --thinpool vg/pool vg/base
lvextend -L 2M vg/overlay
noise /dev/vg/overlay 100 10 8
noise /dev/vg/overlay 1500 10 8
# And a snapshot of the old kind of a thin volume.
lvcreate -y -s -n ofthin -L 2M vg/overlay
noise /dev/vg/overlay 300 70 9
sync
vgchange -an vg
vgchange -ay -K vg
for name in $(cd /dev/vg; ls); do volume vg-$name; done
"#;

#[test]
fn every_layout() {
    let lab = match lvm::Lab::new(6, 32) {
        Ok(lab) => lab,
        Err(why) => return not_run("every_layout", why),
    };
    // Where rows lie in all kinds of RAID 5 and 6 is checked without a machine too.
    let (raid5, raid6, count) = match common::campaign() {
        None => ("raid5_ls", "raid6_zr", 10),
        Some(_) => (
            "raid5_ls raid5_la raid5_rs raid5_ra raid5_n",
            "raid6_zr raid6_nr raid6_nc raid6_ls_6 raid6_la_6 raid6_rs_6 raid6_ra_6 raid6_n_6",
            21,
        ),
    };
    let expected = lab.run(&format!("raid5='{raid5}'\nraid6='{raid6}'\n{EVERYTHING}"));
    let assembly = lvm::groups(&lvm::in_memory(&lab.bytes()));
    assert_eq!(lvm::compare(&assembly, &expected), count);
    assert!(assembly.problems.is_empty() && assembly.orphans.is_empty());
}

#[test]
fn thin_volumes_and_snapshots() {
    let lab = match lvm::Lab::new(2, 40) {
        Ok(lab) => lab,
        Err(why) => return not_run("thin_volumes_and_snapshots", why),
    };
    let expected = lab.run(THIN_AND_SNAPSHOTS);
    let assembly = lvm::groups(&lvm::in_memory(&lab.bytes()));
    assert_eq!(lvm::compare(&assembly, &expected), 8);
    assert!(assembly.problems.is_empty() && assembly.orphans.is_empty());
}

/// Mirrors in every state that a crash may leave them in: what is read is what the kernel reads after the next start.
const MIRRORS: &str = r#"
pvcreate $disks
vgcreate -s 256k vg $disks
# A second copy that is only half made when the power goes.
lvcreate -y -n growing -L 12M vg /dev/ubda
noise /dev/vg/growing 0 12288 1
echo 100 >/proc/sys/dev/raid/speed_limit_min
echo 200 >/proc/sys/dev/raid/speed_limit_max
lvconvert -y --type raid1 -m 1 vg/growing
noise /dev/vg/growing 9000 100 9
# A first copy that failed: writes go to the second one only.
lvcreate -y --type raid1 -m 1 -n failed -L 2M vg
noise /dev/vg/failed 0 2048 2
sync
size=$(blockdev --getsz /dev/mapper/vg-failed_rimage_0)
dmsetup suspend vg-failed_rimage_0
dmsetup load vg-failed_rimage_0 --table "0 $size error"
dmsetup resume vg-failed_rimage_0
noise /dev/vg/failed 300 700 3
# A parity that has never been made.
lvcreate -y --type raid5 --nosync -i 2 -n unsynced -L 2M vg
noise /dev/vg/unsynced 0 2048 4
# A volume that moves to another disk.
lvcreate -y -n moving -L 8M vg /dev/ubda
noise /dev/vg/moving 0 8192 5
sync
"#;

#[test]
fn mirrors_that_a_crash_left_half_made_or_failed() {
    let lab = match lvm::Lab::new(3, 48) {
        Ok(lab) => lab,
        Err(why) => return not_run("mirrors_that_a_crash_left_half_made_or_failed", why),
    };
    lab.run_until(&format!("{MIRRORS}echo now; sleep 60"), "now");
    let crashed = lab.bytes();
    let expected = lab.run("vgchange -ay vg\nfor name in $(cd /dev/vg; ls); do volume vg-$name; done\n");
    let assembly = lvm::groups(&lvm::in_memory(&crashed));
    assert_eq!(lvm::compare(&assembly, &expected), 4);
    // Without the disk of the copy that is whole, the one that failed is not shown as if nothing were: it is behind, and the
    // driver's record on it does not know.
    let mut behind = 0;
    for without in 0..3 {
        let mut disks = lvm::in_memory(&crashed);
        disks.remove(without);
        for volume in lvm::groups(&disks).volumes {
            let Ok(opened) = volume.open() else { continue };
            let is_same = lvm::content(&volume).expect("read") == expected[&lvm::mapped_name(&volume)];
            assert!(is_same || opened.caution.is_some(), "{} without disk {without}", volume.name());
            behind += u32::from(!is_same);
        }
    }
    assert!(behind > 0, "a copy that is behind was among them");
}

/// What is merged into its origin, both kinds; and what happens while much is written.
const CHANGING: &str = r#"
pvcreate $disks
vgcreate -s 256k vg $disks
lvcreate -y -n origin -L 6M vg
noise /dev/vg/origin 0 6144 1
lvcreate -y -s -n merging -L 6M vg/origin
noise /dev/vg/origin 100 3000 2
noise /dev/vg/merging 3500 300 3
lvcreate -y -n plain -L 6M vg
noise /dev/vg/plain 0 6144 4
lvcreate -y -s -n snap -L 6M vg/plain
lvcreate -y -L 16M -T -c 64k vg/pool
lvcreate -y -V 32M -n thin -T vg/pool
mke2fs -q -t ext4 /dev/vg/thin
lvcreate -y -s -kn -n thinsnap vg/thin
sync
"#;

#[test]
fn what_a_crash_leaves_while_snapshots_change() {
    let lab = match lvm::Lab::new(2, 48) {
        Ok(lab) => lab,
        Err(why) => return not_run("what_a_crash_leaves_while_snapshots_change", why),
    };
    let writes = "lvconvert --merge -b vg/merging\n\
                  mount /dev/vg/thin /run/mnt\n\
                  for at in $(seq 1 40); do\n\
                      noise /dev/vg/plain $((at * 137 % 6000)) 64 $at\n\
                      noise /dev/vg/snap $((at * 251 % 6000)) 32 $((at + 5))\n\
                      noise /run/mnt/file-$at 0 200 $at\n\
                      noise /dev/vg/thinsnap $((at * 411 % 32000)) 64 $at\n\
                      [ $at != 20 ] || sync\n\
                  done\necho now\nsleep 60";
    lab.run_until(&format!("{CHANGING}{writes}"), "now");
    let crashed = lab.bytes();
    let after = "vgchange -ay -K vg\nfor name in $(cd /dev/vg; ls); do volume vg-$name; done\n";
    let expected = lab.run(after);
    assert_eq!(lvm::compare(&lvm::groups(&lvm::in_memory(&crashed)), &expected), 5);
}

/// A little of everything that is more than arithmetic, small enough to be kept.
const KEPT: &str = r#"
pvcreate $disks
vgcreate -s 128k vg $disks
lvcreate -y -n origin -l 4 vg
noise /dev/vg/origin 0 40 1
lvcreate -y -s -n snap -l 4 vg/origin
for at in 3 17 18 30; do noise /dev/vg/origin $at 3 $((at + 60)); done
noise /dev/vg/snap 100 3 90
lvcreate -y --type raid1 -m 1 -n mirror -l 1 vg
noise /dev/vg/mirror 0 5 100
lvcreate -y -l 8 -T -c 64k vg/pool
lvcreate -y -V 8M -n thin -T vg/pool
for at in 0 65 900 4000 8190; do noise /dev/vg/thin $at 2 $((at % 200)); done
lvcreate -y -s -kn -n thinsnap vg/thin
noise /dev/vg/thinsnap 64 3 120
noise /dev/vg/thin 2 3 130
lvchange -an vg/origin
lvcreate -y -n base -l 1 vg
noise /dev/vg/base 0 3 140
lvchange -an vg/base
lvchange -pr vg/base
lvcreate -y -s -kn -n overlay --thinpool vg/pool vg/base
noise /dev/vg/overlay 70 2 150
vgchange -an vg
vgchange -ay -K vg
for name in $(cd /dev/vg; ls); do volume vg-$name; done
vgchange -an vg
"#;

#[test]
fn the_images_that_are_kept_read_as_the_kernel_read_them() {
    let folder = Path::new(lvm::KEPT);
    if std::env::var_os("ICECORE_MAKE_IMAGES").is_some() {
        let lab = lvm::Lab::new(2, 7).expect("a machine");
        let expected = lab.run(KEPT);
        for (number, disk) in lab.bytes().iter().enumerate() {
            let packed = zstd::encode_all(disk.as_slice(), 19).expect("packed");
            std::fs::write(folder.join(format!("lvm-{number}.zst")), packed).expect("an image");
        }
        let line = |(name, bytes): (&String, &Vec<u8>)| format!("{name} {}\n", blake3::hash(bytes));
        std::fs::write(folder.join("lvm.hashes"), expected.iter().map(line).collect::<String>()).expect("hashes");
    }
    let assembly = lvm::groups(&lvm::in_memory(&lvm::kept()));
    let expected = std::fs::read_to_string(folder.join("lvm.hashes")).expect("hashes");
    for line in expected.lines() {
        let (name, hash) = line.split_once(' ').expect("a name and a hash");
        let volume = assembly.volumes.iter().find(|volume| lvm::mapped_name(volume) == name).expect("a volume");
        let bytes = lvm::content(volume).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(blake3::hash(&bytes).to_string(), hash, "{name}");
    }
    assert_eq!(expected.lines().count(), 7);
}

/// A group made at random, up to writes that go on until the power is cut.
fn random_group(seed: u64) -> String {
    let numbers = noise(seed, 4096);
    let mut numbers = numbers.chunks_exact(4).map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four bytes")));
    let mut below = move |bound: u32| numbers.next().expect("enough numbers") % bound;
    const LAYOUTS: [&str; 12] = [
        "-l 9",
        "-i 2 -I 16k -l 8",
        "-i 3 -I 64k -l 9",
        "--type mirror -m 1 -l 8",
        "--type raid1 -m 1 -l 8",
        "--type raid1 -m 2 -l 6",
        "--type raid10 -i 2 -m 1 -l 8",
        "--type raid0 -i 3 -l 9",
        "--type raid5 -i 2 -l 8",
        "--type raid6 -i 3 -l 9",
        "--type raid4 -i 3 -I 8k -l 9",
        "--type raid6_nr -i 3 -I 32k -l 12",
    ];
    let extent = 64 << below(3);
    let mut script = format!("pvcreate $disks\nvgcreate -s {extent}k vg $disks\n");
    let mut written: Vec<(String, u32)> = Vec::new();
    for number in 0..3 + below(4) {
        let layout = LAYOUTS[below(LAYOUTS.len() as u32) as usize];
        script += &format!("lvcreate -y -n v{number} {layout} vg\nnoise /dev/vg/v{number} 0 {} {number}\n", 6 * extent);
        written.push((format!("v{number}"), 6 * extent));
        if below(2) == 0 && !layout.contains("mirror") {
            let chunk = 4 << below(4);
            script += &format!("lvcreate -y -s -c {chunk}k -n s{number} -l 14 vg/v{number}\n");
            written.push((format!("s{number}"), 6 * extent));
        }
        if below(4) == 0 {
            script += &format!("lvextend -l +3 vg/v{number} || true\n");
        }
    }
    script += &format!("lvcreate -y -L 12M -c {}k -T vg/pool\n", 64 << below(2));
    for number in 0..1 + below(3) {
        script += &format!("lvcreate -y -V {}M -n t{number} -T vg/pool\n", 4 + below(60));
        written.push((format!("t{number}"), 4096));
        if below(2) == 0 {
            script += &format!("noise /dev/vg/t{number} {} 100 {number}\n", below(3900));
            script += &format!("lvcreate -y -s -kn -n u{number} vg/t{number}\n");
            written.push((format!("u{number}"), 4096));
        }
    }
    script += "sync\n( sleep 0.";
    script += &below(10).to_string();
    script += "; echo now ) &\nwhile :; do\n";
    for _ in 0..30 {
        let (name, kibibytes) = &written[below(written.len() as u32) as usize];
        let (length, at) = (1 + below(48), below(kibibytes - 49));
        script += &match below(12) {
            0 => "sync\n".to_owned(),
            1 if name.starts_with(['t', 'u']) => {
                format!("blkdiscard -o {} -l 262144 /dev/vg/{name}\n", u64::from(at) / 64 * 65536)
            }
            _ => format!("noise /dev/vg/{name} {at} {length} {}\n", below(20_000)),
        };
    }
    script + "done\n"
}

#[test]
fn groups_made_at_random_after_a_power_cut() {
    let Some(duration) = common::campaign() else { return };
    let began = Instant::now();
    let mut seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("now").as_secs();
    let (mut groups, mut volumes, mut cautions) = (0, 0, 0);
    while began.elapsed() < duration || groups == 0 {
        println!("seed {seed}");
        let lab = match lvm::Lab::new(5, 40) {
            Ok(lab) => lab,
            Err(why) => return not_run("groups_made_at_random_after_a_power_cut", why),
        };
        lab.run_until(&random_group(seed), "now");
        let crashed = lab.bytes();
        let expected = lab.run("vgchange -ay -K vg\nfor name in $(cd /dev/vg; ls); do volume vg-$name; done\n");
        let assembly = lvm::groups(&lvm::in_memory(&crashed));
        volumes += lvm::compare(&assembly, &expected);
        groups += 1;
        seed += 1;
        // With a disk less nothing that differs goes unsaid.
        let mut disks = lvm::in_memory(&crashed);
        disks.remove(seed as usize % disks.len());
        for volume in lvm::groups(&disks).volumes {
            let (Ok(opened), Some(kernel)) = (volume.open(), expected.get(&lvm::mapped_name(&volume))) else {
                continue;
            };
            cautions += u32::from(opened.caution.is_some());
            assert!(opened.caution.is_some() || lvm::content(&volume).expect("read") == *kernel, "{}", volume.name());
        }
    }
    println!(
        "CAMPAIGN: LVM2: {groups} groups cut off while they were written to, {volumes} volumes as the kernel reads them, \
         {cautions} read with a caution, {:.0} s",
        began.elapsed().as_secs_f64()
    );
}
