//! Parting from a peer: after the last words, from one connection only, and not when it is called off.

use super::*;

const STRANGER: Refuse = Refuse::Stranger(Duration::from_secs(600));
const LAST_WORDS: Duration = Duration::from_millis(200);

async fn connected() -> (Node, Node) {
    let (mut a, mut b) = (Node::start(1).await, Node::start(2).await);
    a.net.dial(None, vec![b.address.clone()]);
    assert_eq!((a.until_connected().await, b.until_connected().await), (b.me, a.me));
    (a, b)
}

#[tokio::test]
async fn last_words_arrive_and_who_was_parted_from_comes_again_only_when_it_is_forgiven() {
    let (a, mut b) = connected().await;
    a.net.send_control(b.me, Message::Ping(7));
    a.net.part(b.me, STRANGER, LAST_WORDS).unwrap();
    assert_eq!(b.until_ping().await, 7);
    assert_eq!(b.until_disconnected().await, a.me);
    b.net.dial(None, vec![a.address.clone()]);
    let events = b.linger(LAST_WORDS * 2).await;
    assert!(!events.iter().any(|event| matches!(event, NetEvent::Connected { .. })), "{events:?}");
    a.net.forgive(Some(b.me));
    b.net.dial(None, vec![a.address.clone()]);
    assert_eq!(b.until_connected().await, a.me);
}

#[tokio::test]
async fn a_parting_that_is_called_off_leaves_the_connection_as_it_was() {
    let (mut a, mut b) = connected().await;
    a.net.part(b.me, STRANGER, LAST_WORDS).unwrap().abort();
    a.net.forgive(Some(b.me));
    let events = a.linger(LAST_WORDS * 2).await;
    assert!(!events.iter().any(|event| matches!(event, NetEvent::Disconnected { .. })), "{events:?}");
    a.net.send_control(b.me, Message::Ping(8));
    assert_eq!(b.until_ping().await, 8);
}

#[tokio::test]
async fn a_parting_does_not_end_the_connection_that_came_after_its_own() {
    let (mut a, mut b) = connected().await;
    a.net.part(b.me, STRANGER, LAST_WORDS).unwrap();
    a.net.forgive(Some(b.me));
    b.net.disconnect(a.me, None);
    assert_eq!((a.until_disconnected().await, b.until_disconnected().await), (b.me, a.me));
    b.net.dial(None, vec![a.address.clone()]);
    assert_eq!((a.until_connected().await, b.until_connected().await), (b.me, a.me));
    let events = a.linger(LAST_WORDS * 2).await;
    assert!(!events.iter().any(|event| matches!(event, NetEvent::Disconnected { .. })), "{events:?}");
}
