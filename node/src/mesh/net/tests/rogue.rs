//! A peer that authenticates and then does what it likes: raw streams on a real connection.

use crate::mesh::net::address;
use crate::mesh::net::connections::transport;
use futures::io::{AsyncReadExt as _, AsyncWriteExt as _};
use libp2p::core::Endpoint;
use libp2p::core::muxing::{StreamMuxerBox, StreamMuxerExt as _, SubstreamBox};
use libp2p::core::transport::{DialOpts, PortUse, Transport as _};
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;
use tokio::task::AbortHandle;

const HEADER: &str = "/multistream/1.0.0";

/// The peer. It agrees to every stream that is opened to it, and never reads what comes.
pub struct Rogue {
    muxer: Arc<Mutex<StreamMuxerBox>>,
    driving: AbortHandle,
    control: Option<SubstreamBox>,
    data: Option<SubstreamBox>,
}

impl Drop for Rogue {
    fn drop(&mut self) {
        self.driving.abort();
    }
}

impl Rogue {
    /// Connects, and opens its two streams.
    pub async fn connect(secret: u8, to: &str) -> Self {
        Self::try_connect(secret, to).await.expect("it is let in")
    }

    /// As `connect`; `None` when it is turned away.
    pub async fn try_connect(secret: u8, to: &str) -> Option<Self> {
        let mut transport = transport(&address::keypair([secret; 32]).unwrap()).unwrap();
        let port_use = PortUse::New;
        let dial =
            transport.dial(to.parse().unwrap(), DialOpts { role: Endpoint::Dialer, port_use }).unwrap();
        let (_, muxer) = dial.await.ok()?;
        let muxer = Arc::new(Mutex::new(muxer));
        let driven = muxer.clone();
        let driving = tokio::spawn(async move {
            // Held so that they stay open.
            let mut held = Vec::new();
            // A stream that another task opened is noticed when the muxer is polled next.
            let mut tick = tokio::time::interval(Duration::from_millis(2));
            loop {
                let next = poll_fn(|cx| {
                    while tick.poll_tick(cx).is_ready() {}
                    let mut muxer = driven.lock().unwrap();
                    if let Poll::Ready(Err(_)) = muxer.poll_unpin(cx) {
                        return Poll::Ready(None);
                    }
                    muxer.poll_inbound_unpin(cx).map(Result::ok)
                })
                .await;
                let Some(mut stream) = next else { return };
                held.push(tokio::spawn(async move {
                    let name = agree(&mut stream).await;
                    std::future::pending::<()>().await;
                    drop((stream, name));
                }));
            }
        });
        let driving = driving.abort_handle();
        let mut rogue = Self { muxer, driving, control: None, data: None };
        rogue.control = Some(rogue.try_open("/samara/control/1").await?);
        rogue.data = Some(rogue.try_open("/samara/data/1").await?);
        Some(rogue)
    }

    /// Opens a stream; whether it is agreed to does not matter.
    pub async fn open(&mut self, protocol: &str) {
        let _ = tokio::time::timeout(Duration::from_millis(200), self.try_open(protocol)).await;
    }

    async fn try_open(&mut self, protocol: &str) -> Option<SubstreamBox> {
        let opened = poll_fn(|cx| self.muxer.lock().unwrap().poll_outbound_unpin(cx));
        let mut stream = opened.await.ok()?;
        stream.write_all(&[line(HEADER), line(protocol)].concat()).await.ok()?;
        stream.flush().await.ok()?;
        read_line(&mut stream).await?;
        (read_line(&mut stream).await? == protocol).then_some(stream)
    }

    /// Sends bytes on the data stream.
    pub async fn send_data(&mut self, bytes: &[u8]) {
        let stream = self.data.as_mut().unwrap();
        let _ = stream.write_all(bytes).await;
        let _ = stream.flush().await;
    }

    /// Sends bytes on the control stream.
    pub async fn send_control(&mut self, bytes: &[u8]) {
        let stream = self.control.as_mut().unwrap();
        let _ = stream.write_all(bytes).await;
        let _ = stream.flush().await;
    }

    /// Closes the TCP connection.
    pub fn end(self) {}
}

/// A line of the negotiation.
fn line(text: &str) -> Vec<u8> {
    let mut line = vec![text.len() as u8 + 1];
    line.extend(text.as_bytes());
    line.push(b'\n');
    line
}

async fn read_line(stream: &mut SubstreamBox) -> Option<String> {
    let mut length = [0];
    stream.read_exact(&mut length).await.ok()?;
    let mut text = vec![0; length[0].into()];
    stream.read_exact(&mut text).await.ok()?;
    String::from_utf8(text).ok().map(|text| text.trim_end().to_owned())
}

/// Agrees to what the other side proposes.
async fn agree(stream: &mut SubstreamBox) -> Option<()> {
    read_line(stream).await?;
    let protocol = read_line(stream).await?;
    stream.write_all(&[line(HEADER), line(&protocol)].concat()).await.ok()?;
    stream.flush().await.ok()
}
