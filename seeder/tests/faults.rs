//! Stories of disks: full ones, and what they hold turning wrong while nobody looks.

mod support;

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use support::disk::Disk;
use support::{Device, Site, noise, wait_for};

const MIB: usize = 1 << 20;
/// What may be under way when something stops: a few requests.
const UNDER_WAY: u64 = 2 << 20;

fn state(device: &Device) -> Option<String> {
    Some(device.release()?["state"].as_str()?.to_owned())
}

fn fetched(device: &Device) -> u64 {
    let release = device.release().unwrap();
    release["sources"].as_object().unwrap().values().filter_map(|bytes| bytes.as_u64()).sum()
}

#[test]
fn a_device_without_room_says_so_while_the_site_goes_on_and_completes_once_there_is_room() {
    let mut site = Site::new("open", 3);
    let content = site.publish_noise(12 * MIB);
    let disk = Disk::under(&site.devices[2], 48 << 20);
    disk.leave(&site.devices[2], 8 << 20);
    site.start_devices();
    let mut seeder = site.serve(&["--until-safe"]);
    assert_eq!(seeder.wait(), 0);
    for device in &site.devices[..2] {
        wait_for("a device with room to install", || (device.installed()? == content).then_some(()));
    }
    let full = &site.devices[2];
    let release = wait_for("the full disk to show in the status", || {
        full.release().filter(|release| release["state"] == "waiting_for_space")
    });
    assert!(release["reason"].as_str().unwrap().contains("no room on the disk"), "{release}");
    assert!(!full.events("waiting_for_space").is_empty());
    let row = site.wait_reported(full, |row| row["state"] == "waiting_for_space");
    assert!(row["reason"].as_str().unwrap().contains("no room"), "{row}");
    assert!(full.installed().is_none());

    disk.make_room();
    site.wait_installed(&content);
    assert!(fetched(full) <= content.len() as u64 + UNDER_WAY);
    site.wait_reported(full, |row| row["state"] == "installed");
}

#[test]
fn a_disk_that_fills_up_in_the_middle_stops_one_device_only_and_what_it_had_is_not_fetched_again() {
    let mut site = Site::new("open", 3);
    let content = site.publish_noise(12 * MIB);
    let disk = Disk::under(&site.devices[2], 48 << 20);
    if !disk.is_own() {
        return println!("not shown here: only root may mount a disk to fill");
    }
    site.start_devices();
    let _seeder = site.serve(&["--uplink-limit", "20mbit"]);
    let full = &site.devices[2];
    wait_for("a third of the bytes", || {
        (full.release()?["bytes_have"].as_u64()? > 4 * MIB as u64).then_some(())
    });
    disk.fill();
    wait_for("the full disk to show in the status", || (state(full)? == "waiting_for_space").then_some(()));
    for device in &site.devices[..2] {
        wait_for("a device with room to install", || (device.installed()? == content).then_some(()));
    }
    assert!(full.installed().is_none());
    site.wait_reported(full, |row| row["state"] == "waiting_for_space");

    disk.make_room();
    site.wait_installed(&content);
    let fetched = fetched(full);
    assert!(
        fetched <= content.len() as u64 + UNDER_WAY,
        "{fetched} bytes were fetched for {}",
        content.len()
    );
    site.wait_reported(full, |row| row["state"] == "installed");
}

/// Whether its log tells of a document that it could not keep.
fn failed_writes(device: &Device) -> bool {
    std::fs::read_to_string(device.dir.join("log.jsonl")).is_ok_and(|log| log.contains("state.redb"))
}

/// Documents that a full disk could not take are taken when there is room, by the same process.
#[test]
fn a_device_whose_state_found_no_room_takes_the_next_release_once_there_is_some() {
    let mut site = Site::new("open", 2);
    let first = site.publish_noise(MIB);
    let disk = Disk::under(&site.devices[1], 32 << 20);
    if !disk.is_own() {
        return println!("not shown here: only root may mount a disk to fill");
    }
    site.start_devices();
    let _seeder = site.serve(&[]);
    site.wait_installed(&first);
    disk.fill();
    let full = &site.devices[1];
    let mut last = Vec::new();
    let path = site.dir().join("next.bin");
    for number in 0..12 {
        last = noise(64 * 1024, number);
        std::fs::write(&path, &last).unwrap();
        site.publish(&path, &format!("2.{number}"));
    }
    wait_for("the other device to install the last release", || {
        (site.devices[0].installed()? == last).then_some(())
    });
    wait_for("a write of the state to fail", || failed_writes(full).then_some(()));
    disk.make_room();
    site.wait_installed(&last);
}

/// One way in which a file of the store turns wrong.
type Damage = fn(&Path);

fn flip(path: &Path) {
    let length = path.metadata().unwrap().len();
    let mut file = File::options().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(length / 3)).unwrap();
    file.write_all(b"flipped").unwrap();
}

fn truncate(path: &Path) {
    let length = path.metadata().unwrap().len();
    File::options().write(true).open(path).unwrap().set_len(length / 2).unwrap();
}

fn delete(path: &Path) {
    std::fs::remove_file(path).unwrap();
}

const DAMAGES: [(&str, Damage); 3] = [("flipped", flip), ("truncated", truncate), ("deleted", delete)];

/// Files of a device's store with this ending, the largest first.
fn stored(device: &Device, ending: &str) -> Vec<PathBuf> {
    let files = walkdir::WalkDir::new(device.dir.join("data/store")).into_iter().filter_map(Result::ok);
    let mut files: Vec<_> = files.filter(|f| f.path().extension().is_some_and(|e| e == ending)).collect();
    files.sort_by_key(|file| std::cmp::Reverse(file.metadata().unwrap().len()));
    files.into_iter().map(walkdir::DirEntry::into_path).collect()
}

/// Everything is there, installed, and some of it came from peers since the last start.
fn wait_mended(device: &Device, content: &[u8], story: &str) {
    wait_for(&format!("the store to be mended after it was {story}"), || {
        let release = device.release()?;
        let is_whole = release["bytes_have"] == release["bytes_total"] && release["state"] == "installed";
        (is_whole && fetched(device) > 0).then_some(())
    });
    assert_eq!(device.installed().unwrap(), content, "{story}");
}

#[test]
fn whatever_is_damaged_in_a_killed_device_is_found_and_fetched_again() {
    let mut site = Site::new("open", 3);
    let content = site.publish_noise(3 * MIB);
    site.start_devices();
    let mut seeder = site.serve(&["--until-safe"]);
    assert_eq!(seeder.wait(), 0);
    site.wait_installed(&content);
    for ending in ["data", "db"] {
        for (what, damage) in DAMAGES {
            let victim = &mut site.devices[2];
            wait_for("the device at rest", || (state(victim)? == "installed").then_some(()));
            victim.kill();
            damage(&stored(victim, ending)[0]);
            victim.start();
            wait_mended(victim, &content, &format!("{what} ({ending})"));
        }
    }
    assert!(site.devices.iter().all(|device| device.events("peer_violation").is_empty()));
}

#[test]
fn a_small_content_that_lies_in_the_store_s_own_records_is_mended_as_well() {
    let mut site = Site::new("open", 3);
    let content = site.publish_noise(9000);
    site.start_devices();
    let mut seeder = site.serve(&["--until-safe"]);
    assert_eq!(seeder.wait(), 0);
    site.wait_installed(&content);
    let flip_inside: Damage = |path| {
        let mut bytes = std::fs::read(path).unwrap();
        let content = noise(9000, 1);
        let at = bytes.windows(64).position(|window| window == &content[4096..4160]).expect("the content");
        bytes[at] ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    for (what, damage) in [("flipped", flip_inside), DAMAGES[1], DAMAGES[2]] {
        let victim = &mut site.devices[2];
        wait_for("the device at rest", || (state(victim)? == "installed").then_some(()));
        victim.kill();
        damage(&stored(victim, "db")[0]);
        victim.start();
        wait_mended(victim, &content, what);
    }
}

#[test]
fn damage_to_a_device_that_was_killed_in_the_middle_costs_it_nothing_but_time() {
    for (what, damage) in DAMAGES {
        let mut site = Site::new("open", 2);
        let content = site.publish_noise(5 * MIB);
        site.start_devices();
        let _seeder = site.serve(&["--uplink-limit", "20mbit"]);
        wait_for("half of the bytes", || {
            (site.devices[1].release()?["bytes_have"].as_u64()? > 2 * MIB as u64).then_some(())
        });
        site.devices[1].kill();
        damage(&stored(&site.devices[1], "data")[0]);
        site.devices[1].start();
        site.wait_installed(&content);
        assert!(site.devices[0].events("peer_violation").is_empty(), "{what} bytes were passed on");
    }
}

#[test]
fn a_holder_whose_bytes_turn_wrong_under_it_passes_none_of_them_on() {
    let mut site = Site::new("open", 3);
    let content = site.publish_noise(4 * MIB);
    let mut late = site.devices.pop().unwrap();
    site.start_devices();
    let mut seeder = site.serve(&["--until-safe"]);
    assert_eq!(seeder.wait(), 0);
    site.wait_installed(&content);
    // The only holder left, and it runs on while its disk changes.
    site.devices[1].stop();
    flip(&stored(&site.devices[0], "data")[0]);
    late.start();
    wait_for("the damage to be found", || site.devices[0].events("damaged").pop());
    wait_for("all but the damaged bytes", || {
        let (have, total) =
            (late.release()?["bytes_have"].as_u64()?, late.release()?["bytes_total"].as_u64()?);
        (have >= total - 2 * MIB as u64).then_some(())
    });
    assert!(late.installed().is_none());
    site.devices[1].start();
    wait_for("the late device to install", || (late.installed()? == content).then_some(()));
    for device in [&late, &site.devices[0], &site.devices[1]] {
        assert!(device.events("peer_violation").is_empty(), "wrong bytes were passed on");
        wait_for("every copy to be whole", || {
            let release = device.release()?;
            (release["bytes_have"] == release["bytes_total"]).then_some(())
        });
    }
}
