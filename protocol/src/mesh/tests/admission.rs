//! Who is let in, who is turned away, and what may be said before.

use super::*;
use crate::wire::ENROLLMENT_SHOWN_MAX;
use crate::wire::codec::HELLO_FRAME_MAX;

fn receive(mesh: &mut Mesh, from: PeerId, message: Message) -> Vec<Action> {
    mesh.handle(Timestamp::ZERO, Input::Received { peer: from, message });
    std::iter::from_fn(|| mesh.poll_action()).collect()
}

fn is_violation(actions: &[Action]) -> bool {
    let is =
        |action: &Action| matches!(action, Action::Disconnect { reason: DisconnectReason::Violation(_), .. });
    actions.iter().any(is)
}

/// The hello of a peer with this enrollment and so many addresses.
fn hello_with(enrollment: usize, addresses: usize) -> Hello {
    let config = MeshConfig {
        enrollment: vec![b'{'; enrollment],
        listen: (0..addresses).map(|n| format!("/ip4/10.0.0.1/tcp/{n}/{}", "x".repeat(100))).collect(),
        ..config(1, ServeMode::Pull)
    };
    let mut mesh = Mesh::new(config, 1);
    mesh.handle(Timestamp::ZERO, Input::Connected { peer: peer(2) });
    let hello = std::iter::from_fn(|| mesh.poll_action()).find_map(|action| match action {
        Action::Send { message: Message::Hello(hello), .. } => Some(hello),
        _ => None,
    });
    hello.unwrap()
}

#[test]
fn a_hello_fits_its_frame_whatever_the_enrollment_and_the_addresses() {
    for (enrollment, shown) in [(0, 0), (ENROLLMENT_SHOWN_MAX, ENROLLMENT_SHOWN_MAX), (64 << 10, 0)] {
        for addresses in [1, 8, 500] {
            let hello = hello_with(enrollment, addresses);
            assert_eq!((hello.enrollment.len(), hello.listen.len()), (shown, addresses.min(8)));
            let mut frame = Vec::new();
            encode_control(&Message::Hello(hello), &mut frame);
            assert!(frame.len() <= HELLO_FRAME_MAX, "{}", frame.len());
        }
    }
}

#[test]
fn the_opens_of_a_large_catalog_wait_for_admission_and_a_flood_before_it_is_a_violation() {
    let geometry = Geometry::new(1024 * 131_072, 131_072).unwrap();
    let mut mesh = Mesh::new(config(1, ServeMode::Pull), 1);
    let limits = mesh.config.limits.clone();
    let mut half = PieceSet::empty(1024);
    for piece in (0..1024).step_by(2) {
        half.insert(PieceIndex(piece));
    }
    greet(&mut mesh, peer(2), ServeMode::Pull, SiteId([1; 16]));
    for channel in 1..=limits.channels_per_peer_max as u16 {
        let mut content = [0; 32];
        content[..2].copy_from_slice(&channel.to_be_bytes());
        let open = crate::wire::Open {
            channel,
            content: ContentHash(content),
            length: geometry.length(),
            piece_bytes: geometry.piece_bytes(),
            have: half.to_wire(),
        };
        let actions = receive(&mut mesh, peer(2), Message::Open(open));
        assert!(!is_violation(&actions), "{channel}");
    }
    mesh.handle(Timestamp::ZERO, Input::Admitted { peer: peer(2), enrolled_device: true });
    assert_eq!(mesh.neighbours(), [peer(2)]);

    greet(&mut mesh, peer(3), ServeMode::Pull, SiteId([1; 16]));
    let document = || Message::Document(vec![0; 60_000]);
    let taken = (0..100).take_while(|_| !is_violation(&receive(&mut mesh, peer(3), document()))).count();
    assert_eq!(taken, limits.held_back_bytes_max / 60_000);
}

#[test]
fn small_numbers_on_the_wire_count_as_the_memory_that_they_take() {
    let pieces = vec![PieceIndex(1); 30_000];
    let have = Message::Have(crate::wire::Have { channel: 1, pieces });
    let mut frame = Vec::new();
    encode_control(&have, &mut frame);
    assert!(frame.len() < 31_000 && have.memory_bytes() > 120_000);
}

#[test]
fn a_member_lets_this_peer_in_with_its_first_word_and_a_stranger_never_does() {
    let mut mesh = Mesh::new(config(1, ServeMode::Pull), 1);
    let let_in = |actions: Vec<Action>| {
        actions.into_iter().filter(|action| matches!(action, Action::LetIn { .. })).count()
    };
    meet(&mut mesh, peer(2), ServeMode::Pull);
    assert_eq!(let_in(receive(&mut mesh, peer(2), Message::Goodbye(Goodbye::NotEnrolled))), 0);
    assert_eq!(let_in(receive(&mut mesh, peer(2), Message::Ping(1))), 1);
    assert_eq!(let_in(receive(&mut mesh, peer(2), Message::Ping(2))), 0);
    // What came before it was admitted counts once it is.
    greet(&mut mesh, peer(3), ServeMode::Pull, SiteId([1; 16]));
    assert_eq!(let_in(receive(&mut mesh, peer(3), Message::Ping(1))), 0);
    mesh.handle(Timestamp::ZERO, Input::Admitted { peer: peer(3), enrolled_device: true });
    assert_eq!(let_in(std::iter::from_fn(|| mesh.poll_action()).collect()), 1);
}

#[test]
fn a_stranger_is_dialled_when_it_becomes_a_member_and_a_member_that_turns_this_peer_away_is_dialled_again() {
    let second = |s: u64| Timestamp::from_millis(1000 * s);
    let dials = |mesh: &mut Mesh, now| {
        mesh.handle(now, Input::Timeout);
        let dials = std::iter::from_fn(|| mesh.poll_action()).filter_map(|action| match action {
            Action::Dial { peer, .. } => peer,
            _ => None,
        });
        dials.collect::<Vec<_>>()
    };
    let mut mesh = Mesh::new(config(1, ServeMode::Pull), 1);
    let come = |mesh: &mut Mesh, now| {
        let listen = vec!["/ip4/10.0.0.2/tcp/4810".into()];
        let hello = Hello { listen, ..hello_with(0, 0) };
        mesh.handle(now, Input::Connected { peer: peer(2) });
        mesh.handle(now, Input::Received { peer: peer(2), message: Message::Hello(hello) });
    };
    come(&mut mesh, second(0));
    mesh.handle(second(0), Input::Disconnected { peer: peer(2) });
    assert_eq!(dials(&mut mesh, second(60)), []);
    mesh.handle(second(60), Input::MayBeMember { peer: Some(peer(2)) });
    assert_eq!(dials(&mut mesh, second(61)), [peer(2)]);

    let mut mesh = Mesh::new(config(1, ServeMode::Pull), 1);
    come(&mut mesh, second(0));
    mesh.handle(second(0), Input::Admitted { peer: peer(2), enrolled_device: true });
    mesh.handle(second(0), Input::Disconnected { peer: peer(2) });
    assert_eq!(dials(&mut mesh, second(2)), [peer(2)]);
}

#[test]
fn a_content_that_others_would_not_take_is_named_and_waits_until_another_one_closes() {
    let mut mesh = Mesh::new(config(1, ServeMode::Pull), 1);
    let geometry = Geometry::new(131_072, 131_072).unwrap();
    let content = |number: usize| {
        let mut content = [0; 32];
        content[..8].copy_from_slice(&number.to_be_bytes());
        ContentHash(content)
    };
    let hand_in = |mesh: &mut Mesh, input| {
        mesh.handle(Timestamp::ZERO, input);
        let actions = std::iter::from_fn(|| mesh.poll_action());
        actions.filter(|action| matches!(action, Action::NotOpened { .. })).collect::<Vec<_>>()
    };
    let open = |mesh: &mut Mesh, number, have: PieceSet| {
        let (wanted, granted) = (!have.is_full(), PieceSet::empty(1));
        let content = content(number);
        hand_in(mesh, Input::SwarmOpened { content, geometry, have, wanted, granted })
    };
    let close = |mesh: &mut Mesh, number| hand_in(mesh, Input::SwarmClosed { content: content(number) });
    let have = |mesh: &Mesh, number| mesh.swarm_stats(&content(number)).map(|stats| stats.have);

    let max = Limits::default().channels_per_peer_max;
    assert!((0..max).all(|number| open(&mut mesh, number, PieceSet::empty(1)).is_empty()));
    for late in max..max + 3 {
        let named = open(&mut mesh, late, PieceSet::full(1));
        assert_eq!(named, [Action::NotOpened { content: content(late) }]);
        assert_eq!(have(&mesh, late), None);
    }
    close(&mut mesh, max);
    let pieces = vec![PieceIndex(0)];
    hand_in(&mut mesh, Input::PiecesLost { content: content(max + 1), pieces });
    assert!(close(&mut mesh, 0).is_empty(), "what still waits was named before");
    assert_eq!([0, max, max + 1, max + 2].map(|number| have(&mesh, number)), [None, None, Some(0), None]);
    close(&mut mesh, 1);
    assert_eq!(have(&mesh, max + 2), Some(1));
    // One that is opened anew keeps its place, whoever waits.
    open(&mut mesh, max + 3, PieceSet::empty(1));
    assert!(open(&mut mesh, 2, PieceSet::full(1)).is_empty());
    assert_eq!((have(&mesh, 2), have(&mesh, max + 3)), (Some(1), None));
}
