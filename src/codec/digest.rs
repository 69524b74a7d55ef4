//! The digests of S3: MD5 for ETags, the table of checksum algorithms, and the reader that computes and
//! verifies both while a body passes through it.
//!
//! Which algorithms there are, and which multipart types each allows, is stated by the page "Checking
//! object integrity in Amazon S3" of the S3 User Guide; here it stands in one table, `ROWS`.

use std::io::{self, Read};

use crc_fast::CrcAlgorithm;
use md5::Md5;
use sha1::Sha1;
use sha2::digest::Digest;
use sha2::{Sha256, Sha512};
use xxhash_rust::xxh3::Xxh3;
use xxhash_rust::xxh64::Xxh64;

use super::{base64, hex, unbase64};
use crate::error::{Code, Error, Result};

/// Length of an MD5 digest.
pub const MD5_BYTES: usize = 16;

/// The checksum algorithms of `x-amz-checksum-*`. What each is called, how long it is and which
/// multipart types it allows comes from the one table of this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum ChecksumAlgorithm {
    /// CRC-32 (ISO-HDLC).
    Crc32,
    /// CRC-32C (Castagnoli).
    Crc32c,
    /// CRC-64/NVME. Full-object only.
    Crc64Nvme,
    /// SHA-1. Composite only.
    Sha1,
    /// SHA-256. Composite only.
    Sha256,
    /// MD5 (2026). Composite only.
    Md5,
    /// SHA-512 (2026). Composite only.
    Sha512,
    /// XXHash64 (2026). Composite only.
    XxHash64,
    /// XXH3 64 bit (2026). Composite only.
    XxHash3,
    /// XXH3 128 bit (2026). Composite only.
    XxHash128,
}

/// How the checksum of a multipart object covers its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ChecksumType {
    /// The checksum of the object's bytes.
    FullObject,
    /// The checksum of the concatenated part checksums, written with `-` and the number of parts.
    Composite,
}

impl ChecksumType {
    /// The text of headers and elements.
    pub fn as_str(self) -> &'static str {
        match self {
            ChecksumType::FullObject => "FULL_OBJECT",
            ChecksumType::Composite => "COMPOSITE",
        }
    }

    /// Reads the text of headers and elements, of either case.
    pub fn parse(text: &str) -> Option<ChecksumType> {
        [ChecksumType::FullObject, ChecksumType::Composite]
            .into_iter()
            .find(|kind| kind.as_str().eq_ignore_ascii_case(text))
    }
}

/// Which multipart types an algorithm allows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Types {
    FullObject,
    Composite,
    Both,
}

/// One line of the table of algorithms.
struct Row {
    algorithm: ChecksumAlgorithm,
    name: &'static str,
    header: &'static str,
    element: &'static str,
    digest_bytes: usize,
    types: Types,
}

const fn row(
    algorithm: ChecksumAlgorithm,
    names: (&'static str, &'static str, &'static str),
    digest_bytes: usize,
    types: Types,
) -> Row {
    Row { algorithm, name: names.0, header: names.1, element: names.2, digest_bytes, types }
}

/// The table, in the order of the enumeration (a test holds it to that).
#[rustfmt::skip]
static ROWS: [Row; 10] = [
    row(ChecksumAlgorithm::Crc32, ("CRC32", "x-amz-checksum-crc32", "ChecksumCRC32"), 4, Types::Both),
    row(ChecksumAlgorithm::Crc32c, ("CRC32C", "x-amz-checksum-crc32c", "ChecksumCRC32C"), 4, Types::Both),
    row(ChecksumAlgorithm::Crc64Nvme, ("CRC64NVME", "x-amz-checksum-crc64nvme", "ChecksumCRC64NVME"), 8, Types::FullObject),
    row(ChecksumAlgorithm::Sha1, ("SHA1", "x-amz-checksum-sha1", "ChecksumSHA1"), 20, Types::Composite),
    row(ChecksumAlgorithm::Sha256, ("SHA256", "x-amz-checksum-sha256", "ChecksumSHA256"), 32, Types::Composite),
    row(ChecksumAlgorithm::Md5, ("MD5", "x-amz-checksum-md5", "ChecksumMD5"), MD5_BYTES, Types::Composite),
    row(ChecksumAlgorithm::Sha512, ("SHA512", "x-amz-checksum-sha512", "ChecksumSHA512"), 64, Types::Composite),
    row(ChecksumAlgorithm::XxHash64, ("XXHASH64", "x-amz-checksum-xxhash64", "ChecksumXXHASH64"), 8, Types::Composite),
    row(ChecksumAlgorithm::XxHash3, ("XXHASH3", "x-amz-checksum-xxhash3", "ChecksumXXHASH3"), 8, Types::Composite),
    row(ChecksumAlgorithm::XxHash128, ("XXHASH128", "x-amz-checksum-xxhash128", "ChecksumXXHASH128"), 16, Types::Composite),
];

impl ChecksumAlgorithm {
    /// The one that S3 computes for an upload that brings no checksum of its own.
    pub const DEFAULT: ChecksumAlgorithm = ChecksumAlgorithm::Crc64Nvme;

    /// Every algorithm, in the order of the table.
    pub const ALL: [ChecksumAlgorithm; 10] = {
        let mut all = [ChecksumAlgorithm::Crc32; 10];
        let mut index = 0;
        while index < all.len() {
            all[index] = ROWS[index].algorithm;
            index += 1;
        }
        all
    };

    fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    /// The name in headers, elements and messages: `CRC32`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The header field that carries a value: `x-amz-checksum-crc32`.
    pub fn header(self) -> &'static str {
        self.row().header
    }

    /// The XML element that carries a value: `ChecksumCRC32`.
    pub fn element(self) -> &'static str {
        self.row().element
    }

    /// Length of a raw digest in bytes.
    pub fn digest_bytes(self) -> usize {
        self.row().digest_bytes
    }

    /// Reads a name, of either case.
    pub fn parse(name: &str) -> Option<ChecksumAlgorithm> {
        ROWS.iter().find(|row| row.name.eq_ignore_ascii_case(name)).map(|row| row.algorithm)
    }

    /// The algorithm whose values travel in the header field of this name, of either case.
    pub fn from_header(header: &str) -> Option<ChecksumAlgorithm> {
        ROWS.iter().find(|row| row.header.eq_ignore_ascii_case(header)).map(|row| row.algorithm)
    }

    /// Whether a multipart upload may use this algorithm with this type.
    pub fn allows(self, kind: ChecksumType) -> bool {
        match self.row().types {
            Types::Both => true,
            Types::FullObject => kind == ChecksumType::FullObject,
            Types::Composite => kind == ChecksumType::Composite,
        }
    }

    /// The type of a multipart upload that names this algorithm and no type.
    pub fn default_type(self) -> ChecksumType {
        match self.row().types {
            Types::FullObject => ChecksumType::FullObject,
            Types::Composite | Types::Both => ChecksumType::Composite,
        }
    }

    /// The parameters of this algorithm if it is a CRC, the only kind whose digests can be combined.
    fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            ChecksumAlgorithm::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            ChecksumAlgorithm::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            ChecksumAlgorithm::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            _ => None,
        }
    }
}

/// A finished checksum of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// Which one.
    pub algorithm: ChecksumAlgorithm,
    /// Its bytes, big-endian.
    pub bytes: Vec<u8>,
}

impl Checksum {
    /// The checksum of bytes in memory.
    pub fn of(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> Checksum {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        Checksum { algorithm, bytes: hasher.finish() }
    }

    /// Reads the base64 of headers and elements; `None` if it is not base64 of the algorithm's length.
    pub fn from_base64(algorithm: ChecksumAlgorithm, text: &str) -> Option<Checksum> {
        let bytes = unbase64(text)?;
        (bytes.len() == algorithm.digest_bytes()).then_some(Checksum { algorithm, bytes })
    }

    /// The form of headers and elements.
    pub fn to_base64(&self) -> String {
        base64(&self.bytes)
    }
}

/// A checksum in the making, of any algorithm of the table.
pub struct Hasher(State);

enum State {
    Crc(crc_fast::Digest, usize),
    Sha1(Sha1),
    Sha256(Sha256),
    Md5(Md5),
    Sha512(Sha512),
    XxHash64(Xxh64),
    // Boxed, because this state is ten times as large as the others.
    XxHash3(Box<Xxh3>),
    XxHash128(Box<Xxh3>),
}

impl Hasher {
    /// The checksum of nothing yet.
    pub fn new(algorithm: ChecksumAlgorithm) -> Hasher {
        if let Some(crc) = algorithm.crc() {
            return Hasher(State::Crc(crc_fast::Digest::new(crc), algorithm.digest_bytes()));
        }
        Hasher(match algorithm {
            ChecksumAlgorithm::Sha1 => State::Sha1(Sha1::new()),
            ChecksumAlgorithm::Sha256 => State::Sha256(Sha256::new()),
            ChecksumAlgorithm::Sha512 => State::Sha512(Sha512::new()),
            ChecksumAlgorithm::XxHash64 => State::XxHash64(Xxh64::new(0)),
            ChecksumAlgorithm::XxHash3 => State::XxHash3(Box::new(Xxh3::new())),
            ChecksumAlgorithm::XxHash128 => State::XxHash128(Box::new(Xxh3::new())),
            // The three CRCs have returned above.
            ChecksumAlgorithm::Md5
            | ChecksumAlgorithm::Crc32
            | ChecksumAlgorithm::Crc32c
            | ChecksumAlgorithm::Crc64Nvme => State::Md5(Md5::new()),
        })
    }

    /// Takes in more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Crc(digest, _) => digest.update(bytes),
            State::Sha1(digest) => digest.update(bytes),
            State::Sha256(digest) => digest.update(bytes),
            State::Md5(digest) => digest.update(bytes),
            State::Sha512(digest) => digest.update(bytes),
            State::XxHash64(digest) => digest.update(bytes),
            State::XxHash3(digest) | State::XxHash128(digest) => digest.update(bytes),
        }
    }

    /// The digest, big-endian, [`ChecksumAlgorithm::digest_bytes`] long.
    pub fn finish(self) -> Vec<u8> {
        match self.0 {
            State::Crc(digest, width) => big_endian(digest.finalize(), width),
            State::Sha1(digest) => digest.finalize().to_vec(),
            State::Sha256(digest) => digest.finalize().to_vec(),
            State::Md5(digest) => digest.finalize().to_vec(),
            State::Sha512(digest) => digest.finalize().to_vec(),
            State::XxHash64(digest) => digest.digest().to_be_bytes().to_vec(),
            State::XxHash3(digest) => digest.digest().to_be_bytes().to_vec(),
            State::XxHash128(digest) => digest.digest128().to_be_bytes().to_vec(),
        }
    }
}

/// The last `width` bytes of a number, which hold all of a CRC.
fn big_endian(value: u64, width: usize) -> Vec<u8> {
    value.to_be_bytes()[8 - width..].to_vec()
}

fn from_big_endian(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// The MD5 of an ETag in the making.
#[derive(Default)]
pub struct Md5Hasher(Md5);

impl Md5Hasher {
    /// The MD5 of nothing yet.
    pub fn new() -> Md5Hasher {
        Md5Hasher::default()
    }

    /// Takes in more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest.
    pub fn finish(self) -> [u8; MD5_BYTES] {
        self.0.finalize().into()
    }
}

/// The MD5 of bytes in memory.
pub fn md5(bytes: &[u8]) -> [u8; MD5_BYTES] {
    Md5::digest(bytes).into()
}

/// The checksum of two neighbouring stretches of bytes from the checksum of each and the length of the
/// second, in bytes. `None` unless the algorithm is a CRC and both digests have its length.
pub fn combine(
    algorithm: ChecksumAlgorithm,
    first: &[u8],
    second: &[u8],
    second_len: u64,
) -> Option<Vec<u8>> {
    let crc = algorithm.crc()?;
    let width = algorithm.digest_bytes();
    if first.len() != width || second.len() != width {
        return None;
    }
    if second_len == 0 {
        return Some(first.to_vec());
    }
    let whole = crc_fast::checksum_combine(crc, from_big_endian(first), from_big_endian(second), second_len);
    Some(big_endian(whole, width))
}

/// The `FULL_OBJECT` checksum of a multipart object from the digest and length in bytes of each part, in
/// order. `None` unless the algorithm is a CRC, there is a part, and every digest has its length.
pub fn full_object<'a>(
    algorithm: ChecksumAlgorithm,
    parts: impl IntoIterator<Item = (&'a [u8], u64)>,
) -> Option<Checksum> {
    let mut parts = parts.into_iter();
    let (first, _) = parts.next()?;
    let bytes = parts
        .try_fold(first.to_vec(), |whole, (digest, length)| combine(algorithm, &whole, digest, length))?;
    (algorithm.crc().is_some() && bytes.len() == algorithm.digest_bytes())
        .then_some(Checksum { algorithm, bytes })
}

/// The `COMPOSITE` checksum of a multipart object from the raw digests of its parts, in order: base64 of
/// the digest of the concatenated digests, a dash, and the number of parts.
pub fn composite<'a>(
    algorithm: ChecksumAlgorithm,
    part_digests: impl IntoIterator<Item = &'a [u8]>,
) -> String {
    let mut hasher = Hasher::new(algorithm);
    let mut parts = 0;
    for digest in part_digests {
        hasher.update(digest);
        parts += 1;
    }
    format!("{}-{parts}", base64(&hasher.finish()))
}

/// The ETag of a multipart object, without quotes, from the MD5 of each part, in order.
pub fn multipart_etag<'a>(part_md5s: impl IntoIterator<Item = &'a [u8; MD5_BYTES]>) -> String {
    let mut hasher = Md5Hasher::new();
    let mut parts = 0;
    for digest in part_md5s {
        hasher.update(digest);
        parts += 1;
    }
    format!("{}-{parts}", hex(&hasher.finish()))
}

/// Looks up a value that only arrives behind the body, in a trailing header field. Called once, at the
/// body's end; `Ok(None)` when no such field came.
pub type LateValue<'a> = Box<dyn FnOnce() -> Result<Option<String>> + 'a>;

/// What the client promised about a body.
pub struct Expectation<'a> {
    /// The declared number of bytes. Another number is `IncompleteBody`.
    pub length: Option<u64>,
    /// The largest number of bytes that is taken. More is `EntityTooLarge`.
    pub length_max: u64,
    /// `Content-MD5`. Another digest is `BadDigest`.
    pub md5: Option<[u8; MD5_BYTES]>,
    /// The value of an `x-amz-checksum-*` header field. Another one is `BadDigest`.
    pub checksum: Option<Checksum>,
    /// Finds the base64 value of the reader's algorithm behind the body, if it was announced there.
    pub late: Option<LateValue<'a>>,
}

impl Default for Expectation<'_> {
    fn default() -> Self {
        Expectation { length: None, length_max: u64::MAX, md5: None, checksum: None, late: None }
    }
}

/// What a body turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digested {
    /// Its length in bytes.
    pub size: u64,
    /// Its MD5, unless switched off.
    pub md5: Option<[u8; MD5_BYTES]>,
    /// Its checksum of the reader's algorithm.
    pub checksum: Option<Checksum>,
    /// Its checksum of the algorithm of [`DigestReader::with_second`].
    pub second: Option<Checksum>,
}

enum Progress {
    Reading,
    Verified(Digested),
    Failed,
}

/// Computes the digests of a body while somebody else reads it, and refuses to end (an error instead of
/// `Ok(0)`) when the body is not what was promised. A store that reads to the end before it keeps
/// anything therefore never keeps a body that fails verification.
///
/// Errors travel as [`io::Error::other`] around [`Error`]; [`Error::from_body`] takes them out again.
pub struct DigestReader<'a> {
    reader: &'a mut dyn Read,
    algorithm: Option<ChecksumAlgorithm>,
    expectation: Expectation<'a>,
    md5: Option<Md5Hasher>,
    checksum: Option<Hasher>,
    second: Option<(ChecksumAlgorithm, Hasher)>,
    size: u64,
    progress: Progress,
}

impl<'a> DigestReader<'a> {
    /// Wraps a body. Without an `algorithm` only MD5 is computed; the algorithm of an expected checksum
    /// must be that one.
    pub fn new(
        reader: &'a mut dyn Read,
        algorithm: Option<ChecksumAlgorithm>,
        expectation: Expectation<'a>,
    ) -> DigestReader<'a> {
        if let Some(expected) = &expectation.checksum {
            assert_eq!(Some(expected.algorithm), algorithm, "an expected checksum is one that is computed");
        }
        DigestReader {
            reader,
            algorithm,
            expectation,
            md5: Some(Md5Hasher::new()),
            checksum: algorithm.map(Hasher::new),
            second: None,
            size: 0,
            progress: Progress::Reading,
        }
    }

    /// Computes a checksum of one more algorithm, to which no value is compared.
    pub fn with_second(mut self, algorithm: ChecksumAlgorithm) -> DigestReader<'a> {
        self.second = Some((algorithm, Hasher::new(algorithm)));
        self
    }

    /// Does not compute MD5, for bodies whose ETag comes from elsewhere. A `Content-MD5` is then not
    /// verified, so the switch is ignored where one is expected.
    pub fn without_md5(mut self) -> DigestReader<'a> {
        if self.expectation.md5.is_none() {
            self.md5 = None;
        }
        self
    }

    /// The digests of the body. An error unless it was read to its end and verified.
    pub fn finish(self) -> Result<Digested> {
        match self.progress {
            Progress::Verified(digested) => Ok(digested),
            Progress::Reading | Progress::Failed => {
                Err(Error::internal("a body was used that was not read to its end"))
            }
        }
    }

    fn too_large(&self, proposed: u64) -> Error {
        Error::new(Code::EntityTooLarge)
            .field("ProposedSize", proposed.to_string())
            .field("MaxSizeAllowed", self.expectation.length_max.to_string())
    }

    /// Refuses a declared length before a byte of the body is asked for.
    fn check_declared_length(&self) -> Result<()> {
        match self.expectation.length {
            Some(length) if length > self.expectation.length_max => Err(self.too_large(length)),
            _ => Ok(()),
        }
    }

    fn take_in(&mut self, bytes: &[u8]) -> Result<()> {
        self.size += bytes.len() as u64;
        if self.size > self.expectation.length_max {
            return Err(self.too_large(self.size));
        }
        if self.expectation.length.is_some_and(|length| self.size > length) {
            return Err(Error::new(Code::IncompleteBody).cause("the body is longer than was declared"));
        }
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        if let Some(checksum) = &mut self.checksum {
            checksum.update(bytes);
        }
        if let Some((_, second)) = &mut self.second {
            second.update(bytes);
        }
        Ok(())
    }

    fn verify(&mut self) -> Result<Digested> {
        if self.expectation.length.is_some_and(|length| self.size != length) {
            return Err(Error::new(Code::IncompleteBody).cause("the body is shorter than was declared"));
        }
        let md5 = self.md5.take().map(Md5Hasher::finish);
        if let (Some(expected), Some(actual)) = (&self.expectation.md5, &md5) {
            verify_md5(expected, actual)?;
        }
        let checksum = match (self.algorithm, self.checksum.take()) {
            (Some(algorithm), Some(hasher)) => Some(Checksum { algorithm, bytes: hasher.finish() }),
            _ => None,
        };
        if let Some(actual) = &checksum {
            self.verify_checksum(actual)?;
        }
        let second =
            self.second.take().map(|(algorithm, hasher)| Checksum { algorithm, bytes: hasher.finish() });
        Ok(Digested { size: self.size, md5, checksum, second })
    }

    fn verify_checksum(&mut self, actual: &Checksum) -> Result<()> {
        let late = match self.expectation.late.take() {
            Some(look_up) => look_up()?,
            None => None,
        };
        let late = match late {
            Some(text) => Some(
                Checksum::from_base64(actual.algorithm, text.trim())
                    .ok_or_else(|| invalid_trailing_value(actual.algorithm))?,
            ),
            None => None,
        };
        let expected = self.expectation.checksum.iter().chain(late.iter());
        match expected.into_iter().find(|expected| *expected != actual) {
            Some(_) => Err(checksum_mismatch(actual.algorithm)),
            None => Ok(()),
        }
    }

    fn step(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.size == 0 {
            self.check_declared_length().map_err(io::Error::other)?;
        }
        let count = self.reader.read(buffer)?;
        if count > 0 {
            self.take_in(&buffer[..count]).map_err(io::Error::other)?;
        } else {
            self.progress = Progress::Verified(self.verify().map_err(io::Error::other)?);
        }
        Ok(count)
    }
}

impl Read for DigestReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.progress {
            Progress::Verified(_) => Ok(0),
            Progress::Failed => Err(io::Error::other(Error::internal("a body was read on after it failed"))),
            // An empty buffer would look like the end of the body.
            Progress::Reading if buffer.is_empty() => Ok(0),
            Progress::Reading => self.step(buffer).inspect_err(|error| {
                if error.kind() != io::ErrorKind::Interrupted {
                    self.progress = Progress::Failed;
                }
            }),
        }
    }
}

fn verify_md5(expected: &[u8; MD5_BYTES], actual: &[u8; MD5_BYTES]) -> Result<()> {
    if expected == actual {
        return Ok(());
    }
    Err(Error::with_message(Code::BadDigest, "The Content-MD5 you specified did not match what we received.")
        .field("ExpectedDigest", hex(expected))
        .field("CalculatedDigest", base64(actual)))
}

/// What S3 answers when a checksum value is not that of the body.
pub fn checksum_mismatch(algorithm: ChecksumAlgorithm) -> Error {
    let name = algorithm.name();
    Error::with_message(
        Code::BadDigest,
        format!("The {name} you specified did not match the calculated checksum."),
    )
}

fn invalid_trailing_value(algorithm: ChecksumAlgorithm) -> Error {
    let header = algorithm.header();
    Error::with_message(Code::InvalidRequest, format!("Value for {header} trailing header is invalid."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::unhex;

    /// Digests of `123456789`, the check value of the CRC catalogue, and of the empty string.
    const KNOWN: [(ChecksumAlgorithm, &str, &str); 10] = [
        (ChecksumAlgorithm::Crc32, "cbf43926", "00000000"),
        (ChecksumAlgorithm::Crc32c, "e3069283", "00000000"),
        (ChecksumAlgorithm::Crc64Nvme, "ae8b14860a799888", "0000000000000000"),
        (
            ChecksumAlgorithm::Sha1,
            "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
            "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        ),
        (
            ChecksumAlgorithm::Sha256,
            "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
        (ChecksumAlgorithm::Md5, "25f9e794323b453885f5181f1b624d0b", "d41d8cd98f00b204e9800998ecf8427e"),
        (
            ChecksumAlgorithm::Sha512,
            "d9e6762dd1c8eaf6d61b3c6192fc408d4d6d5f1176d0c29169bc24e71c3f274ad27fcd5811b313d681f7e55ec02d73d499c95455b6b5bb503acf574fba8ffe85",
            "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
        ),
        (ChecksumAlgorithm::XxHash64, "8cb841db40e6ae83", "ef46db3751d8e999"),
        (ChecksumAlgorithm::XxHash3, "72dcb18b67a17dff", "2d06800538d394c2"),
        (
            ChecksumAlgorithm::XxHash128,
            "33119477ede5dcd5e9716427681d5860",
            "99aa06d3014798d86001c324468d497f",
        ),
    ];

    #[test]
    fn every_algorithm_yields_its_published_digests() {
        for (algorithm, digits, empty) in KNOWN {
            assert_eq!(hex(&Checksum::of(algorithm, b"").bytes), empty, "{algorithm:?}");
            let mut hasher = Hasher::new(algorithm);
            hasher.update(b"1234");
            hasher.update(b"");
            hasher.update(b"56789");
            let digest = hasher.finish();
            assert_eq!(hex(&digest), digits, "{algorithm:?}");
            assert_eq!(digest, Checksum::of(algorithm, b"123456789").bytes, "{algorithm:?}");
        }
    }

    #[test]
    fn the_table_stands_in_the_order_of_the_enumeration_and_is_read_both_ways() {
        for (index, algorithm) in ChecksumAlgorithm::ALL.into_iter().enumerate() {
            assert_eq!(algorithm as usize, index);
            assert_eq!(ChecksumAlgorithm::parse(algorithm.name()), Some(algorithm));
            assert_eq!(ChecksumAlgorithm::parse(&algorithm.name().to_lowercase()), Some(algorithm));
            assert_eq!(ChecksumAlgorithm::from_header(algorithm.header()), Some(algorithm));
            assert_eq!(algorithm.header(), format!("x-amz-checksum-{}", algorithm.name().to_lowercase()));
            assert_eq!(algorithm.element(), format!("Checksum{}", algorithm.name()));
            assert_eq!(algorithm.digest_bytes(), Checksum::of(algorithm, b"").bytes.len());
            assert!(algorithm.allows(algorithm.default_type()));
        }
        assert_eq!(ChecksumAlgorithm::parse("CRC16"), None);
        assert_eq!(ChecksumAlgorithm::parse(""), None);
        assert_eq!(ChecksumAlgorithm::from_header("x-amz-checksum-type"), None);
    }

    #[test]
    fn only_crcs_allow_the_full_object_type_and_all_but_one_the_composite() {
        for algorithm in ChecksumAlgorithm::ALL {
            assert_eq!(algorithm.allows(ChecksumType::FullObject), algorithm.crc().is_some());
            let composite = algorithm != ChecksumAlgorithm::Crc64Nvme;
            assert_eq!(algorithm.allows(ChecksumType::Composite), composite);
        }
        assert_eq!(ChecksumAlgorithm::Crc32.default_type(), ChecksumType::Composite);
        assert_eq!(ChecksumAlgorithm::Crc64Nvme.default_type(), ChecksumType::FullObject);
        assert_eq!(ChecksumType::parse("composite"), Some(ChecksumType::Composite));
        assert_eq!(ChecksumType::parse("FULL"), None);
    }

    #[test]
    fn combined_part_checksums_are_the_checksum_of_the_whole() {
        let whole: Vec<u8> = (0..300_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for algorithm in [ChecksumAlgorithm::Crc32, ChecksumAlgorithm::Crc32c, ChecksumAlgorithm::Crc64Nvme] {
            for part_bytes in [1_000, 65_536, 299_999, 300_000, 400_000] {
                let parts: Vec<(Vec<u8>, u64)> = whole
                    .chunks(part_bytes)
                    .map(|part| (Checksum::of(algorithm, part).bytes, part.len() as u64))
                    .collect();
                let joined =
                    full_object(algorithm, parts.iter().map(|(digest, length)| (&digest[..], *length)));
                assert_eq!(joined, Some(Checksum::of(algorithm, &whole)), "{algorithm:?} {part_bytes}");
            }
            let digest = Checksum::of(algorithm, b"x").bytes;
            let empty = Checksum::of(algorithm, b"").bytes;
            assert_eq!(combine(algorithm, &digest, &empty, 0), Some(digest.clone()));
            assert_eq!(combine(algorithm, &empty, &digest, 1), Some(digest.clone()));
            assert_eq!(combine(algorithm, &digest[1..], &digest, 1), None);
            assert_eq!(full_object(algorithm, []), None);
        }
        assert_eq!(combine(ChecksumAlgorithm::Sha1, &[0; 20], &[0; 20], 1), None);
        assert_eq!(full_object(ChecksumAlgorithm::Sha1, [(&[0; 20][..], 1)]), None);
    }

    #[test]
    fn a_composite_checksum_is_the_digest_of_the_digests_with_the_number_of_parts() {
        let digests: Vec<Vec<u8>> =
            [b"a", b"b"].iter().map(|part| Checksum::of(ChecksumAlgorithm::Sha256, *part).bytes).collect();
        let expected = Checksum::of(ChecksumAlgorithm::Sha256, &digests.concat()).to_base64() + "-2";
        assert_eq!(composite(ChecksumAlgorithm::Sha256, digests.iter().map(Vec::as_slice)), expected);
    }

    #[test]
    fn the_etag_of_a_multipart_object_is_the_md5_of_the_md5s_with_the_number_of_parts() {
        let expected = format!("{}-2", hex(&md5(&[md5(b"a"), md5(b"b")].concat())));
        assert_eq!(multipart_etag(&[md5(b"a"), md5(b"b")]), expected);
    }

    #[test]
    fn base64_of_another_length_is_no_checksum() {
        let algorithm = ChecksumAlgorithm::Crc32;
        assert_eq!(Checksum::from_base64(algorithm, "y/Q5Jg==").map(|sum| sum.bytes), unhex("cbf43926"));
        for text in ["", "y/Q5Jg", "y/Q5JgA=", "!!!!", "y/Q5Jg==\n"] {
            assert_eq!(Checksum::from_base64(algorithm, text), None, "{text}");
        }
    }

    fn read_all(
        body: &[u8],
        algorithm: Option<ChecksumAlgorithm>,
        expectation: Expectation<'_>,
    ) -> Result<Digested> {
        let mut source = body;
        let mut reader = DigestReader::new(&mut source, algorithm, expectation);
        let mut seen = Vec::new();
        match reader.read_to_end(&mut seen) {
            Ok(_) => {
                assert_eq!(seen, body);
                reader.finish()
            }
            Err(error) => {
                assert!(reader.read(&mut [0]).is_err(), "a failed body stays failed");
                assert!(reader.finish().is_err());
                Err(Error::from_body(error))
            }
        }
    }

    #[test]
    fn a_body_that_keeps_its_promises_yields_its_digests() {
        let expectation = Expectation {
            length: Some(9),
            length_max: 9,
            md5: Some(md5(b"123456789")),
            checksum: Checksum::from_base64(ChecksumAlgorithm::Crc32, "y/Q5Jg=="),
            late: Some(Box::new(|| Ok(Some(" y/Q5Jg== ".to_owned())))),
        };
        let digested = read_all(b"123456789", Some(ChecksumAlgorithm::Crc32), expectation).expect("verified");
        assert_eq!(digested.size, 9);
        assert_eq!(digested.md5, Some(md5(b"123456789")));
        assert_eq!(digested.checksum.map(|sum| sum.to_base64()).as_deref(), Some("y/Q5Jg=="));
    }

    #[test]
    fn a_body_that_breaks_a_promise_does_not_end() {
        let wrong = || Checksum::from_base64(ChecksumAlgorithm::Crc32, "AAAAAA==");
        let late = |value: &'static str| -> Option<LateValue<'static>> {
            Some(Box::new(move || Ok(Some(value.to_owned()))))
        };
        let any = Expectation::default;
        let mismatch = "The CRC32 you specified did not match the calculated checksum.";
        let cases = [
            (Expectation { length: Some(8), ..any() }, Code::IncompleteBody, Code::IncompleteBody.message),
            (Expectation { length: Some(10), ..any() }, Code::IncompleteBody, Code::IncompleteBody.message),
            (Expectation { length_max: 8, ..any() }, Code::EntityTooLarge, Code::EntityTooLarge.message),
            (
                Expectation { length: Some(9), length_max: 8, ..any() },
                Code::EntityTooLarge,
                Code::EntityTooLarge.message,
            ),
            (
                Expectation { md5: Some([0; 16]), ..any() },
                Code::BadDigest,
                "The Content-MD5 you specified did not match what we received.",
            ),
            (Expectation { checksum: wrong(), ..any() }, Code::BadDigest, mismatch),
            (Expectation { late: late("AAAAAA=="), ..any() }, Code::BadDigest, mismatch),
            (
                Expectation { late: late("nonsense"), ..any() },
                Code::InvalidRequest,
                "Value for x-amz-checksum-crc32 trailing header is invalid.",
            ),
            (
                Expectation { late: Some(Box::new(|| Err(Code::MalformedTrailerError.into()))), ..any() },
                Code::MalformedTrailerError,
                Code::MalformedTrailerError.message,
            ),
        ];
        for (expectation, code, message) in cases {
            let error = read_all(b"123456789", Some(ChecksumAlgorithm::Crc32), expectation)
                .expect_err("the promise is broken");
            assert_eq!((error.code(), error.message()), (code, message));
        }
    }

    #[test]
    fn a_declared_length_over_the_limit_is_refused_before_the_body_is_asked_for() {
        struct Untouched;
        impl Read for Untouched {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                panic!("the body was asked for")
            }
        }
        let expectation = Expectation { length: Some(11), length_max: 10, ..Expectation::default() };
        let mut source = Untouched;
        let error =
            DigestReader::new(&mut source, None, expectation).read(&mut [0; 4]).expect_err("too large");
        assert_eq!(Error::from_body(error).code(), Code::EntityTooLarge);
    }

    #[test]
    fn md5_can_be_left_out_unless_it_is_expected() {
        let mut source = &b"x"[..];
        let mut reader = DigestReader::new(&mut source, None, Expectation::default()).without_md5();
        io::copy(&mut reader, &mut io::sink()).expect("nothing is promised");
        assert_eq!(reader.finish().expect("read to its end").md5, None);

        let mut source = &b"x"[..];
        let expectation = Expectation { md5: Some([0; 16]), ..Expectation::default() };
        let mut reader = DigestReader::new(&mut source, None, expectation).without_md5();
        assert!(io::copy(&mut reader, &mut io::sink()).is_err());
    }

    #[test]
    fn a_body_that_was_not_read_to_its_end_has_no_digests() {
        let mut source = &b"xy"[..];
        let mut reader = DigestReader::new(&mut source, None, Expectation::default());
        assert_eq!(reader.read(&mut []).expect("an empty buffer"), 0);
        assert_eq!(reader.read(&mut [0; 2]).expect("two bytes"), 2);
        assert!(reader.finish().is_err());
    }
}
