//! Where a token may be sent.

use std::net::IpAddr;

/// Scheme, host and port: what a token is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) https: bool,
    pub(super) host: String,
    pub(super) port: u16,
}

impl Origin {
    /// That of an http or https address.
    pub(super) fn of(url: &str) -> Option<Self> {
        let uri: ureq::http::Uri = url.parse().ok()?;
        let https = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        Some(Self {
            https,
            host: uri.host()?.to_ascii_lowercase(),
            port: uri.port_u16().unwrap_or(if https { 443 } else { 80 }),
        })
    }

    /// Whether it's this machine.
    pub(super) fn is_loopback(&self) -> bool {
        let address = self.host.trim_matches(['[', ']']).parse::<IpAddr>();
        self.host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_differ_in_scheme_host_or_port() {
        let same = |a, b| Origin::of(a) == Origin::of(b);
        assert!(same("https://Hub.co/a", "https://hub.co:443/b?c"));
        assert!(!same("https://hub.co", "http://hub.co"));
        assert!(!same("http://hub.co", "http://hub.co:8080"));
        assert!(!same("https://hub.co", "https://hub.co.evil.org"));
        assert!(!same("https://hub.co", "https://hub.co@evil.org"));
        for no_origin in ["hub.co", "/a", "ftp://hub.co", "https://", ""] {
            assert_eq!(Origin::of(no_origin), None, "{no_origin}");
        }
    }

    #[test]
    fn this_machine_is_told_from_others() {
        let loopback = |url| Origin::of(url).unwrap().is_loopback();
        for url in ["http://127.0.0.1:1", "http://localhost", "http://[::1]:1"] {
            assert!(loopback(url), "{url}");
        }
        assert!(!loopback("https://huggingface.co") && !loopback("http://10.0.0.1"));
    }
}
