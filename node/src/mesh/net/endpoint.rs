//! Addresses that people write: where to listen and whom to dial. What the transport cannot use is refused here, with
//! what was expected, so that no address is ever dropped in silence.

use super::address;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use serde::Deserialize;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An address to listen on: `/ip4/0.0.0.0/tcp/4810`; port 0 is any free one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ListenAddress(Multiaddr);

/// An address to dial: `/ip4/10.0.0.7/tcp/4810`, with `/p2p/` and an id if it must be that peer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct DialAddress(Multiaddr);

/// Why a text is no address of one of the two kinds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?}: {problem}; expected {expected}")]
pub struct AddressError {
    text: String,
    problem: String,
    expected: &'static str,
}

const LISTEN_EXPECTED: &str = "an address to listen on such as /ip4/0.0.0.0/tcp/4810 or /ip6/::/tcp/4810";
const DIAL_EXPECTED: &str =
    "an address to dial such as /ip4/10.0.0.7/tcp/4810 or /ip6/fd00::7/tcp/4810, with or without /p2p/ID";

impl ListenAddress {
    pub(super) fn multiaddr(&self) -> &Multiaddr {
        &self.0
    }

    /// The interface's address.
    pub fn ip(&self) -> Option<IpAddr> {
        address::ip_of(&self.0)
    }
}

impl FromStr for ListenAddress {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let refuse = |problem: String| AddressError { text: text.into(), problem, expected: LISTEN_EXPECTED };
        let (address, rest) = parse(text).map_err(refuse)?;
        match rest.first() {
            None => Ok(Self(address)),
            Some(part) => Err(refuse(format!("{} has no place in it", part.tag()))),
        }
    }
}

impl FromStr for DialAddress {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let refuse = |problem: String| AddressError { text: text.into(), problem, expected: DIAL_EXPECTED };
        let (address, rest) = parse(text).map_err(refuse)?;
        let ip = address::ip_of(&address);
        if address.iter().any(|part| part == Protocol::Tcp(0)) || ip.is_some_and(|ip| ip.is_unspecified()) {
            return Err(refuse("nobody can be reached at it".into()));
        }
        match rest.as_slice() {
            [] => Ok(Self(address)),
            [Protocol::P2p(peer)] if address::from_libp2p(peer).is_some() => Ok(Self(address)),
            [Protocol::P2p(_)] => Err(refuse("the id behind /p2p is not that of an Ed25519 key".into())),
            [part, ..] => Err(refuse(format!("{} has no place in it", part.tag()))),
        }
    }
}

/// An IP address and a TCP port, and what follows them.
fn parse(text: &str) -> Result<(Multiaddr, Vec<Protocol<'static>>), String> {
    let address: Multiaddr = text.parse().map_err(|e: libp2p::multiaddr::Error| e.to_string())?;
    let mut parts = address.iter().map(Protocol::acquire);
    match parts.next() {
        Some(Protocol::Ip4(_) | Protocol::Ip6(_)) => {}
        Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_)) => {
            return Err("names are not looked up".into());
        }
        Some(part) => return Err(format!("it begins with {}", part.tag())),
        None => return Err("it is empty".into()),
    }
    match parts.next() {
        Some(Protocol::Tcp(_)) => {}
        Some(part) => return Err(format!("{} where a TCP port belongs", part.tag())),
        None => return Err("it has no TCP port".into()),
    }
    let rest = parts.collect();
    Ok((address, rest))
}

macro_rules! through_text {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = AddressError;
            fn try_from(text: String) -> Result<Self, AddressError> {
                text.parse()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}
through_text!(ListenAddress);
through_text!(DialAddress);

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";

    fn listen(text: &str) -> Result<String, String> {
        text.parse::<ListenAddress>().map(|a| a.to_string()).map_err(|e| e.to_string())
    }

    fn dial(text: &str) -> Result<String, String> {
        text.parse::<DialAddress>().map(|a| a.to_string()).map_err(|e| e.to_string())
    }

    #[test]
    fn what_can_be_listened_on_and_dialled_survives_text() {
        for text in ["/ip4/0.0.0.0/tcp/4810", "/ip4/127.0.0.1/tcp/0", "/ip6/::/tcp/4810"] {
            assert_eq!(listen(text).as_deref(), Ok(text));
        }
        for text in ["/ip4/10.0.0.7/tcp/4810", "/ip6/fd00::7/tcp/1", &format!("/ip4/10.0.0.7/tcp/1/p2p/{ID}")]
        {
            assert_eq!(dial(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn what_cannot_be_used_is_named_with_what_was_expected() {
        for (text, words) in [
            ("", "empty"),
            ("foo", "foo"),
            ("10.0.0.7:4810", "10.0.0.7:4810"),
            ("/ip4/10.0.0.7", "no TCP port"),
            ("/ip4/10.0.0.999/tcp/1", "10.0.0.999"),
            ("/ip4/10.0.0.7/tcp/99999", "99999"),
            ("/ip4/10.0.0.7/udp/4810", "udp where a TCP port belongs"),
            ("/ip4/10.0.0.7/tcp/4810/ws", "ws has no place"),
            ("/dns4/laptop/tcp/4810", "names are not looked up"),
            ("/memory/7", "begins with memory"),
        ] {
            for (error, example) in [(listen(text), "/ip4/0.0.0.0/tcp/4810"), (dial(text), "/p2p/ID")] {
                let error = error.unwrap_err();
                assert!(error.contains(words) && error.contains(example), "{words:?} is not in {error}");
            }
        }
        assert!(
            listen(&format!("/ip4/10.0.0.7/tcp/4810/p2p/{ID}")).unwrap_err().contains("p2p has no place")
        );
        for text in ["/ip4/10.0.0.7/tcp/0", "/ip4/0.0.0.0/tcp/4810"] {
            assert!(dial(text).unwrap_err().contains("nobody can be reached"));
        }
        let rsa = "/ip4/10.0.0.7/tcp/1/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";
        assert!(dial(rsa).unwrap_err().contains("Ed25519"));
    }
}
