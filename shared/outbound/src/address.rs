//! An address that somebody wrote into a policy.

use std::fmt;

use url::{Host, Url};

use crate::host::bare;

/// The longest address, in bytes.
const MAX_BYTES: usize = 8 << 10;

/// How it is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Https,
    Http,
}

impl Scheme {
    /// The port that it has by itself.
    pub(crate) const fn port(self) -> u16 {
        match self {
            Self::Https => 443,
            Self::Http => 80,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
        }
    }
}

/// An address that can be called, if the operator allows its host. `Display` and `Debug` show scheme, host and port alone: the path of a
/// webhook is often a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    url: Url,
    host: Host<String>,
    scheme: Scheme,
    port: u16,
}

/// A text is no address that can be called. The address is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the address {0}")]
pub struct InvalidAddress(&'static str);

impl InvalidAddress {
    /// Only the parts of an address together show that it can't be asked.
    pub(crate) const UNUSABLE: Self = Self("can't be asked for over HTTP; write it as https://host/path");
}

impl Address {
    /// Reads an address as browsers do (<https://url.spec.whatwg.org>): `0x7f.1` is `127.0.0.1` here, too.
    ///
    /// # Errors
    /// When it is no address of https or http, has a user or a password, or is longer than 8 KiB.
    pub fn parse(text: &str) -> Result<Self, InvalidAddress> {
        if text.len() > MAX_BYTES {
            return Err(InvalidAddress("is longer than 8 KiB"));
        }
        let url = Url::parse(text)
            .map_err(|_odd| InvalidAddress("can't be read; write it as https://host/path"))?;
        let scheme = match url.scheme() {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            _ => return Err(InvalidAddress("is neither one of https nor of http")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidAddress("has a user or a password in it; take them out"));
        }
        let host = match url.host() {
            Some(Host::Domain(name)) if !bare(name).is_empty() => Host::Domain(name.to_owned()),
            Some(Host::Ipv4(address)) => Host::Ipv4(address),
            Some(Host::Ipv6(address)) => Host::Ipv6(address),
            _ => return Err(InvalidAddress("has no host")),
        };
        let port = url.port().unwrap_or_else(|| scheme.port());
        if port == 0 {
            return Err(InvalidAddress("has the port 0, where nobody listens"));
        }
        let address = Self {
            url,
            host,
            scheme,
            port,
        };
        if address
            .path_and_query()
            .parse::<http::uri::PathAndQuery>()
            .is_err()
        {
            return Err(InvalidAddress(
                "has characters in its path that have to be percent-encoded",
            ));
        }
        Ok(address)
    }

    pub(crate) const fn host(&self) -> &Host<String> {
        &self.host
    }

    pub(crate) const fn scheme(&self) -> Scheme {
        self.scheme
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// What is asked of the host. A fragment stays here.
    pub(crate) fn path_and_query(&self) -> String {
        match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()),
            None => self.url.path().to_owned(),
        }
    }

    /// The `Host` header: the host, and the port where it is not that of the scheme.
    pub(crate) fn authority(&self) -> String {
        let host = match &self.host {
            Host::Domain(name) => bare(name).to_owned(),
            other => other.to_string(),
        };
        if self.port == self.scheme.port() {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }

    /// As the operator would list it: `hooks.example.com`, `http://prometheus:9090`.
    pub(crate) fn pattern(&self) -> String {
        match self.scheme {
            Scheme::Https => self.authority(),
            Scheme::Http => format!("http://{}", self.authority()),
        }
    }

    /// The same address with more segments of a path behind its own.
    pub(crate) fn join(&self, path: &str) -> Self {
        let mut url = self.url.clone();
        let before = url.path().trim_end_matches('/');
        if !before.ends_with(path) {
            let joined = format!("{before}{path}");
            url.set_path(&joined);
        }
        Self { url, ..self.clone() }
    }

    /// The same address with one more field in its query.
    pub(crate) fn with_field(&self, name: &str, value: &str) -> Self {
        let mut url = self.url.clone();
        url.query_pairs_mut().append_pair(name, value);
        Self { url, ..self.clone() }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.authority())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_neither_its_path_nor_its_query() {
        let address = Address::parse("https://Hooks.example.com:8443/T0/secret?token=secret#x").unwrap();
        assert_eq!(address.to_string(), "https://hooks.example.com:8443");
        assert_eq!(format!("{address:?}"), "Address(https://hooks.example.com:8443)");
        assert_eq!(address.path_and_query(), "/T0/secret?token=secret");
        assert_eq!(address.authority(), "hooks.example.com:8443");
    }

    #[test]
    fn odd_spellings_of_an_ipv4_address_are_that_address() {
        for text in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://0x7f.1/",
            "http://127.0.0.1./",
            "http://１２７.0.0.1/",
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!(
                *address.host(),
                Host::<String>::Ipv4([127, 0, 0, 1].into()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_can_not_be_called_is_refused_without_being_repeated() {
        for text in [
            "",
            "secret",
            "/secret",
            "ftp://secret/",
            "file:///secret",
            "https://",
            "https://u:secret@h/",
            "https://secret@h/",
            "https://h:0/secret",
            "https://h:99999/secret",
            "javascript:secret",
            "unix:/secret",
            "https://./secret",
        ] {
            let refused = Address::parse(text).unwrap_err().to_string();
            assert!(!refused.contains("secret"), "{text}: {refused}");
        }
        assert!(Address::parse(&format!("https://h/{}", "a".repeat(9000))).is_err());
    }

    #[test]
    fn a_path_and_a_query_are_added() {
        let prometheus = |text: &str| {
            let address = Address::parse(text)
                .unwrap()
                .join("/api/v1/query")
                .with_field("query", "a{b=\"c\"} > 1");
            address.path_and_query()
        };
        let query = "query=a%7Bb%3D%22c%22%7D+%3E+1";
        assert_eq!(prometheus("https://p"), format!("/api/v1/query?{query}"));
        assert_eq!(
            prometheus("https://p/prefix/"),
            format!("/prefix/api/v1/query?{query}")
        );
        assert_eq!(
            prometheus("https://p/api/v1/query"),
            format!("/api/v1/query?{query}")
        );
        assert_eq!(
            prometheus("https://p/?dedup=true"),
            format!("/api/v1/query?dedup=true&{query}")
        );
    }
}
