//! Whether neighbours can reach a peer: what is asked, what is answered, and what nobody can make another do.

use super::*;
use crate::wire::{FEATURE_PROBE, Probed};

/// A peer whose neighbours 2.. are members; those with an even number answer probes.
fn mesh_with(neighbours: usize) -> Mesh {
    let mut mesh = Mesh::new(config(1, ServeMode::Pull), 1);
    (2..2 + neighbours).for_each(|n| join(&mut mesh, n));
    drain(&mut mesh);
    mesh
}

fn join(mesh: &mut Mesh, n: usize) {
    let hello = Hello {
        version: crate::wire::PROTOCOL_VERSION,
        version_min: crate::wire::PROTOCOL_VERSION_MIN,
        features: if n.is_multiple_of(2) { vec![FEATURE_PROBE.into()] } else { vec![] },
        site: SiteId([1; 16]),
        agent: "test".into(),
        mode: ServeMode::Pull,
        enrollment: Vec::new(),
        listen: vec![format!("/ip4/10.0.0.{n}/tcp/4810")],
    };
    mesh.handle(Timestamp::ZERO, Input::Connected { peer: peer(n) });
    mesh.handle(Timestamp::ZERO, Input::Received { peer: peer(n), message: Message::Hello(hello) });
    mesh.handle(Timestamp::ZERO, Input::Admitted { peer: peer(n), enrolled_device: true });
}

fn drain(mesh: &mut Mesh) -> Vec<Action> {
    std::iter::from_fn(|| mesh.poll_action()).collect()
}

fn tell(mesh: &mut Mesh, at: u64, input: Input) -> Vec<Action> {
    mesh.handle(Timestamp::ZERO + Duration::from_millis(at), input);
    drain(mesh)
}

/// Whom a peer asks, with which nonce.
fn asked(actions: &[Action]) -> Vec<(PeerId, u64)> {
    let probe = |action: &Action| match action {
        Action::Send { peer, message: Message::Probe(nonce) } => Some((*peer, *nonce)),
        _ => None,
    };
    actions.iter().filter_map(probe).collect()
}

fn reached(actions: &[Action]) -> Option<(u32, u32)> {
    actions.iter().find_map(|action| match action {
        Action::Reached { asked, reached } => Some((*asked, *reached)),
        _ => None,
    })
}

fn answer(from: PeerId, nonce: u64, reached: bool) -> Input {
    Input::Received { peer: from, message: Message::Probed(Probed { nonce, reached }) }
}

fn probe(from: usize, nonce: u64) -> Input {
    Input::Received { peer: peer(from), message: Message::Probe(nonce) }
}

#[test]
fn a_peer_asks_a_few_that_answer_probes_and_hears_as_soon_as_enough_reached_it() {
    let mut mesh = mesh_with(20);
    let questions = asked(&tell(&mut mesh, 0, Input::AskReach { at_least: 2 }));
    assert_eq!(questions.len(), 4);
    assert!(questions.iter().all(|(peer, _)| peer.0[0] % 2 == 0), "{questions:?}");
    let nonce = questions[0].1;
    assert_eq!(reached(&tell(&mut mesh, 100, answer(questions[0].0, nonce, true))), None);
    // Neither a second answer, nor one with another nonce, nor one of a peer that was not asked counts.
    for (from, nonce) in [(questions[0].0, nonce), (questions[1].0, nonce ^ 1), (peer(3), nonce)] {
        assert_eq!(reached(&tell(&mut mesh, 200, answer(from, nonce, true))), None);
    }
    assert_eq!(reached(&tell(&mut mesh, 300, answer(questions[1].0, nonce, false))), None);
    assert_eq!(reached(&tell(&mut mesh, 400, answer(questions[2].0, nonce, true))), Some((4, 2)));
    // What is late is no news.
    assert_eq!(reached(&tell(&mut mesh, 500, answer(questions[3].0, nonce, true))), None);
}

#[test]
fn an_answer_that_does_not_come_is_waited_for_eight_seconds_and_a_neighbour_that_goes_not_at_all() {
    let mut mesh = mesh_with(2);
    let questions = asked(&tell(&mut mesh, 0, Input::AskReach { at_least: 1 }));
    assert_eq!(questions.len(), 1);
    assert!(mesh.poll_timeout().unwrap() <= Timestamp::ZERO + Duration::from_secs(8));
    assert_eq!(reached(&tell(&mut mesh, 7_900, Input::Timeout)), None);
    assert_eq!(reached(&tell(&mut mesh, 8_000, Input::Timeout)), Some((1, 0)));

    assert_eq!(asked(&tell(&mut mesh, 8_001, Input::AskReach { at_least: 1 })).len(), 1);
    assert_eq!(reached(&tell(&mut mesh, 8_100, Input::Disconnected { peer: peer(2) })), Some((1, 0)));
    assert_eq!(reached(&tell(&mut mesh, 20_000, Input::AskReach { at_least: 1 })), Some((0, 0)));
}

#[test]
fn whoever_asks_again_too_soon_hears_the_last_answer() {
    let mut mesh = mesh_with(2);
    let [(from, nonce)] = asked(&tell(&mut mesh, 0, Input::AskReach { at_least: 1 }))[..] else { panic!() };
    assert_eq!(asked(&tell(&mut mesh, 10, Input::AskReach { at_least: 1 })), []);
    assert_eq!(reached(&tell(&mut mesh, 20, answer(from, nonce, true))), Some((1, 1)));
    let again = tell(&mut mesh, 4_900, Input::AskReach { at_least: 1 });
    assert_eq!((asked(&again), reached(&again)), (vec![], Some((1, 1))));
    assert_eq!(asked(&tell(&mut mesh, 5_000, Input::AskReach { at_least: 1 })).len(), 1);
}

#[test]
fn a_neighbour_is_dialled_only_where_it_listens_and_once_in_a_while_and_few_at_a_time() {
    let mut mesh = mesh_with(20);
    let probes = |actions: &[Action]| {
        let is = |action: &&Action| matches!(action, Action::Probe { .. });
        actions.iter().filter(is).count()
    };
    let dialled = tell(&mut mesh, 0, probe(2, 7));
    let expected = Action::Probe { peer: peer(2), addresses: vec!["/ip4/10.0.0.2/tcp/4810".into()] };
    assert!(dialled.contains(&expected), "{dialled:?}");
    assert_eq!(probes(&tell(&mut mesh, 10, probe(2, 8))), 0, "one at a time");
    let told = tell(&mut mesh, 20, Input::Probed { peer: peer(2), reached: true });
    let answer = Message::Probed(Probed { nonce: 7, reached: true });
    assert!(told.contains(&Action::Send { peer: peer(2), message: answer }), "{told:?}");
    assert_eq!(probes(&tell(&mut mesh, 3_900, probe(2, 9))), 0, "one in a while");
    // Going and coming back changes nothing.
    tell(&mut mesh, 3_910, Input::Disconnected { peer: peer(2) });
    join(&mut mesh, 2);
    assert_eq!(probes(&tell(&mut mesh, 3_920, probe(2, 9))), 0);
    assert_eq!(probes(&tell(&mut mesh, 4_100, probe(2, 10))), 1);
    let many: usize = (3..20).map(|n| probes(&tell(&mut mesh, 4_200, probe(n, 1)))).sum();
    assert_eq!(many, 7, "with the one that is under way");
    // One that went needs no answer.
    tell(&mut mesh, 4_300, Input::Disconnected { peer: peer(2) });
    assert_eq!(tell(&mut mesh, 4_400, Input::Probed { peer: peer(2), reached: true }), []);
}
