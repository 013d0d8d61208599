//! Addresses of the device itself, by which a health check asks it.

use super::{DocumentError, check_name};

// The device is asked about itself, never whether it can reach anything else.
pub(super) fn check_loopback(field: &'static str, address: &str) -> Result<(), DocumentError> {
    let parsed = address.parse::<std::net::SocketAddr>();
    match parsed {
        Ok(address) if address.ip().is_loopback() && address.port() != 0 => Ok(()),
        _ => {
            let problem = format!("{address:?} is no loopback address with a port, such as 127.0.0.1:8080");
            Err(DocumentError::field(field, problem))
        }
    }
}

pub(super) fn check_url(url: &str) -> Result<(), DocumentError> {
    const FIELD: &str = "health.checks.url";
    check_name(FIELD, url)?;
    let Some(rest) = url.strip_prefix("http://") else {
        return Err(DocumentError::field(FIELD, format!("{url:?} does not begin with http://")));
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    check_loopback(FIELD, authority)
}
