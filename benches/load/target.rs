//! A server under test: where it listens, and what is different about it.

use std::net::SocketAddr;
use std::str::FromStr;

/// The bucket that all runs use; for a DAV server, the folder.
pub const BUCKET: &str = "bench";

/// A server on loopback.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The name in the report.
    pub name: String,
    /// Where it listens. Always a loopback address.
    pub address: SocketAddr,
    /// Its process, if CPU time and memory shall be reported.
    pub pid: Option<u32>,
    /// A DAV server: its folder is there already and cannot be made by S3's CreateBucket.
    pub dav: bool,
    /// Access key and secret, where they are not the built-in ones.
    pub keys: Option<(String, String)>,
    /// The bucket is there already and may not be made.
    pub prepared: bool,
}

impl FromStr for Target {
    type Err = String;

    /// Reads `NAME=http://127.0.0.1:PORT[,PID][,dav][,prepared][,keys:ID:SECRET]`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once("=http://").ok_or(format!("not a target: {text}"))?;
        let mut fields = rest.split(',');
        let address = fields.next().unwrap_or_default();
        let address: SocketAddr = address.parse().map_err(|e| format!("{address}: {e}"))?;
        if !address.ip().is_loopback() {
            return Err(format!("{address} is not a loopback address"));
        }
        let mut target =
            Target { name: name.to_owned(), address, pid: None, dav: false, keys: None, prepared: false };
        for field in fields {
            match field {
                "dav" => target.dav = true,
                "prepared" => target.prepared = true,
                keys if keys.starts_with("keys:") => {
                    let keys = keys["keys:".len()..].split_once(':').ok_or(format!("not keys: {keys}"))?;
                    target.keys = Some((keys.0.to_owned(), keys.1.to_owned()));
                }
                pid => target.pid = Some(pid.parse().map_err(|_| format!("not a process: {pid}"))?),
            }
        }
        Ok(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_a_target() {
        for (text, good) in [
            ("a=http://127.0.0.1:80", true),
            ("a=http://[::1]:80,12,dav", true),
            ("a=http://192.0.2.1:80", false),
            ("a=http://localhost:80", false),
            ("a=127.0.0.1:80", false),
            ("a=http://127.0.0.1:80,many", false),
        ] {
            assert_eq!(text.parse::<Target>().is_ok(), good, "{text}");
        }
    }
}
