//! A peer made by hand: our wire protocol on a bare libp2p connection, so that every rule of it can be broken.
//!
//! The connection is authenticated as any other; the four streams are agreed on as `docs/PROTOCOL.md` says. What is
//! written on them is the story's own affair.

use super::{Device, Site};
use futures::io::{AsyncReadExt as _, AsyncWriteExt as _};
use libp2p::core::muxing::{StreamMuxerBox, StreamMuxerExt as _, SubstreamBox};
use libp2p::core::transport::{Boxed, DialOpts, PortUse};
use libp2p::core::{Endpoint, Transport as _, upgrade::Version};
use libp2p::{identity::Keypair, noise, tcp, yamux};
use samara_protocol::id::SiteId;
use samara_protocol::trust::Trust;
use samara_protocol::wire::codec::{decode_control, encode_control, encode_data_header};
use samara_protocol::wire::{DataHeader, Hello, Message, PROTOCOL_VERSION, ServeMode};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

const CONTROL: &str = "/samara/control/1";
const DATA: &str = "/samara/data/1";
/// How long a connection may take to have its streams before it counts as refused.
const DIAL_MAX: Duration = Duration::from_secs(10);

/// Where hostile peers live; one core is enough for them, the devices need the other.
pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Who a hostile peer is and what it shows.
#[derive(Clone)]
pub struct Identity {
    pub secret: [u8; 32],
    pub site: SiteId,
    pub enrollment: Vec<u8>,
}

impl Identity {
    /// A device that was enrolled and is not running: its key in somebody else's hands.
    pub fn stolen(site: &Site, device: &Device) -> Self {
        let enrollment = std::fs::read(device.dir.join("enrollment.json")).unwrap();
        Self { secret: device.secret(), site: site_id(site), enrollment }
    }

    /// A key that nobody knows.
    pub fn stranger(site: &Site, number: u8) -> Self {
        Self { secret: [number; 32], site: site_id(site), enrollment: Vec::new() }
    }

    pub fn hello(&self, mode: ServeMode) -> Message {
        Message::Hello(Hello {
            version: PROTOCOL_VERSION,
            version_min: PROTOCOL_VERSION,
            features: Vec::new(),
            site: self.site,
            agent: "hostile".into(),
            mode,
            enrollment: self.enrollment.clone(),
            listen: Vec::new(),
        })
    }
}

fn site_id(site: &Site) -> SiteId {
    Trust::pin(&std::fs::read(site.dir().join("trust-root.json")).unwrap()).unwrap().site()
}

/// A connection with its four streams.
pub struct Wire {
    pub control_out: SubstreamBox,
    pub data_out: SubstreamBox,
    /// Never read by itself: a peer that does not take its answers.
    pub data_in: SubstreamBox,
    control_in: Option<SubstreamBox>,
    heard: Vec<u8>,
    muxer: tokio::task::JoinHandle<()>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.muxer.abort();
    }
}

impl Wire {
    /// Dials; an error when the other side does not open its streams, as a peer that it refuses will see.
    pub async fn dial(secret: [u8; 32], address: &str) -> io::Result<Self> {
        let opened = tokio::time::timeout(DIAL_MAX, Self::open(secret, address)).await;
        opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn open(secret: [u8; 32], address: &str) -> io::Result<Self> {
        let mut muxer = connect(secret, address).await?;
        let [control_out, data_out] = [outbound(&mut muxer).await?, outbound(&mut muxer).await?];
        let (inbound, mut agreed) = mpsc::channel(4);
        let muxer = tokio::spawn(drive(muxer, inbound));
        let guard = Guard(Some(muxer));
        let control_out = propose(control_out, CONTROL).await?;
        let data_out = propose(data_out, DATA).await?;
        let (mut control_in, mut data_in) = (None, None);
        while control_in.is_none() || data_in.is_none() {
            match agreed.recv().await.ok_or(io::ErrorKind::UnexpectedEof)? {
                (stream, CONTROL) => control_in = Some(stream),
                (stream, _) => data_in = Some(stream),
            }
        }
        let data_in = data_in.expect("both are there");
        Ok(Self { control_out, data_out, data_in, control_in, heard: Vec::new(), muxer: guard.keep() })
    }

    pub async fn say(&mut self, message: &Message) -> io::Result<()> {
        let mut bytes = Vec::new();
        encode_control(message, &mut bytes);
        self.say_bytes(&bytes).await
    }

    /// Bytes on the control stream, frame or not.
    pub async fn say_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.control_out.write_all(bytes).await?;
        self.control_out.flush().await
    }

    /// A data frame.
    pub async fn send(&mut self, header: DataHeader, bao: &[u8]) -> io::Result<()> {
        self.data_out.write_all(&encode_data_header(&header, bao.len())).await?;
        self.data_out.write_all(bao).await?;
        self.data_out.flush().await
    }

    /// The next control message.
    pub async fn hear(&mut self) -> io::Result<Message> {
        loop {
            let malformed = |_| io::Error::from(io::ErrorKind::InvalidData);
            if let Some((message, took)) = decode_control(&self.heard).map_err(malformed)? {
                self.heard.drain(..took);
                return Ok(message);
            }
            let mut chunk = [0; 4096];
            let control_in = self.control_in.as_mut().ok_or(io::ErrorKind::UnexpectedEof)?;
            match control_in.read(&mut chunk).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => self.heard.extend_from_slice(&chunk[..n]),
            }
        }
    }

    /// Takes and forgets what is said from now on, and holds still for `hear`.
    pub fn ignore_answers(&mut self) {
        let Some(mut control_in) = self.control_in.take() else { return };
        tokio::spawn(async move {
            let mut chunk = vec![0; 1 << 16];
            while matches!(control_in.read(&mut chunk).await, Ok(n) if n > 0) {}
        });
    }

    /// Ready once the other side has ended the connection; what it says until then is taken and forgotten.
    pub async fn wait_closed(&mut self) {
        while self.hear().await.is_ok() {}
    }
}

/// Ends the muxer's task unless the connection came to be.
struct Guard(Option<tokio::task::JoinHandle<()>>);

impl Guard {
    fn keep(mut self) -> tokio::task::JoinHandle<()> {
        self.0.take().expect("kept once")
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// An authenticated connection without any stream.
pub async fn connect(secret: [u8; 32], address: &str) -> io::Result<StreamMuxerBox> {
    let keypair = Keypair::ed25519_from_bytes(secret).map_err(io::Error::other)?;
    let mut transport: Boxed<(libp2p::PeerId, StreamMuxerBox)> =
        tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
            .upgrade(Version::V1)
            .authenticate(noise::Config::new(&keypair).map_err(io::Error::other)?)
            .multiplex(yamux::Config::default())
            .boxed();
    let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
    let address = address.parse().map_err(io::Error::other)?;
    Ok(transport.dial(address, options).map_err(io::Error::other)?.await?.1)
}

async fn outbound(muxer: &mut StreamMuxerBox) -> io::Result<SubstreamBox> {
    poll_fn(|context| muxer.poll_outbound_unpin(context)).await
}

/// Keeps the connection moving, and agrees on the streams that the other side opens.
async fn drive(mut muxer: StreamMuxerBox, agreed: mpsc::Sender<(SubstreamBox, &'static str)>) {
    let mut fresh = VecDeque::new();
    let ended = poll_fn(|context| {
        while let Poll::Ready(inbound) = muxer.poll_inbound_unpin(context) {
            match inbound {
                Ok(stream) => fresh.push_back(stream),
                Err(_) => return Poll::Ready(()),
            }
        }
        while let Some(stream) = fresh.pop_front() {
            let agreed = agreed.clone();
            tokio::spawn(async move {
                if let Ok(known) = accept(stream).await {
                    let _ = agreed.send(known).await;
                }
            });
        }
        match muxer.poll_unpin(context) {
            Poll::Ready(Err(_)) => Poll::Ready(()),
            _ => Poll::Pending,
        }
    });
    ended.await;
}

const MULTISTREAM: &str = "/multistream/1.0.0";

async fn propose(mut stream: SubstreamBox, protocol: &str) -> io::Result<SubstreamBox> {
    stream.write_all(&[line(MULTISTREAM), line(protocol)].concat()).await?;
    stream.flush().await?;
    let answers = [read_line(&mut stream).await?, read_line(&mut stream).await?];
    if answers == [MULTISTREAM, protocol] { Ok(stream) } else { Err(io::ErrorKind::Unsupported.into()) }
}

async fn accept(mut stream: SubstreamBox) -> io::Result<(SubstreamBox, &'static str)> {
    read_line(&mut stream).await?;
    stream.write_all(&line(MULTISTREAM)).await?;
    loop {
        let proposed = read_line(&mut stream).await?;
        let known = [CONTROL, DATA].into_iter().find(|known| *known == proposed);
        stream.write_all(&line(known.unwrap_or("na"))).await?;
        stream.flush().await?;
        if let Some(known) = known {
            return Ok((stream, known));
        }
    }
}

/// A line of multistream-select: its length, itself, a newline.
fn line(text: &str) -> Vec<u8> {
    [&[text.len() as u8 + 1], text.as_bytes(), b"\n"].concat()
}

async fn read_line(stream: &mut SubstreamBox) -> io::Result<String> {
    let mut length = [0];
    stream.read_exact(&mut length).await?;
    let mut text = vec![0; usize::from(length[0])];
    stream.read_exact(&mut text).await?;
    Ok(String::from_utf8_lossy(&text).trim_end().to_owned())
}
