//! Where a process of a service is.

use std::{fmt, str::FromStr};

use axum::http::{
    Uri,
    uri::{self, Authority, PathAndQuery, Scheme},
};

/// Where a process of a service is: `http://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(Authority);

/// It is not `http://host:port`.
#[derive(Clone, Debug, thiserror::Error)]
#[error("it is not http://host:port")]
pub struct NotAnAddress;

impl Address {
    /// What is asked for there.
    pub(super) fn uri(&self, target: PathAndQuery) -> Uri {
        let mut parts = uri::Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.0.clone());
        parts.path_and_query = Some(target);
        // With all three there it always has a form.
        Uri::from_parts(parts).unwrap_or_default()
    }
}

impl FromStr for Address {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let uri = text.parse::<Uri>().map_err(|_| NotAnAddress)?;
        let plain = uri.scheme() == Some(&Scheme::HTTP)
            && uri.path() == "/"
            && uri.query().is_none()
            && uri.port().is_some();
        let authority = uri.authority().filter(|authority| {
            // Who is asked stands in a file of keys, never in an address.
            plain && !authority.as_str().contains('@')
        });
        Ok(Self(authority.ok_or(NotAnAddress)?.clone()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_address_is_one() {
        let address: Address = "http://orders:7183".parse().unwrap();
        assert_eq!(address.to_string(), "http://orders:7183");
        assert!("http://127.0.0.1:7183/".parse::<Address>().is_ok());
        assert!("http://[::1]:7183".parse::<Address>().is_ok());
        for wrong in [
            "",
            "orders:7183",
            "https://orders:7183",
            "http://orders",
            "http://orders:7183/v1",
            "http://orders:7183?x",
            "http://key@orders:7183",
        ] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }
}
