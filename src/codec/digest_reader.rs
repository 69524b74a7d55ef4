//! The reader that computes and verifies the digests of a body while it passes through.

use std::io::{self, Read};

use super::beside::{BESIDE_BYTES_MIN, Beside};
use super::digest::{Checksum, ChecksumAlgorithm, Hasher, MD5_BYTES, Md5Hasher};
use super::{base64, hex};
use crate::error::{Code, Error, Result};

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

/// Where the MD5 is computed.
enum Md5 {
    /// In the thread that reads, until the body proves large.
    Here(Md5Hasher),
    /// In the thread that reads, because there was no other.
    HereForGood(Md5Hasher),
    Beside(Beside),
}

impl Md5 {
    /// Adds bytes of a body that is expected to have so many.
    fn update(&mut self, bytes: &[u8], expected: u64) {
        if let Md5::Here(hasher) = self
            && expected >= BESIDE_BYTES_MIN
        {
            *self = Beside::start(std::mem::take(hasher)).map_or_else(Md5::HereForGood, Md5::Beside);
        }
        match self {
            Md5::Here(hasher) | Md5::HereForGood(hasher) => hasher.update(bytes),
            Md5::Beside(beside) => beside.update(bytes),
        }
    }

    fn finish(self) -> Result<[u8; MD5_BYTES]> {
        match self {
            Md5::Here(hasher) | Md5::HereForGood(hasher) => Ok(hasher.finish()),
            Md5::Beside(beside) => {
                beside.finish().ok_or_else(|| Error::internal("a thread that hashes is gone"))
            }
        }
    }
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
    md5: Option<Md5>,
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
            md5: Some(Md5::Here(Md5Hasher::new())),
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
        let expected = self.expectation.length.unwrap_or(0).max(self.size);
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes, expected);
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
        let md5 = self.md5.take().map(Md5::finish).transpose()?;
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
    use crate::codec::digest::md5;

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
