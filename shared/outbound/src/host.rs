//! Which hosts may be called: `hooks.example.com`, `*.example.com`, `http://prometheus.monitoring:9090`.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use url::Host;

use crate::address::{Address, Scheme};

/// Hosts that may be called: scheme, host, port.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct HostPattern {
    scheme: Scheme,
    host: Hosts,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    /// This one alone.
    Exact(Host<String>),
    /// All below it, at any depth, but not itself. Without the dot.
    Below(String),
}

/// A text names no host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} names no host: {problem}; write hooks.example.com, *.example.com or hooks.example.com:8443, and http:// before it where \
     there is no TLS"
)]
pub struct InvalidHostPattern {
    text: String,
    problem: &'static str,
}

impl HostPattern {
    /// Reads a host, or `*.` and what all hosts below it end with; an IPv6 address in brackets. Without a port it is that of the scheme, 443
    /// or 80; without a scheme that is https.
    ///
    /// # Errors
    /// When it is anything else, such as an address with a path.
    pub fn parse(text: &str) -> Result<Self, InvalidHostPattern> {
        let invalid = |problem| InvalidHostPattern {
            text: text.chars().take(80).collect(),
            problem,
        };
        let (scheme, rest) = match text.split_once("://") {
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(_) => return Err(invalid("the scheme is https or http")),
            None => (Scheme::Https, text),
        };
        if rest.contains(['/', '?', '#', '\\']) {
            return Err(invalid("a path can't be allowed by itself"));
        }
        if rest.contains('@') {
            return Err(invalid("a user or a password has no place in it"));
        }
        if rest.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
            return Err(invalid("it has a space in it"));
        }
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (rest, None),
        };
        let port = match port {
            None => scheme.port(),
            Some(digits) => digits
                .parse()
                .ok()
                .filter(|port| *port > 0 && digits.bytes().all(|byte| byte.is_ascii_digit()))
                .ok_or_else(|| invalid("its port is no number from 1 to 65535"))?,
        };
        if host.contains(':') && !host.starts_with('[') {
            return Err(invalid("an IPv6 address stands in brackets"));
        }
        let (wildcard, host) = match host.strip_prefix("*.") {
            Some(host) => (true, host),
            None => (false, host),
        };
        if host.contains('*') {
            return Err(invalid(
                "a star stands for whole names before the first dot, as in *.example.com",
            ));
        }
        let host = Host::parse(host).map_err(|_odd| invalid("its host is none"))?;
        let host = match (wildcard, host) {
            (false, Host::Domain(name)) => Hosts::Exact(Host::Domain(bare(&name).to_owned())),
            (true, Host::Domain(name)) => Hosts::Below(bare(&name).to_owned()),
            (false, address) => Hosts::Exact(address),
            (true, _) => return Err(invalid("there is nothing below an address of digits")),
        };
        if matches!(&host, Hosts::Exact(Host::Domain(name)) | Hosts::Below(name) if name.is_empty()) {
            return Err(invalid("its host is none"));
        }
        Ok(Self { scheme, host, port })
    }

    /// Whether this address may be called.
    pub(crate) fn allows(&self, address: &Address) -> bool {
        let is_host = match (&self.host, address.host()) {
            (Hosts::Exact(Host::Domain(name)), Host::Domain(called)) => *name == bare(called),
            (Hosts::Exact(Host::Ipv4(ours)), Host::Ipv4(called)) => ours == called,
            (Hosts::Exact(Host::Ipv6(ours)), Host::Ipv6(called)) => ours == called,
            (Hosts::Below(name), Host::Domain(called)) => bare(called)
                .strip_suffix(name.as_str())
                .and_then(|before| before.strip_suffix('.'))
                .is_some_and(|below| !below.is_empty()),
            _ => false,
        };
        is_host && self.scheme == address.scheme() && self.port == address.port()
    }

    /// Whether TLS is spoken with it.
    pub(crate) const fn is_https(&self) -> bool {
        matches!(self.scheme, Scheme::Https)
    }
}

/// A name without the dot of the root at its end.
pub(crate) fn bare(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

impl FromStr for HostPattern {
    type Err = InvalidHostPattern;

    fn from_str(text: &str) -> Result<Self, InvalidHostPattern> {
        Self::parse(text)
    }
}

impl TryFrom<String> for HostPattern {
    type Error = InvalidHostPattern;

    fn try_from(text: String) -> Result<Self, InvalidHostPattern> {
        Self::parse(&text)
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scheme == Scheme::Http {
            f.write_str("http://")?;
        }
        match &self.host {
            Hosts::Exact(host) => write!(f, "{host}")?,
            Hosts::Below(name) => write!(f, "*.{name}")?,
        }
        if self.port != self.scheme.port() {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(pattern: &str, address: &str) -> bool {
        let pattern = HostPattern::parse(pattern).unwrap();
        pattern.allows(&Address::parse(address).unwrap())
    }

    #[test]
    fn a_pattern_allows_its_hosts_and_no_others() {
        for (pattern, address) in [
            ("hooks.example.com", "https://hooks.example.com/a?b"),
            ("HOOKS.example.com", "https://Hooks.Example.COM:443/"),
            ("hooks.example.com:8443", "https://hooks.example.com:8443/"),
            ("http://prometheus:9090", "http://prometheus:9090/"),
            ("*.example.com", "https://a.example.com/"),
            ("*.example.com", "https://a.b.example.com/"),
            ("hooks.example.com", "https://hooks.example.com./"),
            ("bücher.example", "https://xn--bcher-kva.example/"),
            ("10.0.0.1", "https://0xa000001/"),
            ("http://[::1]:9090", "http://[0:0::1]:9090/"),
            ("https://a.example", "https://a.example/"),
        ] {
            assert!(allows(pattern, address), "{pattern} {address}");
        }
        for (pattern, address) in [
            ("hooks.example.com", "http://hooks.example.com/"),
            ("hooks.example.com", "https://hooks.example.com:8443/"),
            ("hooks.example.com", "https://example.com/"),
            ("hooks.example.com", "https://xhooks.example.com/"),
            ("hooks.example.com", "https://hooks.example.com.evil.example/"),
            ("*.example.com", "https://example.com/"),
            ("*.example.com", "https://badexample.com/"),
            ("*.example.com", "https://a.example.com.evil.example/"),
            ("http://prometheus:9090", "https://prometheus:9090/"),
            ("10.0.0.1", "https://10.0.0.2/"),
            ("[::1]", "https://127.0.0.1/"),
        ] {
            assert!(!allows(pattern, address), "{pattern} {address}");
        }
    }

    #[test]
    fn what_names_no_host_is_refused() {
        for bad in [
            "",
            "*",
            "*.",
            "https://",
            "a*.example.com",
            "*.*.example.com",
            "ftp://a.example",
            "a.example/",
            "a.example/path",
            "u:p@a.example",
            "a.example:0",
            "a.example:70000",
            "a.example:+1",
            "a.example:",
            "::1",
            "fe80::1:443",
            "*.10.0.0.1",
            "a example",
            "https://a.example?x",
            ".",
            "*..",
        ] {
            assert!(HostPattern::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_pattern_is_written_as_it_is_read() {
        for text in [
            "hooks.example.com",
            "*.example.com",
            "hooks.example.com:8443",
            "http://prometheus:9090",
            "http://10.0.0.1",
            "[::1]:9090",
        ] {
            assert_eq!(HostPattern::parse(text).unwrap().to_string(), text);
        }
    }
}
