//! Which requests go through a proxy: the variables that curl and Python read, with curl's rules for `no_proxy`.

use super::error::HubError;
use super::origin::Origin;
use ipnet::IpNet;
use std::net::IpAddr;

/// The proxies of the environment, and the hosts that are reached without.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    http: Option<NamedProxy>,
    https: Option<NamedProxy>,
    without: Vec<Without>,
}

/// A proxy, and the variable that names it.
#[derive(Clone, Debug)]
pub(super) struct NamedProxy {
    pub(super) variable: &'static str,
    pub(super) proxy: ureq::Proxy,
}

impl Proxies {
    /// Those of `https_proxy`, `http_proxy` and, for both, `all_proxy`; `no_proxy` lists hosts that need none. The names may be
    /// in capitals; what is in small letters counts before. `variable` looks one up, and an empty one counts as unset.
    ///
    /// # Errors
    /// When a variable isn't the address of a proxy.
    pub(super) fn from_variables(
        variable: &impl Fn(&str) -> Option<String>,
    ) -> Result<Self, HubError> {
        let proxy = |names: [&'static str; 4]| {
            let named = |name| Some((name, variable(name)?));
            let Some((variable, address)) = names.into_iter().find_map(named) else {
                return Ok(None);
            };
            let proxy = ureq::Proxy::new(&address).ok();
            // The address may hold a password, which the error mustn't.
            match proxy.filter(|proxy| !proxy.host().is_empty()) {
                Some(proxy) => Ok(Some(NamedProxy { variable, proxy })),
                None => Err(HubError::ProxyAddress { variable }),
            }
        };
        let list = variable("no_proxy").or_else(|| variable("NO_PROXY"));
        let list = list.unwrap_or_default();
        let entries = list.split(|c: char| c == ',' || c.is_whitespace());
        Ok(Self {
            http: proxy(["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])?,
            https: proxy(["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])?,
            without: entries.filter_map(Without::parse).collect(),
        })
    }

    /// The proxy for this scheme.
    pub(super) fn of_scheme(&self, https: bool) -> Option<&NamedProxy> {
        if https { &self.https } else { &self.http }.as_ref()
    }

    /// The proxy to this place, if it is reached through one. A proxy has a loopback of its own.
    pub(super) fn to(&self, origin: &Origin) -> Option<&NamedProxy> {
        let direct = origin.is_loopback() || self.without.iter().any(|entry| entry.has(origin));
        self.of_scheme(origin.https).filter(|_| !direct)
    }
}

/// An entry of `no_proxy`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Without {
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    All,
    /// A domain, and what is below it.
    Domain(String),
    Network(IpNet),
}

impl Without {
    fn parse(entry: &str) -> Option<Self> {
        // An IPv6 address has colons of its own.
        let port = |(host, port): (_, &str)| Some((host, Some(port.parse().ok()?)));
        let (host, port) = match network(entry) {
            Some(_) => (entry, None),
            None => entry
                .rsplit_once(':')
                .and_then(port)
                .unwrap_or((entry, None)),
        };
        let domain = || host.trim_start_matches('*').trim_matches('.');
        let hosts = match network(host) {
            Some(network) => Hosts::Network(network),
            None if host == "*" => Hosts::All,
            None if domain().is_empty() => return None,
            None => Hosts::Domain(domain().to_ascii_lowercase()),
        };
        Some(Self { hosts, port })
    }

    fn has(&self, origin: &Origin) -> bool {
        let host = origin.host.trim_end_matches('.');
        let address = network(host).map(|network| network.addr());
        self.port.is_none_or(|port| port == origin.port)
            && match (&self.hosts, address) {
                (Hosts::All, _) => true,
                (Hosts::Network(network), Some(address)) => network.contains(&address),
                (Hosts::Domain(domain), None) => host
                    .strip_suffix(domain.as_str())
                    .is_some_and(|below| below.is_empty() || below.ends_with('.')),
                _ => false,
            }
    }
}

/// The network of an address, which is itself, or of an address and a number of bits.
fn network(text: &str) -> Option<IpNet> {
    let text = text.trim_start_matches('[').trim_end_matches(']');
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse().ok().or_else(|| address().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(set: &[(&str, &str)]) -> Result<Proxies, HubError> {
        Proxies::from_variables(&|name| {
            let value = set.iter().find(|(key, _)| *key == name)?.1;
            Some(value.to_owned())
        })
    }

    fn variable(set: &[(&str, &str)], url: &str) -> Option<&'static str> {
        let proxies = proxies(set).unwrap();
        Some(proxies.to(&Origin::of(url).unwrap())?.variable)
    }

    #[test]
    fn a_proxy_is_for_a_scheme() {
        let (http, https) = ("http://hub.co", "https://hub.co");
        let names = ["all_proxy", "HTTPS_PROXY", "https_proxy", "http_proxy"];
        let mut set = Vec::new();
        for (name, of_http, of_https) in [
            (names[0], Some(names[0]), Some(names[0])),
            (names[1], Some(names[0]), Some(names[1])),
            (names[2], Some(names[0]), Some(names[2])),
            (names[3], Some(names[3]), Some(names[2])),
        ] {
            set.push((name, "http://proxy.co:3128"));
            assert_eq!(variable(&set, http), of_http);
            assert_eq!(variable(&set, https), of_https);
        }
        assert_eq!(variable(&[("http_proxy", "proxy.co")], https), None);
        assert_eq!(variable(&set, "http://127.0.0.1:80"), None);
    }

    #[test]
    fn hosts_without_a_proxy_are_those_of_curl() {
        for (list, host, direct) in [
            ("hub.co", "hub.co", true),
            ("hub.co", "Hub.Co.", true),
            ("hub.co", "cdn.hub.co", true),
            ("hub.co", "myhub.co", false),
            ("hub.co", "hub.co.uk", false),
            (".hub.co", "hub.co", true),
            (".HUB.co.", "cdn.hub.co", true),
            ("*.hub.co", "cdn.hub.co", true),
            ("a.co,hub.co", "hub.co", true),
            (" a.co ,\thub.co b.co", "hub.co", true),
            ("a.co hub.co", "hub.co", true),
            (",,", "hub.co", false),
            (".", "hub.co", false),
            ("*", "hub.co", true),
            ("*", "10.0.0.1", true),
            ("hub.co:443", "hub.co", true),
            ("hub.co:443", "hub.co:444", false),
            ("hub.co", "hub.co:444", true),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1:8080", "10.0.0.1:8080", true),
            ("10.0.0.1:8080", "10.0.0.1", false),
            ("0.0.1", "10.0.0.1", false),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("10.1.0.0/15", "10.0.2.3", true),
            ("fd00::1", "[fd00::1]", true),
            ("[fd00::1]:8443", "[fd00::1]:8443", true),
            ("[fd00::1]:8443", "[fd00::1]", false),
            ("fd00::/8", "[fd12::1]:1", true),
            ("fd00::/8", "[fe80::1]", false),
        ] {
            let set = [("ALL_PROXY", "http://proxy.co"), ("no_proxy", list)];
            let url = format!("https://{host}/model");
            assert_eq!(variable(&set, &url).is_none(), direct, "{list:?} {host}");
        }
        let set = [
            ("ALL_PROXY", "http://proxy.co"),
            ("NO_PROXY", "hub.co"),
            ("no_proxy", "other.co"),
        ];
        assert!(variable(&set[..2], "https://hub.co").is_none());
        assert!(variable(&set, "https://hub.co").is_some());
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_its_password() {
        for address in [
            "ftp://me:secret@proxy.co",
            "http://me:secret@",
            "http://:secret",
        ] {
            let error = proxies(&[("HTTPS_PROXY", address)])
                .unwrap_err()
                .to_string();
            assert!(error.starts_with("HTTPS_PROXY isn't "), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let set = [("all_proxy", "socks5h://me:secret@proxy.co")];
        let known = format!("{:?}", proxies(&set).unwrap());
        assert!(!known.contains("secret"), "{known}");
    }
}
