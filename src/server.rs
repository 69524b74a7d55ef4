//! The server's life: folders, listeners, the start line, and the end.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;

use crate::config::{Config, folders};
use crate::log::{Level, Log};
use crate::signals::Stop;

/// The exit code of a configuration that cannot be used.
pub const EXIT_BAD_CONFIGURATION: u8 = 2;

/// Serves until the process is asked to stop; the exit code says how it ended.
pub fn run(config: Config) -> ExitCode {
    let log = Log::to_stderr(config.log_level);
    for note in &config.notes {
        log.write(note.level, &note.text, &[]);
    }
    if let Err(error) = folders::prepare(&config) {
        complain(&error.0);
        return ExitCode::from(EXIT_BAD_CONFIGURATION);
    }
    match serve(&config, &log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            complain(&message);
            ExitCode::FAILURE
        }
    }
}

fn serve(config: &Config, log: &Log) -> Result<(), String> {
    if config.tls.is_some() {
        // Plain HTTP where the user asked for HTTPS would be worse than not to start.
        return Err("certFilePaths: this build cannot serve HTTPS yet".to_owned());
    }
    let stop = Stop::register().map_err(|error| format!("cannot wait for signals: {error}"))?;
    let listeners = bind(&config.listen)?;
    let addresses: io::Result<Vec<SocketAddr>> = listeners.iter().map(TcpListener::local_addr).collect();
    let addresses = addresses.map_err(|error| format!("cannot read the address of a listener: {error}"))?;
    say(&config.start_line(&addresses));
    stop.wait();
    log.write(Level::Info, "stopped", &[]);
    Ok(())
}

fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, String> {
    let bind = |address: &SocketAddr| {
        TcpListener::bind(address).map_err(|error| format!("cannot listen on {address}: {error}"))
    };
    addresses.iter().map(bind).collect()
}

/// Prints a line for whoever started the process. A closed output is no reason to stop.
pub fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Prints why the process ends.
pub fn complain(message: &str) {
    let _ = writeln!(io::stderr().lock(), "s3pail: {message}");
}
