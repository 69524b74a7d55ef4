//! Roles and daemons: what this process serves, on which addresses its daemons listen, and whether its
//! bodies and records are its own or those of a daemon somewhere else.
//!
//! Scality S3 Server always puts daemons between its front end and its folders, so its stock
//! `config.json` names both ends (`dataDaemon` and `dataClient`, `metadataDaemon` and
//! `metadataClient`) on one machine. Here a front end needs no daemon to reach its own folders. So:
//!
//! * `DATA_HOST` (`METADATA_HOST`) always makes a front end a client of that host.
//! * So does a client section, unless the file's daemon section is what it points at: then the folder is
//!   this process's own, used directly, and the daemon is opened beside the front end, for others.
//! * A front end that is a client opens no daemon of that kind, for it has no folder of its own.
//! * What is kept in memory has no daemon and no client.
//! * The built-in file counts for none of this: started without a file, no daemon is opened. A
//!   `conf/config.json` in the working directory is a file like any other, the shipped one too.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::Remote;
use super::given::{ConfigError, Given};
use super::network;
use super::settings::{Id, Kind, Raw, setting};

/// The port of a data daemon when nothing names one.
pub const DATA_DAEMON_PORT: u16 = 9991;
/// The port of a metadata daemon when nothing names one.
pub const METADATA_DAEMON_PORT: u16 = 9990;

/// What a process serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// S3.
    S3,
    /// Bodies, to front ends.
    Data,
    /// Records, to front ends.
    Metadata,
}

impl Role {
    /// The word of `--role`.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::S3 => "s3",
            Role::Data => "data",
            Role::Metadata => "metadata",
        }
    }
}

/// Where a daemon listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The addresses; port 0 lets the system choose. Never empty.
    pub addresses: Vec<SocketAddr>,
    /// What the user wrote them in, for complaints: a file and a key, a variable, a flag.
    pub origin: String,
}

impl Listen {
    /// Whether a client of `remote` would talk to this daemon.
    fn is_meant_by(&self, remote: &Remote) -> bool {
        let ip = remote.host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        let is_local = remote.host == "localhost" || ip.is_some_and(|ip| ip.to_canonical().is_loopback());
        let meant = |address: &SocketAddr| {
            let bound = address.ip().to_canonical();
            let reached = is_local && (bound.is_loopback() || bound.is_unspecified());
            address.port() == remote.port && (reached || ip == Some(address.ip()))
        };
        self.addresses.iter().any(meant)
    }
}

/// One of the two kinds of daemon.
struct Pair {
    role: Role,
    client: Id,
    host: Id,
    daemon: Id,
    port: u16,
}

const DATA: Pair = Pair {
    role: Role::Data,
    client: Id::DataClient,
    host: Id::DataHost,
    daemon: Id::DataDaemon,
    port: DATA_DAEMON_PORT,
};
const METADATA: Pair = Pair {
    role: Role::Metadata,
    client: Id::MetadataClient,
    host: Id::MetadataHost,
    daemon: Id::MetadataDaemon,
    port: METADATA_DAEMON_PORT,
};

/// What one kind of daemon means to this process. At most one of the two is there.
#[derive(Debug, Default)]
pub struct Place {
    /// The daemon that this process opens.
    pub daemon: Option<Listen>,
    /// The daemon that this process is a client of.
    pub client: Option<Remote>,
}

/// The role of the process.
pub fn role(raw: &Raw) -> Result<Role, ConfigError> {
    Ok(match raw.choice(Id::Role)? {
        Some("data") => Role::Data,
        Some("metadata") => Role::Metadata,
        _ => Role::S3,
    })
}

/// What data daemons mean to this process; `in_memory` says that bodies are kept there.
pub fn data(raw: &Raw, in_memory: bool) -> Result<Place, ConfigError> {
    DATA.place(raw, in_memory)
}

/// What metadata daemons mean to this process; `in_memory` says that records are kept there.
pub fn metadata(raw: &Raw, in_memory: bool) -> Result<Place, ConfigError> {
    METADATA.place(raw, in_memory)
}

impl Pair {
    fn place(&self, raw: &Raw, in_memory: bool) -> Result<Place, ConfigError> {
        let in_file =
            of_the_user(raw, self.daemon).map(|given| read_listen(given, self.daemon)).transpose()?;
        let client = self.client(raw, in_file.as_ref())?;
        match role(raw)? {
            role if role == self.role => {
                Ok(Place { daemon: Some(self.own_listen(raw, in_file)?), client: None })
            }
            Role::S3 if !in_memory => Ok(Place { daemon: in_file.filter(|_| client.is_none()), client }),
            _ => Ok(Place::default()),
        }
    }

    /// The remote daemon that a front end uses.
    fn client(&self, raw: &Raw, daemon: Option<&Listen>) -> Result<Option<Remote>, ConfigError> {
        let in_file =
            of_the_user(raw, self.client).map(|given| read_remote(given, self.client)).transpose()?;
        Ok(match raw.text(self.host)? {
            Some(host) => {
                let port = in_file.map_or(self.port, |remote| remote.port);
                Some(Remote { host: host.to_owned(), port })
            }
            None => in_file.filter(|remote| !daemon.is_some_and(|daemon| daemon.is_meant_by(remote))),
        })
    }

    /// Where a process listens that is nothing but this daemon: what flags and variables say of
    /// addresses, else the daemon's section. `port` and `listenOn` of the file are the front end's.
    fn own_listen(&self, raw: &Raw, in_file: Option<Listen>) -> Result<Listen, ConfigError> {
        let stronger = |id: &Id| raw.get(*id).filter(|given| given.origin.rank() > FILE_RANK);
        let given: Vec<&Given> =
            [Id::Listen, Id::Port, Id::BindAddress].iter().filter_map(stronger).collect();
        match (given.first(), in_file) {
            (Some(given), _) => {
                let origin = given.origin.to_string();
                Ok(Listen { addresses: network::daemon_listen(raw, self.port)?, origin })
            }
            (None, Some(listen)) => Ok(listen),
            (None, None) => Ok(Listen {
                addresses: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))],
                origin: setting(Id::Listen).flag.to_owned(),
            }),
        }
    }
}

/// What is as weak as this was written in a file.
pub(super) const FILE_RANK: u8 = 1;

/// A value that the user wrote, rather than this program.
fn of_the_user(raw: &Raw, id: Id) -> Option<&Given> {
    raw.get(id).filter(|given| !given.origin.is_built_in())
}

/// A section with `bindAddress` and `port`.
fn read_listen(given: &Given, section: Id) -> Result<Listen, ConfigError> {
    let Kind::Object(shape) = setting(section).kind else { return Err(given.refuse("an object")) };
    given.entries(shape)?;
    let bind = given.require("bindAddress", "an IP address or localhost")?;
    let ip = match bind.text("an IP address or localhost")? {
        // The one name that needs no resolver.
        "localhost" => Ipv4Addr::LOCALHOST.into(),
        text => text.parse::<IpAddr>().map_err(|_| bind.refuse("an IP address or localhost"))?,
    };
    let port = given.require("port", "a whole number from 0 to 65535")?.number(0, 65_535)?;
    Ok(Listen { addresses: vec![SocketAddr::new(ip, port as u16)], origin: given.origin.to_string() })
}

/// A section with `host` and `port`.
pub(super) fn read_remote(given: &Given, section: Id) -> Result<Remote, ConfigError> {
    let Kind::Object(shape) = setting(section).kind else { return Err(given.refuse("an object")) };
    given.entries(shape)?;
    let host = given.require("host", "a host name or an IP address")?;
    let host = host.text("a host name or an IP address")?.to_owned();
    let port = given.require("port", "a whole number from 1 to 65535")?.number(1, 65_535)?;
    Ok(Remote { host, port: port as u16 })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::given::Origin;
    use super::*;

    fn raw(file: &str, keys: serde_json::Value, variables: &[(Id, &str)]) -> Raw {
        let mut raw = Raw::default();
        for (id, key) in [(Id::DataClient, "dataClient"), (Id::DataDaemon, "dataDaemon")] {
            if let Some(value) = keys.get(key) {
                let origin = Origin::File { file: file.to_owned(), key: key.to_owned() };
                raw.note(id, Given { value: value.clone(), origin });
            }
        }
        for (id, text) in variables {
            let origin = Origin::Variable(format!("{id:?}"));
            raw.note(*id, Given { value: (*text).into(), origin });
        }
        raw
    }

    /// Daemon address and client, each `-` when there is none.
    fn place(raw: &Raw) -> String {
        let Place { daemon, client } = data(raw, false).unwrap();
        let daemon = daemon.map_or("-".to_owned(), |listen| listen.addresses[0].to_string());
        let client = client.map_or("-".to_owned(), |remote| format!("{}:{}", remote.host, remote.port));
        format!("{daemon} {client}")
    }

    #[test]
    fn a_front_end_is_a_client_of_another_daemon_and_never_of_its_own() {
        let daemon = json!({ "bindAddress": "localhost", "port": 9991 });
        let any = json!({ "bindAddress": "0.0.0.0", "port": 9991 });
        let (here, there) = (json!({ "host": "localhost", "port": 9991 }), json!({ "host": "b", "port": 7 }));
        for (keys, host, expected) in [
            (json!({}), None, "- -"),
            (json!({ "dataDaemon": daemon, "dataClient": here }), None, "127.0.0.1:9991 -"),
            (json!({ "dataDaemon": any, "dataClient": here }), None, "0.0.0.0:9991 -"),
            (json!({ "dataDaemon": daemon }), None, "127.0.0.1:9991 -"),
            (json!({ "dataClient": here }), None, "- localhost:9991"),
            (json!({ "dataDaemon": daemon, "dataClient": there }), None, "- b:7"),
            (json!({ "dataDaemon": daemon, "dataClient": there }), Some("c"), "- c:7"),
            (json!({ "dataDaemon": daemon, "dataClient": here }), Some("localhost"), "- localhost:9991"),
            (json!({}), Some("c"), "- c:9991"),
        ] {
            let variables: Vec<_> = host.map(|host| (Id::DataHost, host)).into_iter().collect();
            assert_eq!(place(&raw("config.json", keys.clone(), &variables)), expected, "{keys} {host:?}");
        }
    }

    #[test]
    fn the_built_in_file_and_memory_open_nothing() {
        let keys = json!({ "dataDaemon": { "bindAddress": "::1", "port": 9 }, "dataClient": { "host": "b", "port": 7 } });
        assert_eq!(place(&raw("built-in config.json", keys.clone(), &[])), "- -");
        let nothing = data(&raw("config.json", keys, &[(Id::DataHost, "c")]), true).unwrap();
        assert!(nothing.daemon.is_none() && nothing.client.is_none());
    }

    #[test]
    fn a_data_process_listens_where_flags_say_or_its_section_or_loopback() {
        let section = json!({ "dataDaemon": { "bindAddress": "::1", "port": 9 } });
        for (keys, variables, expected) in [
            (json!({}), &[][..], "127.0.0.1:9991 -"),
            (section.clone(), &[], "[::1]:9 -"),
            (section.clone(), &[(Id::DataHost, "c")], "[::1]:9 -"),
            (section.clone(), &[(Id::Listen, "10.0.0.1")], "10.0.0.1:9991 -"),
            (section.clone(), &[(Id::Listen, "10.0.0.1:5")], "10.0.0.1:5 -"),
            (json!({}), &[(Id::BindAddress, "0.0.0.0")], "0.0.0.0:9991 -"),
            (json!({}), &[(Id::Port, "0")], "127.0.0.1:0 -"),
        ] {
            let mut variables = variables.to_vec();
            variables.push((Id::Role, "data"));
            assert_eq!(place(&raw("config.json", keys, &variables)), expected, "{variables:?}");
        }
    }

    #[test]
    fn a_wrong_section_is_refused_by_its_key() {
        for (value, part) in [
            (json!(9991), "config.json: dataDaemon: 9991"),
            (json!({ "port": 1 }), "config.json: dataDaemon.bindAddress: the key is missing"),
            (json!({ "bindAddress": "here", "port": 1 }), "config.json: dataDaemon.bindAddress: \"here\""),
            (json!({ "bindAddress": "::", "port": 70000 }), "config.json: dataDaemon.port: 70000"),
        ] {
            let error = data(&raw("config.json", json!({ "dataDaemon": value }), &[]), false).unwrap_err();
            assert!(error.0.starts_with(part), "{error}");
        }
    }
}
