//! The network on real sockets of this machine: two of us, and one of us with a [`Rogue`].

mod parting;
mod rogue;

use super::*;
use rogue::Rogue;
use samara_protocol::geometry::{PieceIndex, PieceRange};
use samara_protocol::wire::codec;
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use tokio::time::{Instant, timeout};

const PATIENCE: Duration = Duration::from_secs(15);

/// One of us.
struct Node {
    me: PeerId,
    net: Net,
    events: NetEvents,
    address: String,
}

fn peer_of(secret: u8) -> PeerId {
    PeerId(ed25519_dalek::SigningKey::from_bytes(&[secret; 32]).verifying_key().to_bytes())
}

/// Two secrets, the smaller identity's first.
fn ordered() -> (u8, u8) {
    if peer_of(1) < peer_of(2) { (1, 2) } else { (2, 1) }
}

impl Node {
    async fn start(secret: u8) -> Self {
        let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
        Self::start_with(&NetOptions { listen, ..NetOptions::new([secret; 32]) }).await
    }

    async fn start_with(options: &NetOptions) -> Self {
        let (net, events) = Net::start(options).unwrap();
        let mut node = Self { me: peer_of(options.secret[0]), net, events, address: String::new() };
        node.address = node
            .until("an address", |event| match event {
                NetEvent::Listening { address } => Some(address),
                _ => None,
            })
            .await;
        node
    }

    /// The first event that `wanted` takes.
    async fn until<T>(&mut self, what: &str, mut wanted: impl FnMut(NetEvent) -> Option<T>) -> T {
        let search = async {
            loop {
                let event = self.events.recv().await.expect("the network is there");
                if let Some(found) = wanted(event) {
                    return found;
                }
            }
        };
        timeout(PATIENCE, search).await.unwrap_or_else(|_| panic!("no {what} in time"))
    }

    async fn until_connected(&mut self) -> PeerId {
        self.until("connection", |event| match event {
            NetEvent::Connected { peer } => Some(peer),
            _ => None,
        })
        .await
    }

    async fn until_disconnected(&mut self) -> PeerId {
        self.until("end of the connection", |event| match event {
            NetEvent::Disconnected { peer } => Some(peer),
            _ => None,
        })
        .await
    }

    async fn until_fault(&mut self) -> WireError {
        self.until("fault", |event| match event {
            NetEvent::WireFault { error, .. } => Some(error),
            _ => None,
        })
        .await
    }

    async fn until_ping(&mut self) -> u32 {
        self.until("ping", |event| match event {
            NetEvent::Control { message: Message::Ping(nonce), .. } => Some(nonce),
            _ => None,
        })
        .await
    }

    /// Events for a while.
    async fn linger(&mut self, duration: Duration) -> Vec<NetEvent> {
        let mut events = Vec::new();
        let end = Instant::now() + duration;
        while let Ok(Some(event)) = tokio::time::timeout_at(end, self.events.recv()).await {
            events.push(event);
        }
        events
    }
}

fn header(piece: u32) -> DataHeader {
    DataHeader { channel: 1, range: PieceRange { piece: PieceIndex(piece), first_group: 0, groups: 16 } }
}

fn frame(piece: u32, bytes: usize) -> DataFrame {
    DataFrame { header: header(piece), bytes: vec![7; bytes].into() }
}

fn frame_bytes(piece: u32, bytes: usize) -> Vec<u8> {
    let mut all = codec::encode_data_header(&header(piece), bytes);
    all.resize(all.len() + bytes, 7);
    all
}

fn port_of(address: &str) -> u16 {
    address.rsplit('/').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn two_of_us_connect_and_messages_and_frames_arrive() {
    let (mut a, mut b) = (Node::start(1).await, Node::start(2).await);
    a.net.dial(None, vec![b.address.clone()]);
    assert_eq!((a.until_connected().await, b.until_connected().await), (b.me, a.me));
    a.net.send_control(b.me, Message::Ping(5));
    assert_eq!(b.until_ping().await, 5);
    for (token, size) in [(1, 0), (2, 1), (3, 262_144)] {
        b.net.send_data(a.me, frame(token as u32, size), token).unwrap();
        let got = a.until("frame", |event| match event {
            NetEvent::Data { header, bytes, .. } => Some((header, bytes.len())),
            _ => None,
        });
        assert_eq!(got.await, (header(token as u32), size));
        let written = b.until("written", |event| match event {
            NetEvent::Written { token, .. } => Some(token),
            _ => None,
        });
        assert_eq!(written.await, token);
    }
    a.net.close().await;
    assert_eq!(b.until_disconnected().await, a.me);
}

#[tokio::test]
async fn one_connection_is_left_when_both_dial_at_the_same_instant() {
    for round in 0..20 {
        let (mut a, mut b) = (Node::start(1).await, Node::start(2).await);
        // With an address alone neither knows that the other dials.
        a.net.dial(None, vec![b.address.clone()]);
        b.net.dial(None, vec![a.address.clone()]);
        a.until_connected().await;
        b.until_connected().await;
        // Whatever is replaced is replaced by now; then a message each way arrives on what is left.
        let (mut up_a, mut up_b) = (1, 1);
        let count = |up: &mut i32, events: Vec<NetEvent>| {
            for event in events {
                match event {
                    NetEvent::Connected { .. } => *up += 1,
                    NetEvent::Disconnected { .. } => *up -= 1,
                    _ => {}
                }
            }
        };
        let pause = Duration::from_millis(60);
        let (of_a, of_b) = tokio::join!(a.linger(pause), b.linger(pause));
        count(&mut up_a, of_a);
        count(&mut up_b, of_b);
        assert_eq!((up_a, up_b), (1, 1), "round {round}");
        a.net.send_control(b.me, Message::Ping(round));
        b.net.send_control(a.me, Message::Ping(round));
        assert_eq!((a.until_ping().await, b.until_ping().await), (round, round));
    }
}

/// A peer that has vanished without a word: its connection stands, and nothing comes on it.
async fn vanished(secret: u8, node: &mut Node) -> Rogue {
    let rogue = Rogue::connect(secret, &node.address).await;
    assert_eq!(node.until_connected().await, peer_of(secret));
    rogue
}

#[tokio::test]
async fn a_rebooted_peer_is_connected_at_once_although_its_old_connection_seems_alive() {
    let (smaller, larger) = ordered();
    for (rebooted, survivor) in [(smaller, larger), (larger, smaller)] {
        let mut node = Node::start(survivor).await;
        let _old = vanished(rebooted, &mut node).await;
        node.net.send_control(peer_of(rebooted), Message::Ping(1));
        let begun = Instant::now();
        let mut again = Node::start(rebooted).await;
        again.net.dial(None, vec![node.address.clone()]);
        assert_eq!(node.until_disconnected().await, again.me);
        assert_eq!(node.until_connected().await, again.me);
        again.until_connected().await;
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        node.net.send_control(again.me, Message::Ping(2));
        assert_eq!(again.until_ping().await, 2);
    }
}

#[tokio::test]
async fn a_lost_connection_is_told_and_the_next_one_works() {
    let mut node = Node::start(1).await;
    let rogue = Rogue::connect(2, &node.address).await;
    node.until_connected().await;
    rogue.end();
    assert_eq!(node.until_disconnected().await, peer_of(2));
    let mut again = Node::start(2).await;
    node.net.dial(Some(again.me), vec![again.address.clone()]);
    again.net.dial(Some(node.me), vec![node.address.clone()]);
    assert_eq!(node.until_connected().await, again.me);
    assert_eq!(again.until_connected().await, node.me);
}

#[tokio::test]
async fn what_is_no_data_frame_ends_the_connection_and_the_peer_is_refused() {
    let mut malformed = codec::encode_data_header(&header(0), 0);
    malformed.truncate(1);
    malformed.extend([0xff; 16]);
    let hostile: [(&str, &[u8]); 3] = [
        ("4 GiB", &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ("a little too long", &[0x81, 0x80, 0x11]),
        ("malformed", &malformed),
    ];
    for (what, bytes) in hostile {
        let mut node = Node::start(1).await;
        let mut rogue = Rogue::connect(2, &node.address).await;
        node.until_connected().await;
        rogue.send_data(bytes).await;
        node.until_fault().await;
        assert_eq!(node.until_disconnected().await, peer_of(2), "{what}");
        assert!(Rogue::try_connect(2, &node.address).await.is_none(), "{what}: it came back");
    }
}

#[tokio::test]
async fn what_is_no_control_frame_ends_the_connection_and_the_peer_is_refused() {
    let hostile: [&[u8]; 3] = [&[0xff; 5], &[0], &[0xff, 0xff, 0x03, 0x02]];
    for bytes in hostile {
        let mut node = Node::start(1).await;
        let mut rogue = Rogue::connect(2, &node.address).await;
        node.until_connected().await;
        rogue.send_control(bytes).await;
        node.until_fault().await;
        assert_eq!(node.until_disconnected().await, peer_of(2));
    }
}

#[tokio::test]
async fn a_frame_in_slow_drips_arrives() {
    let mut node = Node::start(1).await;
    let mut rogue = Rogue::connect(2, &node.address).await;
    node.until_connected().await;
    for drip in frame_bytes(9, 1200).chunks(40) {
        rogue.send_data(drip).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let got = node.until("frame", |event| match event {
        NetEvent::Data { header, bytes, .. } => Some((header, bytes.len())),
        _ => None,
    });
    assert_eq!(got.await, (header(9), 1200));
}

#[tokio::test]
async fn a_reader_that_never_reads_holds_a_bounded_queue_and_others_go_on() {
    let mut node = Node::start(1).await;
    let _deaf = vanished(2, &mut node).await;
    let mut other = Node::start(3).await;
    other.net.dial(None, vec![node.address.clone()]);
    node.until_connected().await;
    other.until_connected().await;
    let deaf = peer_of(2);
    let taken =
        (0..1000).take_while(|&token| node.net.send_data(deaf, frame(0, 262_144), token).is_ok()).count();
    assert!(taken <= 64 + 1, "{taken} frames were queued");
    node.net.send_control(other.me, Message::Ping(1));
    assert_eq!(other.until_ping().await, 1);
    // A full control queue costs the peer its connection.
    for nonce in 0..200_000 {
        node.net.send_control(deaf, Message::Document(vec![0; 1000]));
        if nonce % 64 == 0 {
            tokio::task::yield_now().await;
        }
        if node.net.connections.with_link(deaf, |_| ()).is_none() {
            break;
        }
        if let Ok(Some(NetEvent::Disconnected { peer })) =
            timeout(Duration::from_micros(1), node.events.recv()).await
        {
            assert_eq!(peer, deaf);
            break;
        }
    }
    assert!(node.net.send_data(deaf, frame(0, 1), 5000).is_err());
    node.net.send_control(other.me, Message::Ping(2));
    assert_eq!(other.until_ping().await, 2);
}

#[tokio::test]
async fn a_second_stream_of_one_kind_ends_the_connection() {
    let mut node = Node::start(1).await;
    let mut rogue = Rogue::connect(2, &node.address).await;
    node.until_connected().await;
    for _ in 0..20 {
        rogue.open("/samara/data/1").await;
    }
    assert_eq!(node.until_disconnected().await, peer_of(2));
}

#[tokio::test]
async fn an_unknown_protocol_is_declined_and_costs_nothing_else() {
    let mut node = Node::start(1).await;
    let mut rogue = Rogue::connect(2, &node.address).await;
    node.until_connected().await;
    for _ in 0..20 {
        rogue.open("/other/1").await;
    }
    let message = Message::Ping(3);
    let mut bytes = Vec::new();
    codec::encode_control(&message, &mut bytes);
    rogue.send_control(&bytes).await;
    assert_eq!(node.until_ping().await, 3);
}

#[tokio::test]
async fn garbage_instead_of_a_handshake_is_refused_and_others_are_served() {
    let mut node = Node::start(1).await;
    for seed in 0..8_u8 {
        let mut tcp = TcpStream::connect(("127.0.0.1", port_of(&node.address))).unwrap();
        let _ = tcp.write_all(&[seed.wrapping_mul(37) ^ 0xff; 4096]);
    }
    let mut other = Node::start(2).await;
    other.net.dial(None, vec![node.address.clone()]);
    assert_eq!(node.until_connected().await, other.me);
    other.until_connected().await;
}

#[tokio::test]
async fn connections_that_say_nothing_are_bounded_for_one_address() {
    let mut node = Node::start(1).await;
    let silent: Vec<TcpStream> =
        (0..100).map(|_| TcpStream::connect(("127.0.0.1", port_of(&node.address))).unwrap()).collect();
    for _ in gate::PENDING_PER_ADDRESS_MAX..silent.len() {
        node.until("refusal", |event| matches!(event, NetEvent::Refused { .. }).then_some(())).await;
    }
    assert!(node.linger(Duration::from_millis(100)).await.is_empty());
    // Those turned away are closed, the others are still waited for.
    let closed = silent
        .iter()
        .filter(|tcp| {
            let mut tcp: &TcpStream = tcp;
            tcp.set_nonblocking(true).unwrap();
            // Ours speaks first only when it dials: nothing to read means open.
            !matches!(tcp.read(&mut [0; 256]), Err(e) if e.kind() == std::io::ErrorKind::WouldBlock)
        })
        .count();
    assert_eq!(closed, silent.len() - gate::PENDING_PER_ADDRESS_MAX);
    // Their places are free again as soon as they are gone.
    drop(silent);
    for _ in 0..gate::PENDING_PER_ADDRESS_MAX {
        node.until("end", |event| matches!(event, NetEvent::Refused { .. }).then_some(())).await;
    }
    let _rogue = Rogue::connect(2, &node.address).await;
    assert_eq!(node.until_connected().await, peer_of(2));
}

#[tokio::test]
async fn many_identities_from_one_address_do_not_take_all_places() {
    let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    let few = NetOptions { listen, connections_per_address_max: 5, ..NetOptions::new([1; 32]) };
    let mut node = Node::start_with(&few).await;
    let mut rogues = Vec::new();
    for secret in 2..12 {
        rogues.extend(Rogue::try_connect(secret, &node.address).await);
    }
    let mut connected = BTreeMap::new();
    for event in node.linger(Duration::from_millis(300)).await {
        if let NetEvent::Connected { peer } = event {
            *connected.entry(peer).or_insert(0) += 1;
        }
    }
    assert_eq!(connected.len(), 5);
    assert!(connected.values().all(|&times| times == 1));
}

#[tokio::test]
async fn more_listen_addresses_than_events_fit_do_not_hold_up_the_start() {
    let listen = (1..=50).map(|n| format!("/ip4/127.0.0.{n}/tcp/0").parse().unwrap()).collect();
    let mut node = Node::start_with(&NetOptions { listen, ..NetOptions::new([1; 32]) }).await;
    let mut addresses = std::collections::BTreeSet::from([node.address.clone()]);
    while addresses.len() < 50 {
        addresses.insert(
            node.until("address", |event| match event {
                NetEvent::Listening { address } => Some(address),
                _ => None,
            })
            .await,
        );
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_an_error_at_the_start() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let listen = vec![format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()];
    let ours = Net::start(&NetOptions { listen, ..NetOptions::new([1; 32]) });
    assert!(matches!(ours, Err(NetError::Listen { .. })));
}

#[tokio::test]
async fn a_listener_that_is_lost_is_told_and_taken_again() {
    let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    let options = NetOptions { listen, ..NetOptions::new([1; 32]) };
    let (signals, mut signals_out) = mpsc::channel(EVENTS_MAX);
    let mut task = Task::new(&options, Arc::default(), signals).unwrap();
    let id = task.listeners.ids().next().unwrap();
    assert!(task.swarm.remove_listener(id));
    let running = tokio::spawn(task.run());
    let mut is_lost = false;
    let told = loop {
        match timeout(PATIENCE, signals_out.recv()).await.unwrap().unwrap() {
            events::Signal::Net(NetEvent::NotListening { .. }) => is_lost = true,
            events::Signal::Net(NetEvent::Listening { address }) if is_lost => break address,
            _ => {}
        }
    };
    assert!(TcpStream::connect(("127.0.0.1", port_of(&told))).is_ok());
    running.abort();
}
