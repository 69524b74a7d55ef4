//! Host names of remote stores, looked up once for many requests.
//!
//! The HTTP client asks for the address of a host before it looks for an open connection to it, and looks a
//! name up on a thread of its own so that it can give up in time. A store is asked thousands of times a second:
//! an address that needs no look-up gets none, and a name that was found stays known for [`NAME_KEPT`].

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// How long the addresses of a name are used before it is looked up again.
pub const NAME_KEPT: Duration = Duration::from_secs(5);

/// The most names that are kept.
const NAMES_MAX: usize = 64;

/// What names were found to mean.
#[derive(Debug, Default)]
pub struct Names {
    system: DefaultResolver,
    /// By host and port; the addresses and when they were found.
    known: Mutex<HashMap<String, (Vec<SocketAddr>, Instant)>>,
}

impl Names {
    fn recall(&self, name: &str) -> Option<Vec<SocketAddr>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .get(name)
            .filter(|(_, found)| found.elapsed() < NAME_KEPT)
            .map(|(addresses, _)| addresses.clone())
    }

    fn remember(&self, name: String, addresses: Vec<SocketAddr>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= NAMES_MAX {
            known.clear();
        }
        known.insert(name, (addresses, Instant::now()));
    }

    fn resolved(&self, addresses: &[SocketAddr]) -> ResolvedSocketAddrs {
        let mut resolved = self.empty();
        // What the system resolver returns fits, and so does a single address.
        addresses.iter().for_each(|address| resolved.push(*address));
        resolved
    }
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let Some((host, port)) = uri.host().zip(port_of(uri)) else {
            return self.system.resolve(uri, config, timeout);
        };
        if let Some(ip) = literal(host) {
            return Ok(self.resolved(&[SocketAddr::new(ip, port)]));
        }
        let name = format!("{host}:{port}");
        if let Some(addresses) = self.recall(&name) {
            return Ok(self.resolved(&addresses));
        }
        let resolved = self.system.resolve(uri, config, timeout)?;
        self.remember(name, resolved.to_vec());
        Ok(resolved)
    }
}

fn port_of(uri: &Uri) -> Option<u16> {
    uri.port_u16().or_else(|| match uri.scheme_str()? {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    })
}

/// An address that stands in a URL as itself, IPv6 in brackets.
fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_need_no_look_up() {
        for (uri, address) in [
            ("http://127.0.0.1:9991/x", "127.0.0.1:9991"),
            ("http://[::1]:9991/x", "[::1]:9991"),
            ("https://10.0.0.1/", "10.0.0.1:443"),
        ] {
            let uri: Uri = uri.parse().expect("a URL");
            let ip = uri.host().and_then(literal).expect(address);
            assert_eq!(SocketAddr::new(ip, port_of(&uri).expect(address)).to_string(), address);
        }
        assert_eq!(literal("localhost"), None);
    }

    #[test]
    fn a_name_that_was_found_stays_known_and_the_number_of_names_is_bounded() {
        let names = Names::default();
        let address: SocketAddr = "127.0.0.1:1".parse().expect("an address");
        names.remember("a:1".to_owned(), vec![address]);
        assert_eq!(names.recall("a:1"), Some(vec![address]));
        for number in 0..NAMES_MAX {
            names.remember(format!("n{number}:1"), vec![address]);
        }
        assert!(names.known.lock().expect("alone").len() <= NAMES_MAX);
    }
}
