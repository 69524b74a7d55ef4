//! What HTTPS is served with: `certFilePaths`, `--tls-self-signed`, or the container's `SSL`.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::check::{hosts, stronger};
use super::given::{ConfigError, Given};
use super::settings::{Id, Raw, setting};
use super::{Inputs, Note, SelfSigned, Tls, TlsFiles};
use crate::log::Level;

/// The folder of the certificates that `SSL` asks for.
const SSL_FOLDER: &str = "localTls";

/// The names of every server, besides those that it is given.
const NAMES: [&str; 4] = ["localhost", "*.localhost", "127.0.0.1", "::1"];

/// What counts of the three, or plain HTTP.
pub(super) fn tls(
    raw: &Raw,
    inputs: &Inputs,
    listen: &[SocketAddr],
    notes: &mut Vec<Note>,
) -> Result<Option<Tls>, ConfigError> {
    // Both are checked, so that a bad value is not forgiven because another one counts.
    let files = raw.get(Id::Certificates).map(|given| files(given, inputs)).transpose()?;
    let folder = raw.text(Id::TlsSelfSigned)?.map(|folder| inputs.folder.join(folder));
    let self_signed =
        |folder: PathBuf| Ok(Some(Tls::SelfSigned(SelfSigned { folder, names: names(raw, listen)? })));
    match (stronger(raw, Id::Certificates, Id::TlsSelfSigned), files, folder) {
        (Some((Id::TlsSelfSigned, _)), _, Some(folder)) => self_signed(folder),
        (_, Some(files), _) => Ok(Some(Tls::Files(files))),
        _ if raw.get(Id::Ssl).is_none() => Ok(None),
        _ if raw.get(Id::Endpoint).is_none() => {
            let text = "environment variable SSL: has no effect without ENDPOINT; this is plain HTTP";
            notes.push(Note { level: Level::Warn, text: text.to_owned() });
            Ok(None)
        }
        _ => self_signed(inputs.folder.join(SSL_FOLDER)),
    }
}

fn files(given: &Given, inputs: &Inputs) -> Result<TlsFiles, ConfigError> {
    given.entries(&setting(Id::Certificates).kind.allowed())?;
    let readable = "the path of a readable file";
    let open = |given: &Given| {
        let path = inputs.folder.join(given.text(readable)?);
        match path.is_file() && File::open(&path).is_ok() {
            true => Ok(path),
            false => Err(given.refuse(readable)),
        }
    };
    let key = open(&given.require("key", readable)?)?;
    let cert = open(&given.require("cert", readable)?)?;
    let ca = given.get("ca").map(|ca| open(&ca)).transpose()?;
    Ok(TlsFiles { key, cert, ca })
}

/// Every name that clients may use: the given ones first, each host also with a bucket before it.
fn names(raw: &Raw, listen: &[SocketAddr]) -> Result<Vec<String>, ConfigError> {
    let mut names: Vec<String> = Vec::new();
    for host in hosts(raw, Id::TlsNames)?.into_iter().chain(hosts(raw, Id::Endpoint)?) {
        let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
        let is_address = host.parse::<std::net::IpAddr>().is_ok();
        let with_bucket = (!is_address).then(|| format!("*.{host}"));
        names.extend([Some(host), with_bucket].into_iter().flatten());
    }
    names.extend(NAMES.map(str::to_owned));
    let addresses = listen.iter().map(|address| address.ip()).filter(|ip| !ip.is_unspecified());
    names.extend(addresses.map(|ip| ip.to_string()));
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    Ok(names)
}
