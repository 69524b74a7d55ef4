//! What a request says about its body (`x-amz-content-sha256`), and the readers that hold it to that.

use super::chunked::{CHUNK_BYTES_MIN, ChunkChain, ChunkedReader, EMPTY_HASH, Framing};
use super::{Head, Trailers, hex_array};
use crate::codec::hex;
use crate::error::{Code, Error, Result};
use crate::http::Body;
use sha2::{Digest, Sha256};
use std::io::{self, Read};

/// How a body is bound to the request's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadKind {
    /// By its SHA-256.
    Hash([u8; 32]),
    /// Not at all: `UNSIGNED-PAYLOAD`, Signature Version 2, or no signature.
    Unsigned,
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD`: by a signature for each chunk.
    SignedChunks,
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER`: the same, and for the trailing fields.
    SignedChunksTrailer,
    /// `STREAMING-UNSIGNED-PAYLOAD-TRAILER`: framed, with trailing fields, unsigned.
    UnsignedChunksTrailer,
}

/// Names that `x-amz-trailer` may list.
const TRAILER_NAMES_MAX: usize = 8;

const MALFORMED: &str = "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, \
    STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, \
    STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER or a valid \
    sha256 value.";

impl PayloadKind {
    /// Reads the value of `x-amz-content-sha256`. Errors: 501 `NotImplemented` for asymmetric chunk
    /// signatures, 400 `InvalidArgument` for anything unknown (BI-127, BI-179).
    pub fn parse(value: &str) -> Result<PayloadKind> {
        Ok(match value {
            "UNSIGNED-PAYLOAD" => PayloadKind::Unsigned,
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => PayloadKind::SignedChunks,
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => PayloadKind::SignedChunksTrailer,
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => PayloadKind::UnsignedChunksTrailer,
            "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"
            | "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER" => {
                return Err(Error::new(Code::NotImplemented).field("Header", "x-amz-content-sha256"));
            }
            _ => match hex_array(value) {
                Some(hash) => PayloadKind::Hash(hash),
                None => return Err(Error::invalid_argument("x-amz-content-sha256", value, MALFORMED)),
            },
        })
    }

    /// Whether the body arrives in aws-chunked frames.
    pub fn is_chunked(self) -> bool {
        !matches!(self, PayloadKind::Hash(_) | PayloadKind::Unsigned)
    }

    /// Whether chunk signatures are to be verified.
    pub fn has_chunk_signatures(self) -> bool {
        matches!(self, PayloadKind::SignedChunks | PayloadKind::SignedChunksTrailer)
    }

    fn has_trailer(self) -> bool {
        matches!(self, PayloadKind::SignedChunksTrailer | PayloadKind::UnsignedChunksTrailer)
    }
}

/// Wraps a body so that reading it to its end verifies what `kind` promises.
///
/// `chain` must be given when `kind` has chunk signatures; where there is none, because nobody signed
/// the request, such a body is refused with 403 (SE-05, SE-07).
pub fn wrap<'a>(
    head: &Head<'_>,
    kind: PayloadKind,
    chain: Option<ChunkChain>,
    body: Body<'a>,
    trailers: &Trailers,
) -> Result<Body<'a>> {
    match kind {
        PayloadKind::Unsigned => Ok(body),
        PayloadKind::Hash(hash) => wrap_hashed(hash, body),
        _ if kind.has_chunk_signatures() && chain.is_none() => Err(Error::new(Code::AccessDenied)),
        _ => {
            let decoded_length = decoded_length(head, &body)?;
            let declared = if kind.has_trailer() { Some(declared_trailers(head)?) } else { None };
            let framing = Framing {
                decoded_length,
                chain,
                unverified: false,
                chunk_bytes_min: CHUNK_BYTES_MIN,
                declared,
                trailers: trailers.clone(),
            };
            Ok(body.wrap(Some(decoded_length), |inner| Box::new(ChunkedReader::new(inner, framing))))
        }
    }
}

/// As [`wrap`], but takes chunk signatures off without looking at them: for `--auth any`.
pub(super) fn wrap_unverified<'a>(
    head: &Head<'_>,
    kind: PayloadKind,
    body: Body<'a>,
    trailers: &Trailers,
) -> Result<Body<'a>> {
    if !kind.has_chunk_signatures() {
        return wrap(head, kind, None, body, trailers);
    }
    let decoded_length = decoded_length(head, &body)?;
    let declared = if kind.has_trailer() { Some(declared_trailers(head)?) } else { None };
    let framing = Framing {
        decoded_length,
        chain: None,
        unverified: true,
        chunk_bytes_min: CHUNK_BYTES_MIN,
        declared,
        trailers: trailers.clone(),
    };
    Ok(body.wrap(Some(decoded_length), |inner| Box::new(ChunkedReader::new(inner, framing))))
}

fn wrap_hashed(hash: [u8; 32], body: Body<'_>) -> Result<Body<'_>> {
    let length = body.length();
    if length != Some(0) {
        return Ok(body.wrap(length, |inner| Box::new(HashedReader::new(inner, length, hash))));
    }
    // Nothing will come, and operations without a body never read one: decide now.
    if hex(&hash) == EMPTY_HASH { Ok(body) } else { Err(hash_mismatch(&hash, EMPTY_HASH.to_owned())) }
}

/// Reads `x-amz-decoded-content-length` (BI-109, BI-112, BI-113).
fn decoded_length(head: &Head<'_>, body: &Body<'_>) -> Result<u64> {
    const NAME: &str = "x-amz-decoded-content-length";
    let value = head.headers.get(NAME).ok_or_else(|| Error::new(Code::MissingContentLength))?;
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let length = value.parse::<u64>().ok().filter(|_| digits).ok_or_else(|| {
        Error::invalid_argument(NAME, value, "x-amz-decoded-content-length must be a number of bytes.")
    })?;
    match body.length() {
        Some(encoded) if encoded <= length => Err(Error::new(Code::IncompleteBody).close()),
        _ => Ok(length),
    }
}

/// Reads `x-amz-trailer`. S3 knows checksums there and nothing else.
fn declared_trailers(head: &Head<'_>) -> Result<Vec<String>> {
    const UNSUPPORTED: &str = "The value specified in the x-amz-trailer header is not supported";
    let values = head.headers.get_all("x-amz-trailer").flat_map(|value| value.split(','));
    let mut names: Vec<String> = Vec::new();
    for name in values.map(str::trim).filter(|name| !name.is_empty()) {
        let name = name.to_ascii_lowercase();
        let supported = name.starts_with("x-amz-checksum-") && !names.contains(&name);
        if !supported || names.len() >= TRAILER_NAMES_MAX {
            return Err(Error::with_message(Code::InvalidRequest, UNSUPPORTED));
        }
        names.push(name);
    }
    Ok(names)
}

fn hash_mismatch(claimed: &[u8], computed: String) -> Error {
    Error::new(Code::XAmzContentSHA256Mismatch)
        .field("ClientComputedContentSHA256", hex(claimed))
        .field("S3ComputedContentSHA256", computed)
}

/// Hashes what passes and compares at the end: when the declared length has been reached, before the
/// last bytes are handed on, or else where the body ends. A caller must read until `Ok(0)`.
struct HashedReader<R> {
    inner: R,
    left: Option<u64>,
    expected: [u8; 32],
    hash: Sha256,
    checked: bool,
}

impl<R: Read> HashedReader<R> {
    fn new(inner: R, length: Option<u64>, expected: [u8; 32]) -> HashedReader<R> {
        HashedReader { inner, left: length, expected, hash: Sha256::new(), checked: false }
    }

    fn check(&mut self) -> io::Result<()> {
        // The hash is no secret: the client sent it and the body. An early exit tells nothing.
        let computed: [u8; 32] = self.hash.clone().finalize().into();
        if computed != self.expected {
            return Err(io::Error::other(hash_mismatch(&self.expected, hex(&computed))));
        }
        self.checked = true;
        Ok(())
    }
}

impl<R: Read> Read for HashedReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        let count = self.inner.read(out)?;
        self.hash.update(&out[..count]);
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(count as u64);
        }
        // Bytes after a passed check would not be covered by it, so they bring about another one.
        self.checked &= count == 0;
        if !self.checked && (count == 0 || self.left == Some(0)) {
            self.check()?;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::keys::sha256;
    use crate::http::{Headers, Method};

    fn wrap_with<'a>(fields: &[(&str, &str)], kind: PayloadKind, body: Body<'a>) -> Result<Body<'a>> {
        let mut headers = Headers::new();
        fields.iter().for_each(|(name, value)| headers.push(name, value));
        let head = Head { method: Method::Put, path: "/b/k", query: "", headers: &headers };
        wrap(&head, kind, None, body, &Trailers::default())
    }

    fn body(bytes: &[u8], length: Option<u64>) -> Body<'_> {
        Body::new(length, Box::new(bytes))
    }

    /// BI-179, BI-127.
    #[test]
    fn only_known_words_and_hashes_are_payload_kinds() {
        assert_eq!(PayloadKind::parse("UNSIGNED-PAYLOAD").unwrap(), PayloadKind::Unsigned);
        assert_eq!(PayloadKind::parse(EMPTY_HASH).unwrap(), PayloadKind::Hash(sha256(b"")));
        for value in ["", "STREAMING-FOO", "unsigned-payload", "e3b0", &EMPTY_HASH[1..], &"g".repeat(64)] {
            let error = PayloadKind::parse(value).expect_err(value);
            assert_eq!(error.code(), Code::InvalidArgument);
            assert_eq!(error.fields()[1], ("ArgumentValue", value.to_owned()));
        }
        let error = PayloadKind::parse("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD").expect_err("asymmetric");
        assert_eq!(error.code(), Code::NotImplemented);
    }

    /// BI-179, BI-187.
    #[test]
    fn a_body_that_is_not_the_signed_one_never_ends_well() {
        for length in [Some(5), None] {
            let mut good =
                wrap_with(&[], PayloadKind::Hash(sha256(b"hello")), body(b"hello", length)).unwrap();
            let mut read = Vec::new();
            good.read_to_end(&mut read).expect("the right body");
            assert_eq!((read.as_slice(), good.length()), (&b"hello"[..], length));
            let mut bad =
                wrap_with(&[], PayloadKind::Hash(sha256(b"hellO")), body(b"hello", length)).unwrap();
            let error = Error::from_body(bad.read_to_end(&mut Vec::new()).expect_err("another body"));
            assert_eq!(error.code(), Code::XAmzContentSHA256Mismatch);
            assert_eq!(error.fields()[0].1, hex(&sha256(b"hellO")));
            assert_eq!(error.fields()[1].1, hex(&sha256(b"hello")));
            assert!(bad.read(&mut [0; 8]).is_err(), "an error stays");
        }
        // A caller that stops at the length has been told.
        let mut bad = wrap_with(&[], PayloadKind::Hash(sha256(b"x")), body(b"hello", Some(5))).unwrap();
        assert!(bad.read_exact(&mut [0; 5]).is_err());
    }

    #[test]
    fn an_absent_body_is_compared_at_once() {
        assert!(wrap_with(&[], PayloadKind::Hash(sha256(b"")), Body::empty()).is_ok());
        let error =
            wrap_with(&[], PayloadKind::Hash(sha256(b"x")), Body::empty()).err().expect("no such body");
        assert_eq!(error.code(), Code::XAmzContentSHA256Mismatch);
    }

    /// BI-109, BI-112, BI-113.
    #[test]
    fn a_chunked_body_needs_a_decoded_length_that_is_a_number() {
        let kind = PayloadKind::UnsignedChunksTrailer;
        let check = |fields: &[(&str, &str)], code: Code| {
            let error = wrap_with(fields, kind, body(b"0\r\n\r\n", Some(5))).err().expect(code.name);
            assert_eq!(error.code(), code, "{fields:?}");
        };
        check(&[], Code::MissingContentLength);
        for value in ["-1", "+1", "", "abc", "18446744073709551616", "1.0", "0x1"] {
            check(&[("x-amz-decoded-content-length", value)], Code::InvalidArgument);
        }
        check(&[("x-amz-decoded-content-length", "5")], Code::IncompleteBody);
        check(&[("x-amz-decoded-content-length", "18446744073709551615")], Code::IncompleteBody);
        for names in ["x-amz-acl", "x-amz-checksum-crc32,x-amz-checksum-crc32"] {
            check(&[("x-amz-decoded-content-length", "0"), ("x-amz-trailer", names)], Code::InvalidRequest);
        }
    }

    /// SE-05, SE-07: framing is never stripped from chunks whose signatures nobody can check.
    #[test]
    fn signed_chunks_without_a_signed_request_are_refused() {
        for kind in [PayloadKind::SignedChunks, PayloadKind::SignedChunksTrailer] {
            let fields = [("x-amz-decoded-content-length", "0")];
            let error = wrap_with(&fields, kind, body(b"0\r\n\r\n", Some(5))).err().expect("refused");
            assert_eq!(error.code(), Code::AccessDenied);
        }
    }
}
