//! Every limit of the HTTP layer in one place, so that none is forgotten and tests can shrink the slow
//! ones.

use std::fs;
use std::time::Duration;

/// Bytes of one chunk-size line with its extension, without the line end.
pub const CHUNK_LINE_BYTES_MAX: usize = 256;

/// Hexadecimal digits of a chunk size.
pub const CHUNK_DIGITS_MAX: usize = 16;

/// Bytes of all trailer fields after the last chunk. Trailers are dropped, so this only bounds work.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;

/// Empty lines that are ignored before a request line (RFC 9112 section 2.2).
pub const LEADING_EMPTY_LINES_MAX: usize = 2;

/// Bytes of a method name. The longest registered one has 17.
pub const METHOD_BYTES_MAX: usize = 32;

/// Bytes of a Host value, the longest domain name and a port.
pub const HOST_BYTES_MAX: usize = 255 + 6;

/// Connections that may wait to be accepted. The system may allow fewer (`net.core.somaxconn`).
pub const ACCEPT_QUEUE_MAX: i32 = 4096;

/// Bytes of memory that a worker keeps for the heads of its answers.
pub const HEAD_KEPT_BYTES_MAX: usize = 64 * 1024;

/// Open connections unless told otherwise, where the system allows as many.
pub const CONNECTIONS_DEFAULT_MAX: usize = 1024;

/// The fewest connections that are taken, however few files may be open; see `EMFILE` in the engine.
pub const CONNECTIONS_DEFAULT_MIN: usize = 16;

/// Transfers that may stand still at the same time, unless connections are fewer.
pub const STALLED_MAX: usize = 256;

/// Open files that are not for connections: stores, listeners, requests to other servers.
const OPEN_FILES_RESERVED: usize = 128;

/// Open files for each connection: its socket and a stored body.
const OPEN_FILES_PER_CONNECTION: usize = 2;

/// How many files a process may have open where the system does not say; what most give.
const OPEN_FILES_DEFAULT: usize = 1024;

/// How many files this process may have open, as Linux tells in `/proc/self/limits`.
pub fn open_files_max() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    soft_limit(&limits).unwrap_or(OPEN_FILES_DEFAULT)
}

/// The soft limit on open files in the text of `/proc/self/limits`.
fn soft_limit(limits: &str) -> Option<usize> {
    let values = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match values.split_whitespace().next()? {
        "unlimited" => Some(usize::MAX),
        soft => soft.parse().ok(),
    }
}

/// What clients may ask of the server. The defaults are meant for production; tests shrink the
/// deadlines.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections; one more is answered with [`TooManyConnections`] and closed.
    ///
    /// [`TooManyConnections`]: super::Refusal::TooManyConnections
    pub connections_max: usize,
    /// Open connections of one address; the loopback is exempt.
    pub connections_per_peer_max: usize,
    /// Bytes of the request line, without its line end.
    pub request_line_bytes_max: usize,
    /// Bytes of one header line, without its line end.
    pub header_line_bytes_max: usize,
    /// Bytes of all header lines with their line ends.
    pub headers_bytes_max: usize,
    /// Header lines.
    pub headers_max: usize,
    /// From accept to the end of the TLS handshake, whatever arrives between; then the connection is
    /// closed silently.
    pub handshake: Duration,
    /// From accept, or from the end of the handshake, to the first byte; then the connection is closed
    /// silently.
    pub first_byte: Duration,
    /// From the first byte of a head to its last, whatever arrives between; then 408.
    pub head: Duration,
    /// From a response to the first byte of the next request; then the connection is closed silently.
    pub keep_alive: Duration,
    /// Without a byte of a body that the handler waits for.
    pub body_inactivity: Duration,
    /// Bytes per second that a body must reach while the handler waits for it.
    pub body_rate_min: u64,
    /// The waiting time over which the rate is averaged, and before which it is not judged.
    pub body_rate_window: Duration,
    /// Without progress of a response.
    pub write_inactivity: Duration,
    /// Bytes per second that a client must take of a response while the server waits for it.
    pub write_rate_min: u64,
    /// The waiting time over which that rate is averaged. What the system's buffers take at once makes the
    /// first window a grace period.
    pub write_rate_window: Duration,
    /// Transfers that may stand still at the same time with a worker in their place each; that many threads
    /// more than workers there are at most.
    pub stalled_max: usize,
    /// How long a transfer may stand still, and over which time its rate is averaged, when more do than
    /// that. Then reading a body fails with `ResourceBusy`, and a response is cut off.
    pub stall_pressed: Duration,
    /// Bytes of an unread body that are dropped to keep the connection.
    pub drain_bytes_max: u64,
    /// Bytes that are dropped before a connection with unread input is closed.
    pub linger_bytes_max: u64,
    /// Time for either of the two.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: CONNECTIONS_DEFAULT_MAX,
            connections_per_peer_max: CONNECTIONS_DEFAULT_MAX / 2,
            request_line_bytes_max: 16 * 1024,
            header_line_bytes_max: 16 * 1024,
            headers_bytes_max: 32 * 1024,
            headers_max: 100,
            handshake: Duration::from_secs(10),
            first_byte: Duration::from_secs(30),
            head: Duration::from_secs(10),
            keep_alive: Duration::from_secs(65),
            body_inactivity: Duration::from_secs(30),
            body_rate_min: 1024,
            body_rate_window: Duration::from_secs(60),
            write_inactivity: Duration::from_secs(30),
            write_rate_min: 1024,
            write_rate_window: Duration::from_secs(60),
            stalled_max: STALLED_MAX,
            stall_pressed: Duration::from_secs(1),
            drain_bytes_max: 256 * 1024,
            linger_bytes_max: 4 * 1024 * 1024,
            linger: Duration::from_secs(1),
        }
    }
}

impl Limits {
    /// The defaults with that many connections, or with as many as fit into `open_files`.
    ///
    /// # Errors
    /// How many fit, when fewer files may be open than there are to be connections.
    pub fn with_connections(asked: Option<usize>, open_files: usize) -> Result<Limits, usize> {
        let files = open_files.saturating_sub(OPEN_FILES_RESERVED);
        if asked.is_some_and(|asked| asked > files) {
            return Err(files);
        }
        let fit = (files / OPEN_FILES_PER_CONNECTION).clamp(CONNECTIONS_DEFAULT_MIN, CONNECTIONS_DEFAULT_MAX);
        let connections_max = asked.unwrap_or(fit);
        let half = connections_max.div_ceil(2);
        Ok(Limits {
            connections_max,
            connections_per_peer_max: half,
            stalled_max: half.min(STALLED_MAX),
            ..Limits::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_follow_from_the_files_that_may_be_open() {
        let connections = |asked, files| Limits::with_connections(asked, files).map(|l| l.connections_max);
        assert_eq!(connections(None, 1_000_000), Ok(1024));
        assert_eq!(connections(None, 1024), Ok(448));
        assert_eq!(connections(None, 64), Ok(16));
        assert_eq!(connections(Some(10_000), 20_000), Ok(10_000));
        assert_eq!(connections(Some(896), 1024), Ok(896));
        assert_eq!(connections(Some(897), 1024), Err(896));
        let limits = Limits::with_connections(Some(9), 1024).unwrap();
        assert_eq!((limits.connections_per_peer_max, limits.stalled_max), (5, 5));
    }

    #[test]
    fn the_soft_limit_on_open_files_is_read() {
        let text = |soft: &str| {
            format!("Limit  Soft Limit  Hard Limit  Units\nMax open files            {soft}    9  files\n")
        };
        assert_eq!(soft_limit(&text("1024")), Some(1024));
        assert_eq!(soft_limit(&text("unlimited")), Some(usize::MAX));
        assert_eq!(soft_limit(&text("?")), None);
        assert_eq!(soft_limit(""), None);
    }
}
