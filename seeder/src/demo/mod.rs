//! The demo: a site in a temporary directory, N device processes and a seeder process on loopback, no multicast.
//!
//! ```text
//! make site -> make devices -> enroll -> publish -> start devices -> serve -> watch -> compare bytes -> report
//! ```
//! Every step runs the same programs as on a real site. All processes end and the directory goes with the demo,
//! also when it is interrupted.

mod compare;
mod lifecycle;
mod process;
mod result;

use crate::commands::demo::Args;
use crate::failure::{Failure, Kind};
use crate::files::FileError;
use crate::interrupt::Interrupt;
use crate::ui::{Look, Output, bytes};
use process::{Device, Programs, Seeder};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Beyond this multiple of the lower bound, plus [`GRACE`], the demo gives up.
const PATIENCE: f64 = 5.0;
/// Time for processes to start and to install.
const GRACE: Duration = Duration::from_secs(60);
/// Time for each file of each device: all copies are made, and made durable, on this one disk.
const FILE_MAX: Duration = Duration::from_millis(2);
/// How often the processes are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Runs the demo and prints its report.
pub async fn run(args: Args, output: Output) -> Result<(), Failure> {
    if let Some(path) = &args.path {
        // Before programs are built and devices made.
        std::fs::metadata(path).map_err(FileError::of("read", path))?;
    }
    let scratch = tempfile::Builder::new().prefix("samara-demo-").tempdir().map_err(storage)?;
    let mut interrupt = Interrupt::new().map_err(storage)?;
    tokio::select! {
        result = play(&args, &output, scratch.path()) => result,
        () = interrupt.recv() => {
            Err(Failure::new(Kind::Failed, anyhow::anyhow!("interrupted; all processes are ended")))
        }
    }
}

async fn play(args: &Args, output: &Output, scratch: &Path) -> Result<(), Failure> {
    let programs = Programs::find(output).await?;
    if args.lifecycle {
        return lifecycle::play(args, output, scratch, &programs).await;
    }
    let artifact = match &args.path {
        Some(path) => path.clone(),
        None => programs.as_tree(&scratch.join("samara-programs"))?,
    };
    let (site, mut devices) = make_site(args, scratch, &programs).await?;
    let name = |text: &str| text.to_owned();
    let run = |arguments: Vec<String>| programs.operator(arguments);
    run(vec![
        name("publish"),
        name("--site"),
        path(&site),
        name("--version"),
        name("1.0.0"),
        name("--destination"),
        name("app"),
        name("--yes"),
        path(&artifact),
    ])
    .await?;
    output.note(format_args!(
        "{} is signed; {} devices start, the operator's uplink carries {}",
        artifact.display(),
        args.devices,
        args.uplink
    ));
    for device in &mut devices {
        device.start(&programs)?;
    }
    wait_for_api(&devices).await?;
    let mut seeder = Seeder::start(&programs, &site, &devices, args.uplink).await?;
    let report = spread(args, output, compare::count(&artifact)?, &mut devices, &mut seeder).await?;
    seeder.stop().await;
    let checked = compare::all(&artifact, &devices)?;
    output.line(format_args!(
        "{} every device's copy was compared byte for byte: {checked} files on {} devices are identical",
        output.paint(Look::Good, "verified:"),
        devices.len()
    ));
    for device in &mut devices {
        device.stop().await;
    }
    let installed = devices.iter().filter_map(|device| device.installed_after).fold(0.0, f64::max);
    output.line(format_args!("installed: the last device had the release in place after {installed:.1} s"));
    output.event(&serde_json::json!({"event": "installed", "last_device_seconds": installed}));
    output.line(report.table());
    output.event(&report);
    Ok(())
}

/// A site, and its devices, enrolled and not started.
async fn make_site(
    args: &Args,
    scratch: &Path,
    programs: &Programs,
) -> Result<(PathBuf, Vec<Device>), Failure> {
    let site = scratch.join("site");
    let name = |text: &str| text.to_owned();
    let init = ["site", "init"].map(name).into_iter().chain([path(&site)]);
    programs.operator(init.chain(["--name", "Demo", "--no-passphrase"].map(name)).collect()).await?;
    let devices = Device::prepare(args.devices, scratch, &site, programs).await?;
    let mut enroll = vec![name("enroll"), name("--site"), path(&site)];
    enroll.extend(devices.iter().map(|device| device.id.clone()));
    programs.operator(enroll).await?;
    devices.iter().try_for_each(|device| device.take_enrollment(&site))?;
    Ok((site, devices))
}

async fn wait_for_api(devices: &[Device]) -> Result<(), Failure> {
    let start = Instant::now();
    for device in devices {
        while device.status().await.is_none() {
            if start.elapsed() > GRACE {
                return Err(device.failure("did not start"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    Ok(())
}

/// How long the devices may take: by the bytes, `bound` seconds at best, and by the files that they write together.
fn patience(bound: f64, files: usize) -> Duration {
    let installing = FILE_MAX.saturating_mul(u32::try_from(files).unwrap_or(u32::MAX));
    GRACE + Duration::from_secs_f64(bound * PATIENCE) + installing
}

/// Watches until every device has installed the release.
async fn spread(
    args: &Args,
    output: &Output,
    files: usize,
    devices: &mut [Device],
    seeder: &mut Seeder,
) -> Result<samara_protocol::measure::RunReport, Failure> {
    let start = seeder.started;
    let uplink_bits = args.uplink.bits_per_second();
    let copies = files * devices.len();
    let mut bar = None;
    loop {
        seeder.read_events()?;
        let total = seeder.artifact_bytes;
        if let Some(total) = total {
            let bar = bar.get_or_insert_with(|| output.progress("devices", total * devices.len() as u64));
            bar.set_position(seeder.have_bytes());
            bar.set_message(format!("{:.3} copies sent", seeder.copies()));
        }
        for device in devices.iter_mut() {
            device.look(start)?;
        }
        if devices.iter().all(|device| device.installed_after.is_some()) {
            break;
        }
        let bound = total.map_or(0.0, |total| total as f64 * 8.0 / uplink_bits as f64);
        if start.elapsed() > patience(bound, copies) {
            let late = devices.iter().filter(|device| device.installed_after.is_none()).count();
            return Err(Failure::new(
                Kind::Failed,
                anyhow::anyhow!(
                    "{late} of {} devices did not finish in time; {}",
                    devices.len(),
                    bytes(seeder.sent_bytes)
                ),
            ));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    // One more view of the seeder, so that its counters include the last piece.
    tokio::time::sleep(Duration::from_millis(700)).await;
    seeder.read_events()?;
    result::report(uplink_bits, devices, seeder).await
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

fn storage(error: std::io::Error) -> Failure {
    Failure::new(Kind::Storage, error)
}

/// Where a device's release ends up.
fn installed_at(device: &Device) -> PathBuf {
    device.dir.join("install").join("app")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_waits_longer_for_more_bytes_and_for_more_files() {
        assert_eq!(patience(2.0, 0), GRACE + Duration::from_secs(10));
        assert_eq!(patience(0.0, 8 * 300_000), GRACE + Duration::from_secs(4800));
    }
}
