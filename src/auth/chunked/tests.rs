//! Published chunk signatures, the wire forms of SDKs, and every way to break a framed body.

use super::*;
use crate::auth::keys::derive;
use crate::auth::tests::{Attempt, NOW, Random, SECRET, value};
use crate::http::Method;

const SIGNED: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
const SIGNED_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
const UNSIGNED_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
const SCOPE: &str = "20130524/us-east-1/s3/aws4_request";
const CRC32C: (&str, &str) = ("x-amz-checksum-crc32c", "sOO8/Q==");

fn chain() -> ChunkChain {
    let key = derive(SECRET, "20130524", "us-east-1");
    ChunkChain::new("AKIAIOSFODNN7EXAMPLE", key, "20130524T000000Z", SCOPE, &"5".repeat(64))
}

fn framing(decoded_length: u64, chain: Option<ChunkChain>, declared: Option<&[&str]>) -> Framing {
    let declared = declared.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
    Framing {
        decoded_length,
        chain,
        unverified: false,
        chunk_bytes_min: 0,
        declared,
        trailers: Trailers::default(),
    }
}

/// Reads a whole framed body; the bytes and the first trailer.
fn decode(framed: &[u8], framing: Framing) -> Result<(Vec<u8>, Option<String>), Error> {
    let trailers = framing.trailers.clone();
    let mut reader = ChunkedReader::new(framed, framing);
    let mut decoded = Vec::new();
    match reader.read_to_end(&mut decoded) {
        Ok(_) => Ok((decoded, trailers.get(CRC32C.0))),
        Err(error) => {
            assert!(trailers.get(CRC32C.0).is_none(), "trailers of a broken body are not shown");
            assert!(reader.read(&mut [0; 16]).is_err(), "an error stays");
            Err(Error::from_body(error))
        }
    }
}

fn refused(framed: &[u8], framing: Framing, code: Code) -> Error {
    let error = decode(framed, framing).expect_err(code.name);
    assert_eq!(error.code(), code, "{}: {}", error.message(), String::from_utf8_lossy(framed));
    error
}

/// The upload of AWS's examples: 66560 bytes of `a` in two chunks.
fn published(payload: &str, extra: (&str, &str), names: &str, signature: &str) -> Attempt {
    Attempt::new(Method::Put, "/examplebucket/chunkObject.txt", "")
        .with("host", "s3.amazonaws.com")
        .field("x-amz-date", "20130524T000000Z")
        .field("x-amz-storage-class", "REDUCED_REDUNDANCY")
        .field(
            "authorization",
            &format!(
                "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/{SCOPE},SignedHeaders={names},\
                 Signature={signature}"
            ),
        )
        .field("x-amz-content-sha256", payload)
        .field("content-encoding", "aws-chunked")
        .field("x-amz-decoded-content-length", "66560")
        .field(extra.0, extra.1)
}

fn frames(signatures: [&str; 3]) -> Vec<u8> {
    let mut framed = Vec::new();
    for (length, signature) in [65_536, 1_024, 0].into_iter().zip(signatures) {
        framed.extend_from_slice(format!("{length:x};chunk-signature={signature}\r\n").as_bytes());
        framed.extend_from_slice(&vec![b'a'; length]);
        if length > 0 {
            framed.extend_from_slice(b"\r\n");
        }
    }
    framed
}

#[test]
fn chunk_signatures_published_by_aws_are_accepted() {
    let mut framed = frames([
        "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
        "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
        "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
    ]);
    framed.extend_from_slice(b"\r\n");
    assert_eq!(framed.len(), 66_824, "the Content-Length of the example");
    let attempt = published(
        SIGNED,
        ("content-length", "66824"),
        "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;\
         x-amz-storage-class",
        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
    );
    assert_eq!(attempt.body(&framed).pass().unwrap().body, vec![b'a'; 66_560]);
}

#[test]
fn trailer_signatures_published_by_aws_are_accepted_in_each_wire_form() {
    let framed = frames([
        "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
        "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
        "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
    ]);
    let attempt = published(
        SIGNED_TRAILER,
        ("x-amz-trailer", CRC32C.0),
        "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;\
         x-amz-storage-class;x-amz-trailer",
        "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
    );
    let signature = "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435";
    for between in ["\r\n", "\n\r\n", "\n", "\r\n\r\n", "\r\n\r\n\r\n"] {
        for before in ["", "\r\n"] {
            let trailer = format!("{before}x-amz-checksum-crc32c:sOO8/Q=={between}");
            let end = format!("x-amz-trailer-signature:{signature}\r\n\r\n");
            let body = [&framed[..], trailer.as_bytes(), end.as_bytes()].concat();
            let passed = attempt.clone().body(&body).pass().unwrap();
            assert_eq!(passed.body.len(), 66_560);
            assert_eq!(passed.trailers.get(CRC32C.0).as_deref(), Some(CRC32C.1));
        }
    }
}

#[test]
fn the_wire_forms_of_sdks_are_read() {
    let body = |framed: &str, declared: &[&str]| decode(framed.as_bytes(), framing(5, None, Some(declared)));
    let found = Some("sOO8/Q==".to_owned());
    for framed in [
        "5\r\nhello\r\n0\r\nx-amz-checksum-crc32c:sOO8/Q==\r\n\r\n",
        "5\r\nhello\r\n0\r\nX-Amz-Checksum-Crc32c: sOO8/Q== \r\n\r\n",
        "0005\r\nhello\r\n0\r\nx-amz-checksum-crc32c:sOO8/Q==\n\r\n",
        "5\r\nhello\r\n0\r\nx-amz-checksum-crc32c:sOO8/Q==\n\r\n\r\n",
        "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\nx-amz-checksum-crc32c:sOO8/Q==\r\n\r\n",
    ] {
        let (decoded, trailer) = body(framed, &[CRC32C.0]).expect(framed);
        assert_eq!((decoded.as_slice(), trailer), (&b"hello"[..], found.clone()), "{framed}");
    }
    assert_eq!(body("5\r\nhello\r\n0\r\n\r\n", &[]).expect("no trailer").0, b"hello");
    assert_eq!(decode(b"0\r\n\r\n", framing(0, None, Some(&[]))).expect("nothing").0, b"");
    let upper = b"0000000000000A\r\n0123456789\r\n0\r\n\r\n";
    assert_eq!(decode(upper, framing(10, None, Some(&[]))).expect("upper case").0, b"0123456789");
}

/// Three chunks with a signed trailer, and the framing to read them with.
fn valid() -> (Vec<u8>, impl Fn() -> Framing) {
    let framed = encode(&[b"hello", b", ", b"world"], Some(&mut chain()), Some(&[CRC32C]));
    (framed, || framing(12, Some(chain()), Some(&[CRC32C.0])))
}

#[test]
fn what_was_encoded_is_decoded() {
    let (framed, framing) = valid();
    let (decoded, trailer) = decode(&framed, framing()).unwrap();
    assert_eq!((decoded.as_slice(), trailer.as_deref()), (&b"hello, world"[..], Some(CRC32C.1)));
}

/// BI-110, BI-111, BI-117.
#[test]
fn the_decoded_length_must_be_met_exactly() {
    let framed = encode(&[b"hello"], Some(&mut chain()), None);
    for length in [0, 4, 6, u64::MAX] {
        refused(&framed, framing(length, Some(chain()), None), Code::IncompleteBody);
    }
    for framed in [&b"ffffffffffffffff\r\nhello\r\n"[..], b"6\r\nhello\r\n0\r\n\r\n"] {
        refused(framed, framing(5, None, Some(&[])), Code::IncompleteBody);
    }
}

/// BI-114, BI-116, SE-06.
#[test]
fn a_wrong_chunk_signature_is_told_with_what_was_signed() {
    let mut framed = encode(&[b"hello", b", ", b"world"], Some(&mut chain()), None);
    let at = framed.windows(2).position(|pair| pair == b", ").unwrap();
    framed[at] = b';';
    let error = refused(&framed, framing(12, Some(chain()), None), Code::SignatureDoesNotMatch);
    let text = value(&error, "StringToSign");
    assert!(text.starts_with(&format!("AWS4-HMAC-SHA256-PAYLOAD\n20130524T000000Z\n{SCOPE}\n")), "{text}");
    assert!(text.ends_with(&hex(&sha256(b"; "))), "{text}");
    assert_eq!(value(&error, "SignatureProvided").len(), 64);
}

/// BI-115.
#[test]
fn chunks_cannot_be_moved_repeated_or_dropped() {
    let parts: [&[u8]; 3] = [b"one", b"two", b"six"];
    let framed = encode(&parts, Some(&mut chain()), None);
    let size = "3;chunk-signature=\r\n\r\n".len() + 64 + 3;
    let [one, two, six, last] =
        [0, size, 2 * size, 3 * size].map(|at| &framed[at..(at + size).min(framed.len())]);
    for order in [vec![two, one, six], vec![one, one, two], vec![one, six, two], vec![one, two, two]] {
        let moved = [order.concat().as_slice(), last].concat();
        refused(&moved, framing(9, Some(chain()), None), Code::SignatureDoesNotMatch);
    }
    for order in [vec![one, two], vec![one, six], vec![two, six]] {
        let dropped = [order.concat().as_slice(), last].concat();
        refused(&dropped, framing(6, Some(chain()), None), Code::SignatureDoesNotMatch);
    }
}

/// BI-116, BI-118.
#[test]
fn malformed_chunk_headers_are_refused() {
    let signature = "0".repeat(64);
    let long = format!("5;chunk-signature={}\r\n", "0".repeat(1 << 20));
    let over = format!("{}\r\nhello\r\n0\r\n\r\n", "0".repeat(CHUNK_LINE_BYTES_MAX));
    let signed = |header: &str, code| {
        let framed = format!("{header}hello\r\n0;chunk-signature={signature}\r\n\r\n");
        refused(framed.as_bytes(), framing(5, Some(chain()), None), code);
    };
    signed("5\r\n", Code::IncompleteBody);
    signed("5;\r\n", Code::IncompleteBody);
    signed(";chunk-signature=\r\n", Code::IncompleteBody);
    signed(&format!("5;signature={signature}\r\n"), Code::IncompleteBody);
    signed(&format!("5;chunk-signature={signature}\n"), Code::IncompleteBody);
    signed(&format!("5;chunk-signature={signature};x=y\r\n"), Code::SignatureDoesNotMatch);
    signed("5;chunk-signature=\r\n", Code::SignatureDoesNotMatch);
    signed(&long, Code::IncompleteBody);
    for framed in [
        "",
        "\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "00000000000000005\r\nhello\r\n0\r\n\r\n",
        "5;a=b\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        &over,
    ] {
        refused(framed.as_bytes(), framing(5, None, Some(&[])), Code::IncompleteBody);
    }
}

/// BI-120.
#[test]
fn nothing_may_follow_the_end_of_the_body() {
    let (framed, with) = valid();
    let plain = encode(&[b"hello"], Some(&mut chain()), None);
    // One empty line more than a trailer needs is minio-go's, see above.
    for extra in [&b"x"[..], b"\r\n\r\n", b"\r\nx", b"0", &[b'a'; 5000]] {
        refused(&[&framed[..], extra].concat(), with(), Code::IncompleteBody);
    }
    for extra in [&b"x"[..], b"\r\n", b"0", &[b'a'; 5000]] {
        refused(&[&plain[..], extra].concat(), framing(5, Some(chain()), None), Code::IncompleteBody);
    }
}

/// BI-121.
#[test]
fn trailers_must_be_those_that_were_declared() {
    let check = |trailer: &str, declared: &[&str]| {
        let framed = format!("5\r\nhello\r\n0\r\n{trailer}\r\n");
        refused(framed.as_bytes(), framing(5, None, Some(declared)), Code::MalformedTrailerError);
    };
    let crc = "x-amz-checksum-crc32c:sOO8/Q==\r\n";
    check("", &[CRC32C.0]);
    check(crc, &[]);
    check(crc, &["x-amz-checksum-crc32"]);
    check(crc, &[CRC32C.0, "x-amz-checksum-sha1"]);
    check(&format!("{crc}{crc}"), &[CRC32C.0]);
    check(&format!("{crc}x-amz-acl:public-read\r\n"), &[CRC32C.0]);
    check("x-amz-checksum-crc32c\r\n", &[CRC32C.0]);
    check("x-amz-trailer-signature:00\r\n", &[]);
    check(&format!("x-amz-checksum-crc32c:{}\r\n", "0".repeat(TRAILER_BYTES_MAX)), &[CRC32C.0]);
    check(&"\r\n".repeat(TRAILER_BYTES_MAX), &[CRC32C.0]);
    check(&"\n".repeat(2 * TRAILER_BYTES_MAX), &[CRC32C.0]);
}

/// BI-123.
#[test]
fn a_signed_trailer_needs_its_signature_last() {
    let (framed, with) = valid();
    let text = String::from_utf8(framed).unwrap();
    let at = text.find(CRC32C.0).unwrap();
    let signature = text[at..].lines().nth(1).unwrap();
    let replaced =
        |from: &str, to: &str, code| drop(refused(text.replace(from, to).as_bytes(), with(), code));
    replaced("sOO8/Q==", "sOO8/A==", Code::SignatureDoesNotMatch);
    replaced(&format!("{signature}\r\n"), "", Code::MalformedTrailerError);
    replaced(signature, "x-amz-trailer-signature:00", Code::SignatureDoesNotMatch);
    replaced(signature, &format!("{signature}\r\n{signature}"), Code::MalformedTrailerError);
    let trailer = text[at..].lines().next().unwrap();
    let swapped = format!("{}{signature}\r\n{trailer}\r\n\r\n", &text[..at]);
    refused(swapped.as_bytes(), with(), Code::SignatureDoesNotMatch);
    let without = encode(&[b"hello, world"], Some(&mut chain()), None);
    refused(&without, framing(12, Some(chain()), Some(&[])), Code::MalformedTrailerError);
}

/// BI-130.
#[test]
fn every_truncation_of_a_valid_body_is_refused() {
    let (framed, with) = valid();
    let plain = encode(&[b"hello", b", ", b"world"], Some(&mut chain()), None);
    let unsigned = encode(&[b"hello", b", ", b"world"], None, Some(&[CRC32C]));
    for end in 0..framed.len() {
        let error = decode(&framed[..end], with()).expect_err("truncated");
        assert!([Code::IncompleteBody, Code::MalformedTrailerError].contains(&error.code()), "at {end}");
    }
    for end in 0..plain.len() {
        refused(&plain[..end], framing(12, Some(chain()), None), Code::IncompleteBody);
    }
    for end in 0..unsigned.len() {
        refused(&unsigned[..end], framing(12, None, Some(&[CRC32C.0])), Code::IncompleteBody);
    }
}

/// SE-06, SE-07: a signed body with any byte changed is refused, or the change was in the spelling of
/// a length or a field name and what is decoded is the same.
#[test]
fn no_changed_byte_changes_what_is_decoded() {
    let mut random = Random::new();
    let (framed, with) = valid();
    let whole = decode(&framed, with()).unwrap();
    for at in 0..framed.len() {
        for _ in 0..4 {
            let mut mutated = framed.clone();
            mutated[at] ^= 1 + random.below(255) as u8;
            if let Ok(decoded) = decode(&mutated, with()) {
                assert_eq!(decoded, whole, "{} at {at}", mutated[at]);
                assert!(mutated[at].eq_ignore_ascii_case(&framed[at]) || framed[at] == b'\r', "at {at}");
            }
        }
    }
}

/// Yields at most a few bytes at a time, now and then with an interruption.
struct Dribble<'r> {
    bytes: &'r [u8],
    random: &'r mut Random,
}

impl Read for Dribble<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.random.below(8) == 0 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let count = (1 + self.random.below(40)).min(out.len());
        self.bytes.read(&mut out[..count])
    }
}

#[test]
fn the_sizes_of_reads_do_not_matter() {
    let mut random = Random::new();
    let data: Vec<u8> = (0..20_000).map(|_| random.below(256) as u8).collect();
    for _ in 0..50 {
        let mut parts: Vec<&[u8]> = Vec::new();
        let mut rest = data.as_slice();
        while !rest.is_empty() {
            let (part, tail) = rest.split_at((1 + random.below(9_000)).min(rest.len()));
            parts.push(part);
            rest = tail;
        }
        let framed = encode(&parts, Some(&mut chain()), Some(&[CRC32C]));
        let framing = framing(data.len() as u64, Some(chain()), Some(&[CRC32C.0]));
        let trailers = framing.trailers.clone();
        let read_bytes = 1 + random.below(3_000);
        let mut reader = ChunkedReader::new(Dribble { bytes: &framed, random: &mut random }, framing);
        let (mut decoded, mut buffer) = (Vec::new(), vec![0; read_bytes]);
        loop {
            match reader.read(&mut buffer).expect("a valid body") {
                0 => break,
                count => decoded.extend_from_slice(&buffer[..count]),
            }
        }
        assert_eq!(decoded, data);
        assert_eq!(trailers.get(CRC32C.0).as_deref(), Some(CRC32C.1));
    }
}

#[test]
fn a_caller_that_stops_at_the_length_has_had_everything_verified() {
    let mut framed = encode(&[b"hello, ", b"world"], Some(&mut chain()), Some(&[CRC32C]));
    let at = framed.len() - 6;
    framed[at] ^= 1;
    let mut reader = ChunkedReader::new(&framed[..], framing(12, Some(chain()), Some(&[CRC32C.0])));
    let error = reader.read_exact(&mut [0; 12]).expect_err("the signature of the trailer is wrong");
    assert_eq!(Error::from_body(error).code(), Code::SignatureDoesNotMatch);
}

#[test]
fn errors_from_below_come_out_as_they_are() {
    struct Stalled;
    impl Read for Stalled {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::TimedOut.into())
        }
    }
    let mut reader = ChunkedReader::new((&b"5\r\nhel"[..]).chain(Stalled), framing(5, None, Some(&[])));
    let error = reader.read_to_end(&mut Vec::new()).expect_err("stalled");
    assert_eq!(Error::from_body(error).code(), Code::RequestTimeout);
}

/// Only the last chunk with data may be smaller than 8 KiB, whoever signs it.
#[test]
fn small_chunks_are_refused_unless_they_are_the_last() {
    let read = |sizes: &[usize]| {
        let chunks: Vec<Vec<u8>> = sizes.iter().map(|size| vec![b'x'; *size]).collect();
        let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
        let length = sizes.iter().sum::<usize>() as u64;
        let frames = Framing { chunk_bytes_min: CHUNK_BYTES_MIN, ..framing(length, None, None) };
        let framed = encode(&chunks, None, None);
        let mut body = Vec::new();
        let read = ChunkedReader::new(framed.as_slice(), frames).read_to_end(&mut body);
        read.map(|_| body.len()).map_err(Error::from_body)
    };
    for sizes in [&[][..], &[1], &[8_192, 1], &[8_192, 100_000, 8_192], &[9_000, 8_191]] {
        assert_eq!(read(sizes).unwrap(), sizes.iter().sum::<usize>(), "{sizes:?}");
    }
    for (sizes, chunk, bad) in
        [(&[1, 1][..], "2", "1"), (&[8_192, 8_191, 8_192], "3", "8191"), (&[8_191, 1], "2", "8191")]
    {
        let error = read(sizes).expect_err("a chunk that is too small");
        assert_eq!(error.code(), Code::InvalidChunkSizeError, "{sizes:?}");
        assert_eq!(error.fields(), [("Chunk", chunk.to_owned()), ("BadChunkSize", bad.to_owned())]);
    }
}

/// The door, for both signed variants and with the signer's chain. BI-109, BI-114.
#[test]
fn signed_uploads_pass_the_door_and_broken_ones_do_not() {
    for (payload, trailer) in
        [(SIGNED, None), (SIGNED_TRAILER, Some(&[CRC32C][..])), (UNSIGNED_TRAILER, None)]
    {
        let attempt = Attempt::new(Method::Put, "/b/k", "").field("x-amz-decoded-content-length", "12");
        let attempt = if trailer.is_some() { attempt.field("x-amz-trailer", CRC32C.0) } else { attempt };
        let (attempt, mut chain) = attempt.sign_chained(payload);
        let signed = payload != UNSIGNED_TRAILER;
        let framed = encode(&[b"hello, world"], signed.then_some(&mut chain), trailer);
        let passed = attempt.clone().body(&framed).pass().unwrap();
        assert_eq!(passed.body, b"hello, world");
        assert_eq!(attempt.now, NOW);
        if signed {
            let changed = String::from_utf8(framed).unwrap().replace("world", "w0rld");
            attempt.body(changed.as_bytes()).refused(Code::SignatureDoesNotMatch);
        }
        let (missing, _) = Attempt::new(Method::Put, "/b/k", "").sign_chained(payload);
        missing.body(b"0\r\n\r\n").refused(Code::MissingContentLength);
    }
}
