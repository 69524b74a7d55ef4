//! aws-chunked bodies: the framing that `x-amz-content-sha256: STREAMING-...` announces.
//!
//! Grammar ("Signature calculations ... in multiple chunks" and "... including trailing headers" in
//! the S3 API reference; `CRLF` everywhere except where clients are known to write a bare line feed):
//!
//! ```text
//! body    = *chunk last [ trailer ] CRLF
//! chunk   = size [ ";chunk-signature=" 64hex ] CRLF size*OCTET CRLF
//! last    = "0" [ ";chunk-signature=" 64hex ] CRLF
//! trailer = *( name ":" value CRLF ) [ "x-amz-trailer-signature:" 64hex CRLF ]
//! ```
//!
//! Each signature is over the one before it, so a chunk cannot be changed, dropped, repeated or moved.
//!
//! A chunk may be large, so its bytes are handed on before its signature has been seen. What holds
//! instead: [`ChunkedReader`] never returns the last byte of a chunk, and never `Ok(0)`, before
//! everything up to there has been verified. **A caller commits nothing before it has read `Ok(0)`.**

use super::keys::{HmacSha256, sha256};
use super::{Trailers, hex_array_lower, hex_mac, mismatch};
use crate::codec::hex;
use crate::error::{Code, Error};
use sha2::{Digest, Sha256};
use std::io::{self, Read};

/// The longest line of a chunk header, in bytes.
pub const CHUNK_LINE_BYTES_MAX: usize = 1024;
/// All trailing lines together, in bytes.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;
/// Bytes read ahead while a line is looked for. Data is read straight into the caller's buffer.
const READ_AHEAD_BYTES: usize = 2 * 1024;

const CHUNK_LABEL: &str = "AWS4-HMAC-SHA256-PAYLOAD";
const TRAILER_LABEL: &str = "AWS4-HMAC-SHA256-TRAILER";
const SIGNATURE_EXTENSION: &[u8] = b";chunk-signature=";
const TRAILER_SIGNATURE: &str = "x-amz-trailer-signature";

/// The chain of chunk signatures: what the next one is over. Both sides use it.
pub struct ChunkChain {
    access_key: String,
    /// The signing key.
    key: HmacSha256,
    /// The signing key after the fixed lines of a chunk's string to sign.
    chunk: HmacSha256,
    /// Time and scope, each with its line end.
    fixed: String,
    /// The signature before, in hexadecimal.
    previous: String,
}

impl ChunkChain {
    /// Starts at the request's own signature. `timestamp` and `scope` as in its string to sign.
    pub fn new(access_key: &str, key: HmacSha256, timestamp: &str, scope: &str, seed: &str) -> ChunkChain {
        let fixed = format!("{timestamp}\n{scope}\n");
        let chunk = key.clone().chain_update(CHUNK_LABEL).chain_update("\n").chain_update(&fixed);
        ChunkChain { access_key: access_key.to_owned(), key, chunk, fixed, previous: seed.to_owned() }
    }

    fn chunk_lines(&self, data_hash: &[u8; 32]) -> String {
        format!("{}\n{EMPTY_HASH}\n{}", self.previous, hex(data_hash))
    }

    /// Signs a chunk and moves on.
    pub fn sign_chunk(&mut self, data: &[u8]) -> &str {
        let lines = self.chunk_lines(&sha256(data));
        self.previous = hex_mac(self.chunk.clone().chain_update(lines));
        &self.previous
    }

    /// Signs the trailing fields, given as `name:value` lines that each end with a line feed.
    pub fn sign_trailer(&mut self, lines: &str) -> &str {
        let text = self.trailer_text(lines);
        self.previous = hex_mac(self.key.clone().chain_update(text));
        &self.previous
    }

    fn trailer_text(&self, lines: &str) -> String {
        let hash = hex(&sha256(lines.as_bytes()));
        format!("{TRAILER_LABEL}\n{}{}\n{hash}", self.fixed, self.previous)
    }

    fn verify_chunk(&mut self, data_hash: &[u8; 32], provided: &str) -> Result<(), Error> {
        let lines = self.chunk_lines(data_hash);
        let mac = self.chunk.clone().chain_update(&lines);
        let text = || format!("{CHUNK_LABEL}\n{}{lines}", self.fixed);
        self.check(mac, text, provided)?;
        self.previous = provided.to_owned();
        Ok(())
    }

    fn verify_trailer(&mut self, lines: &str, provided: &str) -> Result<(), Error> {
        let text = self.trailer_text(lines);
        let mac = self.key.clone().chain_update(&text);
        self.check(mac, || text, provided)
    }

    fn check(&self, mac: HmacSha256, text: impl FnOnce() -> String, provided: &str) -> Result<(), Error> {
        let signature = hex_array_lower::<32>(provided);
        match signature.is_some_and(|bytes| mac.verifies(&bytes)) {
            true => Ok(()),
            false => Err(mismatch(&self.access_key, &text(), provided, None)),
        }
    }
}

/// SHA-256 of nothing.
pub const EMPTY_HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The fewest bytes of a chunk that is not the last one with data.
pub const CHUNK_BYTES_MIN: u64 = 8 * 1024;

/// What is expected of the frames.
pub struct Framing {
    /// `x-amz-decoded-content-length`, in bytes.
    pub decoded_length: u64,
    /// The chain to verify chunk signatures with; `None` when chunks are not signed.
    pub chain: Option<ChunkChain>,
    /// Chunks may be signed without a chain to verify that with (`--auth any`).
    pub unverified: bool,
    /// Bytes that every chunk but the last has at least: [`CHUNK_BYTES_MIN`] (S3 user guide, "Signature calculations
    /// for the authorization header: transferring a payload in multiple chunks").
    pub chunk_bytes_min: u64,
    /// The names in `x-amz-trailer`, in lower case; `None` when the variant has no trailer.
    pub declared: Option<Vec<String>>,
    /// Where the trailing fields go before the end of the body is reported.
    pub trailers: Trailers,
}

/// Decodes and verifies an aws-chunked body; see the module for what it promises.
///
/// Errors: an [`Error`] inside [`io::Error::other`], or what the reader below reported. After an error
/// every further read fails.
pub struct ChunkedReader<R> {
    inner: R,
    framing: Framing,
    state: State,
    /// Bytes of the present chunk that are still to come.
    remaining: u64,
    /// Bytes of all chunk headers so far.
    announced: u64,
    /// How many chunks have begun, and the size of the last one.
    chunks: u64,
    size: u64,
    hash: Sha256,
    /// The signature in the header of the present chunk.
    signature: String,
    ahead: Box<[u8; READ_AHEAD_BYTES]>,
    ahead_start: usize,
    ahead_end: usize,
    line: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Data,
    Done,
    Failed,
}

/// What S3 says of a framed body that ends too early.
const CUT_SHORT: &str = "The request body terminated unexpectedly";

fn incomplete() -> io::Error {
    io::Error::other(Error::with_message(Code::IncompleteBody, CUT_SHORT))
}

/// S3 takes chunks that are not well-formed for a body that ends too early.
fn malformed() -> io::Error {
    let cause = "the chunks of the body are not well-formed";
    io::Error::other(Error::with_message(Code::IncompleteBody, CUT_SHORT).cause(cause))
}

impl<R: Read> ChunkedReader<R> {
    /// Decodes what `inner` yields, which must end where the request body ends.
    pub fn new(inner: R, framing: Framing) -> ChunkedReader<R> {
        ChunkedReader {
            inner,
            framing,
            state: State::Start,
            remaining: 0,
            announced: 0,
            chunks: 0,
            size: 0,
            hash: Sha256::new(),
            signature: String::new(),
            ahead: Box::new([0; READ_AHEAD_BYTES]),
            ahead_start: 0,
            ahead_end: 0,
            line: Vec::new(),
        }
    }

    fn advance(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.state == State::Start {
            self.begin_chunk()?;
        }
        match self.state {
            State::Done => return Ok(0),
            State::Failed => return Err(incomplete()),
            State::Start | State::Data => {}
        }
        let count = self.read_data(out)?;
        self.remaining -= count as u64;
        if self.remaining == 0 {
            self.end_chunk()?;
            self.begin_chunk()?;
        }
        Ok(count)
    }

    /// Reads a chunk header; after the last one also everything behind it.
    fn begin_chunk(&mut self) -> io::Result<()> {
        if !self.read_line(CHUNK_LINE_BYTES_MAX, malformed)? {
            return Err(incomplete());
        }
        self.remaining = self.parse_chunk_header().ok_or_else(malformed)?;
        if self.remaining > self.framing.decoded_length - self.announced {
            return Err(incomplete());
        }
        self.announced += self.remaining;
        self.state = State::Data;
        if self.remaining == 0 { self.end_body() } else { self.count_chunk() }
    }

    /// Counts a chunk with data, which ends the right of the one before to be small.
    fn count_chunk(&mut self) -> io::Result<()> {
        self.chunks += 1;
        if self.chunks > 1 && self.size < self.framing.chunk_bytes_min {
            let error = Error::new(Code::InvalidChunkSizeError)
                .field("Chunk", self.chunks.to_string())
                .field("BadChunkSize", self.size.to_string());
            return Err(io::Error::other(error));
        }
        self.size = self.remaining;
        Ok(())
    }

    /// The size in the header line; its signature goes to `self.signature`.
    fn parse_chunk_header(&mut self) -> Option<u64> {
        let line = self.line.strip_suffix(b"\r")?;
        let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
        let (size, extension) = line.split_at(digits);
        if self.framing.chain.is_some() {
            let signature = extension.strip_prefix(SIGNATURE_EXTENSION)?;
            self.signature.clear();
            self.signature.push_str(std::str::from_utf8(signature).ok()?);
        } else if !extension.is_empty() && !self.framing.unverified {
            return None;
        }
        // Sixteen digits are 64 bits. No digits at all are refused by the parse.
        if size.len() > 16 {
            return None;
        }
        u64::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()
    }

    fn read_data(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let wanted = out.len().min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        let out = &mut out[..wanted];
        let buffered = self.ahead_end - self.ahead_start;
        let count = if buffered > 0 {
            let count = wanted.min(buffered);
            out[..count].copy_from_slice(&self.ahead[self.ahead_start..self.ahead_start + count]);
            self.ahead_start += count;
            count
        } else {
            read_some(&mut self.inner, out)?
        };
        if count == 0 {
            return Err(incomplete());
        }
        if self.framing.chain.is_some() {
            self.hash.update(&out[..count]);
        }
        Ok(count)
    }

    /// The line end behind a chunk's data, and the chunk's signature.
    fn end_chunk(&mut self) -> io::Result<()> {
        self.expect_crlf()?;
        self.verify_signature()
    }

    fn verify_signature(&mut self) -> io::Result<()> {
        let Some(chain) = &mut self.framing.chain else {
            return Ok(());
        };
        let hash = self.hash.finalize_reset().into();
        chain.verify_chunk(&hash, &self.signature).map_err(io::Error::other)
    }

    /// Everything behind the header of the last chunk.
    fn end_body(&mut self) -> io::Result<()> {
        self.verify_signature()?;
        if self.announced != self.framing.decoded_length {
            return Err(incomplete());
        }
        let fields = match self.framing.declared.take() {
            Some(declared) => self.read_trailer(&declared)?,
            None => {
                self.expect_crlf()?;
                Vec::new()
            }
        };
        if self.ahead_start < self.ahead_end || self.fill()? > 0 {
            return Err(malformed());
        }
        for (name, value) in fields {
            self.framing.trailers.push(name, value);
        }
        self.state = State::Done;
        Ok(())
    }

    /// Reads trailing lines up to the empty one that ends them.
    ///
    /// An empty line before all that must come has come is passed over: clients disagree on how many
    /// line ends stand between the last chunk, the fields and the signature of the fields.
    fn read_trailer(&mut self, declared: &[String]) -> io::Result<Vec<(String, String)>> {
        let refused = || io::Error::other(Error::new(Code::MalformedTrailerError));
        let mut section = TrailerSection::new(declared, self.framing.chain.is_some());
        let mut bytes_left = TRAILER_BYTES_MAX;
        let mut passed_over = false;
        loop {
            if !self.read_line(bytes_left, refused)? {
                return Err(if passed_over { refused() } else { incomplete() });
            }
            bytes_left -= self.line.len();
            let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
            if line.is_empty() && section.complete() {
                // minio-go ends its last field with a line feed of its own, and the section with two empty lines.
                if self.read_line(1, malformed)? && !matches!(self.line[..], [] | [b'\r']) {
                    return Err(malformed());
                }
                return Ok(section.fields);
            }
            if line.is_empty() {
                passed_over = true;
                bytes_left = bytes_left.checked_sub(1).ok_or_else(refused)?;
                continue;
            }
            let line = std::str::from_utf8(line).map_err(|_| refused())?;
            let (name, value) = line.split_once(':').ok_or_else(refused)?;
            if self.framing.unverified && name.eq_ignore_ascii_case(TRAILER_SIGNATURE) {
                continue;
            }
            section.take(name, value.trim(), self.framing.chain.as_mut()).map_err(io::Error::other)?;
        }
    }

    fn expect_crlf(&mut self) -> io::Result<()> {
        for expected in *b"\r\n" {
            if self.ahead_start == self.ahead_end && self.fill()? == 0 {
                return Err(incomplete());
            }
            if self.ahead[self.ahead_start] != expected {
                return Err(malformed());
            }
            self.ahead_start += 1;
        }
        Ok(())
    }

    /// Reads a line into `self.line`, without its line feed. `Ok(false)` when the body ends before its
    /// first byte; `too_long` when it has more than `bytes_max` bytes.
    fn read_line(&mut self, bytes_max: usize, too_long: fn() -> io::Error) -> io::Result<bool> {
        self.line.clear();
        loop {
            if self.ahead_start == self.ahead_end && self.fill()? == 0 {
                return if self.line.is_empty() { Ok(false) } else { Err(incomplete()) };
            }
            let ahead = &self.ahead[self.ahead_start..self.ahead_end];
            let end = ahead.iter().position(|byte| *byte == b'\n');
            let part = &ahead[..end.unwrap_or(ahead.len())];
            if self.line.len() + part.len() > bytes_max {
                return Err(too_long());
            }
            self.line.extend_from_slice(part);
            self.ahead_start += part.len() + usize::from(end.is_some());
            if end.is_some() {
                return Ok(true);
            }
        }
    }

    /// Reads ahead once, when nothing is left of the last time; the number of bytes that came.
    fn fill(&mut self) -> io::Result<usize> {
        self.ahead_start = 0;
        self.ahead_end = 0;
        self.ahead_end = read_some(&mut self.inner, &mut self.ahead[..])?;
        Ok(self.ahead_end)
    }
}

fn read_some(inner: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    loop {
        match inner.read(out) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

impl<R: Read> Read for ChunkedReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        let result = self.advance(out);
        if result.is_err() {
            self.state = State::Failed;
        }
        result
    }
}

/// The trailing fields seen so far, against what was declared.
struct TrailerSection<'d> {
    declared: &'d [String],
    signed: bool,
    verified: bool,
    fields: Vec<(String, String)>,
}

impl<'d> TrailerSection<'d> {
    fn new(declared: &'d [String], signed: bool) -> TrailerSection<'d> {
        TrailerSection { declared, signed, verified: false, fields: Vec::new() }
    }

    fn complete(&self) -> bool {
        // Only declared names are taken, and each once, so the count tells.
        self.verified >= self.signed && self.fields.len() == self.declared.len()
    }

    fn take(&mut self, name: &str, value: &str, chain: Option<&mut ChunkChain>) -> Result<(), Error> {
        let name = name.to_ascii_lowercase();
        let refused = || Err(Error::new(Code::MalformedTrailerError));
        if self.verified {
            return refused();
        }
        if let Some(chain) = chain.filter(|_| name == TRAILER_SIGNATURE) {
            let lines: String = self.fields.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
            chain.verify_trailer(&lines, value)?;
            self.verified = true;
            return Ok(());
        }
        let repeated = self.fields.iter().any(|(n, _)| *n == name);
        if repeated || !self.declared.contains(&name) {
            return refused();
        }
        self.fields.push((name, value.to_owned()));
        Ok(())
    }
}

/// Frames a body for sending: each slice of `chunks` becomes a chunk, none may be empty.
///
/// Signed when `chain` is given; with a trailer when `trailer` is, as name and value pairs.
pub fn encode(
    chunks: &[&[u8]],
    mut chain: Option<&mut ChunkChain>,
    trailer: Option<&[(&str, &str)]>,
) -> Vec<u8> {
    let mut out = Vec::new();
    for data in chunks.iter().copied().chain([&[][..]]) {
        out.extend_from_slice(format!("{:x}", data.len()).as_bytes());
        if let Some(chain) = chain.as_deref_mut() {
            out.extend_from_slice(SIGNATURE_EXTENSION);
            out.extend_from_slice(chain.sign_chunk(data).as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        if !data.is_empty() {
            out.extend_from_slice(data);
            out.extend_from_slice(b"\r\n");
        }
    }
    let mut lines = String::new();
    for (name, value) in trailer.unwrap_or_default() {
        lines.push_str(&format!("{name}:{value}\n"));
        out.extend_from_slice(format!("{name}:{value}\r\n").as_bytes());
    }
    if let (Some(chain), Some(_)) = (chain, trailer) {
        out.extend_from_slice(format!("{TRAILER_SIGNATURE}:{}\r\n", chain.sign_trailer(&lines)).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out
}

#[cfg(test)]
mod tests;
