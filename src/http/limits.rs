//! Every limit of the HTTP layer in one place, so that none is forgotten and tests can shrink the slow
//! ones.

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

/// A body up to this length, in bytes, leaves in the same write as its head.
pub const SMALL_BODY_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a longer body that are read and written at a time.
pub const STREAM_BYTES: usize = 256 * 1024;

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
            connections_max: 1024,
            connections_per_peer_max: 512,
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
            drain_bytes_max: 256 * 1024,
            linger_bytes_max: 4 * 1024 * 1024,
            linger: Duration::from_secs(1),
        }
    }
}
