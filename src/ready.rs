//! How the process tells that it serves: a line on standard output, and a file.
//!
//! Both come when the ports are open and what is to be there at the start is there. The JSON is one object:
//! `{"ready":true,"endpoint":"http://127.0.0.1:34567","endpoints":[..],"accessKey":"..","secretKey":"..",
//! "pid":1,"version":"0.1.0","fixture":true}`. The secret key is only in it when it is one of those that
//! everybody can read in the documentation.

use crate::config::Config;
use crate::config::fixture::Start;
use crate::server::say;
use serde_json::json;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Removes the file of an earlier run, so that nobody takes it for this one's.
///
/// # Errors
/// A sentence with the path.
pub fn forget(start: &Start) -> Result<(), String> {
    let Some(path) = &start.ready_file else { return Ok(()) };
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(format!("--ready-file: {}: cannot be replaced: {error}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Removes the file at the end of the process.
pub struct Announced(Option<PathBuf>);

impl Drop for Announced {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // One that is gone already does no harm.
            let _ = fs::remove_file(path);
        }
    }
}

/// Tells that the server serves on these addresses.
///
/// # Errors
/// A sentence about the file that cannot be written.
pub fn announce(config: &Config, addresses: &[SocketAddr]) -> Result<Announced, String> {
    let object = object(config, addresses);
    if let Some(path) = &config.start.ready_file {
        write_at_once(path, &format!("{object}\n"))
            .map_err(|error| format!("--ready-file: {}: cannot be written: {error}", path.display()))?;
    }
    if config.start.ready_json {
        say(&object);
    } else {
        say(&config.start_line(addresses));
    }
    if config.start.ready_json && (config.start.accept_any || config.is_exposed_with_published_keys()) {
        // The line for programs says nothing of dangers; people look at the other output.
        crate::server::complain(&config.start_line(addresses));
    }
    Ok(Announced(config.start.ready_file.clone()))
}

fn object(config: &Config, addresses: &[SocketAddr]) -> String {
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let endpoints: Vec<String> = addresses.iter().map(|address| format!("{scheme}://{address}")).collect();
    let first = config.accounts.first_key();
    let secret = first.filter(|_| config.published_keys).map(|(_, credential)| credential.secret.as_str());
    json!({
        "ready": true,
        "endpoint": endpoints.first(),
        "endpoints": endpoints,
        "accessKey": first.map(|(key, _)| key),
        "secretKey": secret,
        "auth": if config.start.accept_any { "any" } else { "exact" },
        "fixture": config.start.fixture,
        "pid": std::process::id(),
        "version": env!("CARGO_PKG_VERSION"),
    })
    .to_string()
}

/// Whoever sees the file sees all of it: it is written beside and then renamed.
fn write_at_once(path: &Path, text: &str) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    fs::write(&beside, text)?;
    fs::rename(&beside, path).inspect_err(|_| _ = fs::remove_file(&beside))
}
