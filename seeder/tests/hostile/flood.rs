//! Thirty seconds of everything that eight hostile peers can think of, against one device that receives a release.

use crate::support::hostile::{Identity, Wire, connect, runtime};
use crate::support::{Device, Site, wait_for};
use ed25519_dalek::SigningKey;
use samara_protocol::document::{Document as _, ENVELOPE_BYTES_MAX, Envelope, Release};
use samara_protocol::geometry::{PieceIndex, PieceRange};
use samara_protocol::id::{DocumentId, PeerId};
use samara_protocol::piece_set::WirePieceSet;
use samara_protocol::wire::codec::{DATA_FRAME_MAX, encode_control};
use samara_protocol::wire::{
    DataHeader, DocumentKind, DocumentOffer, Have, Message, Open, PeerAddress, Request, ServeMode,
};
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;

const MIB: usize = 1 << 20;
const FLOOD: Duration = Duration::from_secs(30);
/// The release comes for about as long as the flood lasts.
const ARTIFACT_BYTES: usize = 28 * MIB;
const UPLINK: &str = "8mbit";
/// What the flood may cost the device in memory.
const GROWTH_MAX_KIB: u64 = 8 * 1024;
/// What two equal runs may differ by on disk: pages of two small databases.
const DISK_SLACK: u64 = 512 * 1024;
/// The local API answers within this, on a machine with nothing left.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// What a run leaves behind at the device in question.
#[derive(Debug)]
struct Outcome {
    peak_kib: u64,
    files: Vec<PathBuf>,
    bytes: u64,
    violations: usize,
}

#[test]
fn a_flood_costs_a_device_little_memory_no_disk_and_not_the_release() {
    let (calm, flooded) = std::thread::scope(|scope| {
        let calm = scope.spawn(|| run(false));
        let flooded = run(true);
        (calm.join().unwrap(), flooded)
    });
    println!("calm {calm:?}\nflooded {flooded:?}");
    assert!(flooded.violations > 0, "the flood did not arrive: {flooded:?}");
    assert_eq!(flooded.files, calm.files);
    assert!(flooded.bytes <= calm.bytes + DISK_SLACK, "{} bytes, calm {}", flooded.bytes, calm.bytes);
    let growth = flooded.peak_kib.saturating_sub(calm.peak_kib);
    assert!(growth <= GROWTH_MAX_KIB, "{growth} KiB more: {} after {}", flooded.peak_kib, calm.peak_kib);
}

fn run(is_flooded: bool) -> Outcome {
    let mut site = Site::new("closed", 6);
    let content = site.publish_noise(ARTIFACT_BYTES);
    let thieves = site.devices.split_off(2);
    site.start_devices();
    let _seeder = site.serve(&["--uplink-limit", UPLINK]);
    wait_for("the first bytes at both", || {
        let has_begun =
            |device: &Device| device.release().is_some_and(|r| r["bytes_have"].as_u64() > Some(0));
        site.devices.iter().all(has_begun).then_some(())
    });
    let victim = &site.devices[0];
    let runtime = runtime();
    if is_flooded {
        for attack in attacks(&site, &thieves, &victim.address) {
            runtime.spawn(attack);
        }
    }
    let start = Instant::now();
    while start.elapsed() < FLOOD {
        let asked = Instant::now();
        assert!(victim.status().is_some(), "the local API does not answer");
        assert!(asked.elapsed() < ANSWER_MAX, "the local API took {:?}", asked.elapsed());
        std::thread::sleep(Duration::from_millis(200));
    }
    drop(runtime);
    site.wait_installed(&content);
    for device in &site.devices {
        wait_for("the release to count as installed", || {
            device.release().filter(|release| release["state"] == "installed")
        });
    }
    let files = walkdir::WalkDir::new(victim.dir.join("data")).sort_by_file_name().into_iter();
    let files: Vec<_> = files.filter_map(Result::ok).filter(|f| f.file_type().is_file()).collect();
    Outcome {
        peak_kib: victim.peak_memory_kib(),
        bytes: files.iter().map(|file| file.metadata().unwrap().len()).sum(),
        files: files.iter().map(|file| file.path().strip_prefix(&victim.dir).unwrap().into()).collect(),
        violations: victim.events("peer_violation").len(),
    }
}

type Attack = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Four peers that nobody knows and four enrolled ones; each goes on until the runtime ends.
fn attacks(site: &Site, thieves: &[Device], address: &str) -> Vec<Attack> {
    let thief = |number: usize| Identity::stolen(site, &thieves[number]);
    let stranger = Identity::stranger(site, 0);
    let to = || address.to_owned();
    let mut attacks: Vec<Attack> = vec![
        Box::pin(for_ever(to(), stranger.clone(), 1, knock)),
        Box::pin(for_ever(to(), stranger.clone(), 2, hang_up)),
        Box::pin(for_ever(to(), stranger.clone(), 3, babble)),
        Box::pin(for_ever(to(), thief(0), 0, chatter)),
        Box::pin(for_ever(to(), thief(1), 0, hand_out_documents)),
        Box::pin(for_ever(to(), thief(2), 0, ask_and_not_read)),
        Box::pin(for_ever(to(), thief(3), 0, push_wrong_bytes)),
    ];
    attacks.extend((4..8).map(|n| Box::pin(for_ever(to(), stranger.clone(), n, stall)) as Attack));
    attacks
}

/// Repeats an attack, with a fresh identity each time where it has none to lose.
async fn for_ever<F>(address: String, identity: Identity, lane: u8, attack: impl Fn(Identity, String) -> F)
where
    F: Future<Output = io::Result<()>>,
{
    for round in 0_u64.. {
        let mut identity = identity.clone();
        if identity.enrollment.is_empty() {
            identity.secret[0] = lane;
            identity.secret[1..9].copy_from_slice(&round.to_le_bytes());
        }
        let _ = attack(identity, address.clone()).await;
        tokio::task::yield_now().await;
    }
}

/// Authenticates and leaves.
async fn knock(identity: Identity, address: String) -> io::Result<()> {
    connect(identity.secret, &address).await.map(drop)
}

/// Sends what is no handshake and leaves.
async fn hang_up(_: Identity, address: String) -> io::Result<()> {
    let port = address.rsplit('/').next().and_then(|port| port.parse().ok()).unwrap_or(0);
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(&[0xff; 256]).await
}

/// Sends frames that are none, and frames that claim to be larger than any.
async fn babble(identity: Identity, address: String) -> io::Result<()> {
    let mut wire = Wire::dial(identity.secret, &address).await?;
    let frame: &[u8] = match identity.secret[1] % 3 {
        0 => &[0xff; 64],
        1 => &[0xff, 0xff, 0x7f, 2, 1],
        _ => &[5, 9, 0xff, 0xff, 0xff, 0xff],
    };
    wire.say_bytes(frame).await?;
    until(5, wire.wait_closed()).await;
    Ok(())
}

/// Stops in the middle of a control frame and of the largest data frame, and keeps its place.
async fn stall(identity: Identity, address: String) -> io::Result<()> {
    let mut wire = Wire::dial(identity.secret, &address).await?;
    let mut hello = Vec::new();
    encode_control(&identity.hello(ServeMode::Pull), &mut hello);
    wire.say_bytes(&hello[..hello.len() / 2]).await?;
    let header = DataHeader { channel: 1, range: range(0) };
    let body = vec![0; DATA_FRAME_MAX / 2];
    let mut frame = samara_protocol::wire::codec::encode_data_header(&header, DATA_FRAME_MAX - 16);
    frame.extend_from_slice(&body);
    futures::AsyncWriteExt::write_all(&mut wire.data_out, &frame).await?;
    until(15, wire.wait_closed()).await;
    Ok(())
}

async fn until(seconds: u64, future: impl Future<Output = ()>) {
    let _ = tokio::time::timeout(Duration::from_secs(seconds), future).await;
}

fn range(piece: u32) -> PieceRange {
    PieceRange { piece: PieceIndex(piece), first_group: 0, groups: 8 }
}

/// Joins, and answers the first swarm that it hears of with `claim`.
async fn join(
    identity: &Identity,
    address: &str,
    mode: ServeMode,
    claim: impl Fn(&Open) -> WirePieceSet,
) -> io::Result<(Wire, Open)> {
    let mut wire = Wire::dial(identity.secret, address).await?;
    wire.say(&identity.hello(mode)).await?;
    loop {
        if let Message::Open(theirs) = wire.hear().await? {
            wire.say(&Message::Open(Open { have: claim(&theirs), ..theirs.clone() })).await?;
            return Ok((wire, theirs));
        }
    }
}

fn nothing(_: &Open) -> WirePieceSet {
    WirePieceSet::Runs(Vec::new())
}

/// Says all that may be said, just within the limits: haves, requests, offers, wants, lists of peers.
async fn chatter(identity: Identity, address: String) -> io::Result<()> {
    let (mut wire, theirs) = join(&identity, &address, ServeMode::Pull, nothing).await?;
    wire.ignore_answers();
    let pieces = theirs.length.div_ceil(u64::from(theirs.piece_bytes)) as u32;
    for round in 0_u32.. {
        let unique = |n: u32| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&u64::from(round * 1000 + n).to_le_bytes());
            bytes
        };
        let mut bytes = Vec::new();
        let mut say = |message: Message| encode_control(&message, &mut bytes);
        for n in 0..4 {
            let long = vec![format!("/dns4/{}/tcp/1", "x".repeat(8000))];
            say(Message::Addresses(vec![PeerAddress { peer: PeerId(unique(n)), addresses: long }]));
            let offer =
                |n| DocumentOffer { id: DocumentId(unique(n)), kind: DocumentKind::Release, bytes: 900 };
            say(Message::Offer((n * 200..n * 200 + 200).map(offer).collect()));
        }
        for n in 0..40 {
            let pieces = (0..4000).map(|i| PieceIndex(i % pieces)).collect();
            say(Message::Have(Have { channel: theirs.channel, pieces }));
            say(Message::Request(Request { channel: theirs.channel, range: range(n) }));
            say(Message::Want(vec![DocumentId(unique(n)); 500]));
        }
        wire.say_bytes(&bytes).await?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Hands out the largest documents that are well-formed and mean nothing, as fast as they are taken.
async fn hand_out_documents(identity: Identity, address: String) -> io::Result<()> {
    let mut payload = br#"{"x":""}"#.to_vec();
    payload.splice(6..6, vec![b'x'; ENVELOPE_BYTES_MAX * 3 / 4 - 512]);
    let payload_type = Release::PAYLOAD_TYPE.into();
    let mut envelope = Envelope { payload_type, payload, signatures: Vec::new() };
    envelope.sign(&SigningKey::from_bytes(&[9; 32]));
    let mut frame = Vec::new();
    encode_control(&Message::Document(envelope.to_bytes()), &mut frame);
    let (mut wire, _) = join(&identity, &address, ServeMode::Pull, nothing).await?;
    wire.ignore_answers();
    loop {
        wire.say_bytes(&frame).await?;
    }
}

/// Asks for all that there is and takes none of it.
async fn ask_and_not_read(identity: Identity, address: String) -> io::Result<()> {
    let (mut wire, theirs) = join(&identity, &address, ServeMode::Pull, nothing).await?;
    for piece in (0..200).cycle() {
        wire.say(&Message::Request(Request { channel: theirs.channel, range: range(piece % 8) })).await?;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// Calls itself a granting peer and pushes wrong bytes; refused after the first, it knocks on.
async fn push_wrong_bytes(identity: Identity, address: String) -> io::Result<()> {
    let (mut wire, theirs) = join(&identity, &address, ServeMode::Grant, nothing).await?;
    let bao = vec![7; 8 * 16 * 1024 + 7 * 64];
    for piece in (0..200).rev().cycle() {
        wire.send(DataHeader { channel: theirs.channel, range: range(piece) }, &bao).await?;
    }
    Ok(())
}
