//! Addresses: which to listen on, and which networks may ask for the state of the backends.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::daemons::FILE_RANK;
use super::given::{ConfigError, Given};
use super::settings::{Id, Raw, setting};

/// The port when nothing names one.
pub const DEFAULT_PORT: u16 = 8000;

/// A network: an address and how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// Reads `ADDRESS` or `ADDRESS/BITS`.
    pub fn parse(text: &str) -> Option<Cidr> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(bits);
        (prefix <= bits).then_some(Cidr { address, prefix })
    }

    /// Whether an address is in this network. An IPv4 address that arrived in IPv6 clothing
    /// (`::ffff:127.0.0.1`) counts as the IPv4 address that it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let prefix =
                    if self.address.is_ipv4() { self.prefix } else { self.prefix.saturating_sub(96) };
                same_bits(network.to_bits().into(), address.to_bits().into(), 32, prefix)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                same_bits(network.to_bits(), address.to_bits(), 128, self.prefix)
            }
            _ => false,
        }
    }
}

/// Whether the first `prefix` of `width` bits are the same.
fn same_bits(left: u128, right: u128, width: u32, prefix: u8) -> bool {
    let ignored = width - u32::from(prefix);
    (left ^ right).checked_shr(ignored).unwrap_or(0) == 0
}

/// Reads a list of networks.
pub fn networks(items: &[Given]) -> Result<Vec<Cidr>, ConfigError> {
    let allowed = "an IP address or network, such as 127.0.0.1/8 or ::1";
    let parse = |given: &Given| Cidr::parse(given.text(allowed)?).ok_or_else(|| given.refuse(allowed));
    items.iter().map(parse).collect()
}

/// The addresses to listen on.
///
/// An address without a port gets that of `port`; so does one whose source is weaker than that of
/// `port`, so that `--port` moves a server whose file says `listenOn`.
pub fn listen(raw: &Raw) -> Result<Vec<SocketAddr>, ConfigError> {
    listen_beyond(raw, 0, DEFAULT_PORT)
}

/// The addresses that a process listens on that is nothing but a daemon: those of flags and variables,
/// with the daemon's port where they name none.
pub fn daemon_listen(raw: &Raw, default_port: u16) -> Result<Vec<SocketAddr>, ConfigError> {
    listen_beyond(raw, FILE_RANK, default_port)
}

/// What sources above a rank say of addresses.
fn listen_beyond(raw: &Raw, rank: u8, default_port: u16) -> Result<Vec<SocketAddr>, ConfigError> {
    let counts = |id| raw.get(id).is_some_and(|given| given.origin.rank() > rank);
    let port = raw.number(Id::Port)?.filter(|_| counts(Id::Port)).map(|port| port as u16);
    let port_rank = raw.get(Id::Port).map_or(0, |given| given.origin.rank());
    let items = raw.list(Id::Listen)?.filter(|_| counts(Id::Listen)).unwrap_or_default();
    let mut addresses = Vec::with_capacity(items.len().max(1));
    for item in &items {
        let (address, own_port) = address_and_port(item)?;
        let own_port = own_port.filter(|_| item.origin.rank() >= port_rank);
        let socket = SocketAddr::new(address, own_port.or(port).unwrap_or(default_port));
        if !addresses.contains(&socket) || socket.port() == 0 {
            addresses.push(socket);
        }
    }
    if addresses.is_empty() {
        addresses.push(SocketAddr::new(bind_address(raw)?, port.unwrap_or(default_port)));
    }
    Ok(addresses)
}

fn bind_address(raw: &Raw) -> Result<IpAddr, ConfigError> {
    let Some(given) = raw.get(Id::BindAddress) else { return Ok(Ipv4Addr::LOCALHOST.into()) };
    let allowed = setting(Id::BindAddress).kind.allowed();
    given.text(&allowed)?.parse().map_err(|_| given.refuse(&allowed))
}

fn address_and_port(given: &Given) -> Result<(IpAddr, Option<u16>), ConfigError> {
    let allowed = setting(Id::Listen).kind.allowed();
    let text = given.text(&allowed)?;
    // The one name that needs no resolver, and that everybody types.
    let named = text.strip_prefix("localhost").filter(|rest| rest.is_empty() || rest.starts_with(':'));
    let text = named.map_or(text.to_owned(), |rest| format!("{}{rest}", Ipv4Addr::LOCALHOST));
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Ok((socket.ip(), Some(socket.port())));
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&text);
    bare.parse().map(|address| (address, None)).map_err(|_| given.refuse(&allowed))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::given::Origin;
    use super::*;

    #[test]
    fn a_network_contains_its_addresses_and_no_others() {
        for (network, address, expected) in [
            ("127.0.0.1/8", "127.9.9.9", true),
            ("127.0.0.1/8", "128.0.0.1", false),
            ("127.0.0.1/8", "::ffff:127.0.0.2", true),
            ("::ffff:127.0.0.1/104", "127.9.9.9", true),
            ("::1", "::1", true),
            ("::1", "::2", false),
            ("::1", "127.0.0.1", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
        ] {
            let contained = Cidr::parse(network).unwrap().contains(address.parse().unwrap());
            assert_eq!(contained, expected, "{network} {address}");
        }
        for text in ["", "localhost", "1.2.3", "1.2.3.4/33", "::1/129", "1.2.3.4/", "1.2.3.4/-1"] {
            assert_eq!(Cidr::parse(text), None, "{text}");
        }
    }

    fn check(given: &[(Id, Origin, Value)]) -> Result<String, ConfigError> {
        let mut raw = Raw::default();
        for (id, origin, value) in given {
            raw.note(*id, Given { value: value.clone(), origin: origin.clone() });
        }
        let addresses = listen(&raw)?;
        Ok(addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(" "))
    }

    fn file() -> Origin {
        Origin::File { file: "config.json".to_owned(), key: "listenOn".to_owned() }
    }

    fn variable() -> Origin {
        Origin::Variable("LISTEN_ADDR".to_owned())
    }

    fn flag() -> Origin {
        Origin::Flag("--listen".to_owned())
    }

    #[test]
    fn the_default_is_loopback_and_a_port_alone_does_not_open_other_addresses() {
        assert_eq!(check(&[]).unwrap(), "127.0.0.1:8000");
        assert_eq!(check(&[(Id::Port, file(), json!(9000))]).unwrap(), "127.0.0.1:9000");
        assert_eq!(check(&[(Id::Listen, file(), json!([]))]).unwrap(), "127.0.0.1:8000");
        assert_eq!(check(&[(Id::BindAddress, variable(), json!("::"))]).unwrap(), "[::]:8000");
    }

    #[test]
    fn addresses_take_their_own_port_or_that_of_port() {
        for (text, expected) in [
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("0.0.0.0", "0.0.0.0:8000"),
            ("::1", "[::1]:8000"),
            ("[::1]", "[::1]:8000"),
            ("[::1]:90,127.0.0.1:91", "[::1]:90 127.0.0.1:91"),
            ("localhost:90", "127.0.0.1:90"),
            ("localhost", "127.0.0.1:8000"),
            ("127.0.0.1:90,127.0.0.1:90", "127.0.0.1:90"),
        ] {
            assert_eq!(check(&[(Id::Listen, flag(), json!(text))]).unwrap(), expected, "{text}");
        }
        for text in ["", "example.com:80", ":8000", "127.0.0.1:", "127.0.0.1:65536", "localhosts", "8000"] {
            assert!(check(&[(Id::Listen, flag(), json!(text))]).is_err(), "{text}");
        }
    }

    #[test]
    fn a_stronger_port_replaces_that_of_a_weaker_address() {
        let both =
            [(Id::Listen, file(), json!(["0.0.0.0:8000", "[::]:8001"])), (Id::Port, flag(), json!("9"))];
        assert_eq!(check(&both).unwrap(), "0.0.0.0:9 [::]:9");
        let same = [(Id::Listen, file(), json!(["0.0.0.0:8000"])), (Id::Port, file(), json!(9))];
        assert_eq!(check(&same).unwrap(), "0.0.0.0:8000");
        let weaker = [(Id::Listen, variable(), json!("0.0.0.0")), (Id::Port, file(), json!(9))];
        assert_eq!(check(&weaker).unwrap(), "0.0.0.0:9");
    }
}
