//! What a request says about checksums: values in header fields, values announced behind the body, and
//! the algorithm and type of a multipart upload.
//!
//! The rules are those of "Checking object integrity in Amazon S3" (S3 User Guide) and of the API pages
//! of PutObject, CreateMultipartUpload, UploadPart and CompleteMultipartUpload. Everything here is a
//! function of header fields; computing and comparing is done by [`crate::codec::digest`].

use crate::codec::digest::{Checksum, ChecksumAlgorithm, ChecksumType, MD5_BYTES};
use crate::codec::digest_reader::{Expectation, checksum_mismatch};
use crate::codec::unbase64;
use crate::error::{Code, Error, Result};
use crate::http::Headers;

const VALUE_PREFIX: &str = "x-amz-checksum-";
/// What the AWS SDKs say about the value, or about the trailer, beside it.
const SDK_ALGORITHM: &str = "x-amz-sdk-checksum-algorithm";
/// Fields that begin like a value and are none.
const NOT_VALUES: [&str; 3] = ["x-amz-checksum-algorithm", "x-amz-checksum-type", "x-amz-checksum-mode"];

/// Whether a header field, in lower case, describes the bytes of the body that it stands before.
pub fn is_of_body(name: &str) -> bool {
    let value = name.starts_with(VALUE_PREFIX) && !NOT_VALUES.contains(&name);
    value || name == SDK_ALGORITHM
}

/// What a request promises about its body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BodyChecksums {
    /// `Content-MD5`.
    pub md5: Option<[u8; MD5_BYTES]>,
    /// The value of an `x-amz-checksum-*` field.
    pub value: Option<Checksum>,
    /// The algorithm whose value `x-amz-trailer` announces behind the body. Never beside a `value`.
    pub trailer: Option<ChecksumAlgorithm>,
}

impl BodyChecksums {
    /// Reads the promises of a request. Errors are `InvalidRequest`, or `InvalidDigest` for
    /// `Content-MD5`.
    pub fn from_headers(headers: &Headers) -> Result<BodyChecksums> {
        let value = value(headers)?;
        let trailer = announced_trailer(headers)?;
        if value.is_some() && trailer.is_some() {
            return Err(several_values());
        }
        let checksums = BodyChecksums { md5: content_md5(headers)?, value, trailer };
        checksums.check_sdk_algorithm(headers)?;
        Ok(checksums)
    }

    /// Like [`BodyChecksums::from_headers`], for the operations that insist on a digest of their body:
    /// DeleteObjects, PutObjectLockConfiguration and others.
    pub fn required_from_headers(headers: &Headers) -> Result<BodyChecksums> {
        let checksums = BodyChecksums::from_headers(headers)?;
        if checksums == BodyChecksums::default() {
            return Err(invalid("Missing required header for this request: Content-MD5 OR x-amz-checksum-*"));
        }
        Ok(checksums)
    }

    /// The algorithm of the value, wherever it stands.
    pub fn algorithm(&self) -> Option<ChecksumAlgorithm> {
        self.value.as_ref().map(|value| value.algorithm).or(self.trailer)
    }

    /// The same as something that [`crate::codec::digest_reader::DigestReader`] verifies. `trailing` finds a
    /// field behind the body once that has been read; a value that was announced must be there.
    pub fn expectation<'a>(
        self,
        length: Option<u64>,
        length_max: u64,
        trailing: impl Fn(&str) -> Option<String> + 'a,
    ) -> Expectation<'a> {
        let mut expectation =
            Expectation { length, length_max, md5: self.md5, checksum: self.value, late: None };
        if let Some(algorithm) = self.trailer {
            expectation.late = Some(Box::new(move || match trailing(algorithm.header()) {
                Some(value) => Ok(Some(value)),
                None => Err(Error::new(Code::MalformedTrailerError)),
            }));
        }
        expectation
    }

    /// `x-amz-sdk-checksum-algorithm` says nothing new, and must say what the rest says.
    fn check_sdk_algorithm(&self, headers: &Headers) -> Result<()> {
        let Some(name) = headers.get(SDK_ALGORITHM) else { return Ok(()) };
        let named = ChecksumAlgorithm::parse(name).ok_or_else(|| invalid_value(SDK_ALGORITHM))?;
        match self.algorithm() {
            None => Err(invalid(
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or \
                 x-amz-trailer headers were found.",
            )),
            Some(algorithm) if algorithm != named => Err(invalid_value(SDK_ALGORITHM)),
            Some(_) => Ok(()),
        }
    }
}

/// The algorithm and type of a multipart upload, chosen when it is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MultipartChecksum {
    /// The algorithm of all parts and of the object.
    pub algorithm: ChecksumAlgorithm,
    /// How the object's checksum covers the parts.
    pub kind: ChecksumType,
}

impl MultipartChecksum {
    /// Reads the header fields of CreateMultipartUpload; `None` when they choose nothing.
    pub fn from_headers(headers: &Headers) -> Result<Option<MultipartChecksum>> {
        let kind = requested_type(headers)?;
        let Some(algorithm) = requested_algorithm(headers)? else {
            return match kind {
                None => Ok(None),
                Some(_) => Err(invalid(
                    "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm \
                     header.",
                )),
            };
        };
        let kind = kind.unwrap_or(algorithm.default_type());
        if !algorithm.allows(kind) {
            let (kind, name) = (kind.as_str(), algorithm.name().to_lowercase());
            return Err(invalid(format!(
                "The {kind} checksum type cannot be used with the {name} checksum algorithm."
            )));
        }
        Ok(Some(MultipartChecksum { algorithm, kind }))
    }
}

/// The algorithm to keep for a part of an upload, from the one that came with the part. A part without one
/// is fine where S3 can compute it itself: in a full-object upload, and in one without an algorithm, whose
/// parts may come with any, and whose object has a full-object [`ChecksumAlgorithm::DEFAULT`] all the same.
pub fn part_algorithm(
    upload: Option<MultipartChecksum>,
    part: Option<ChecksumAlgorithm>,
) -> Result<Option<ChecksumAlgorithm>> {
    match (upload, part) {
        (None, _) => Ok(None),
        (Some(upload), Some(part)) if part == upload.algorithm => Ok(Some(part)),
        (Some(upload), None) if upload.kind == ChecksumType::FullObject => Ok(Some(upload.algorithm)),
        (Some(upload), part) => Err(type_mismatch(Some(upload.algorithm), part)),
    }
}

/// What a CompleteMultipartUpload request promises about the object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    /// The checksum value as it was sent, for a composite one with or without the number of parts. It is of
    /// the upload's algorithm, or of [`ChecksumAlgorithm::DEFAULT`] where the upload chose none.
    pub value: Option<String>,
    /// `x-amz-mp-object-size`: the sum of the parts in bytes.
    pub object_size: Option<u64>,
}

impl Completion {
    /// Reads the header fields of CompleteMultipartUpload for an upload of this checksum.
    pub fn from_headers(headers: &Headers, upload: Option<MultipartChecksum>) -> Result<Completion> {
        let created = upload.map(|upload| upload.kind);
        if let Some(kind) = requested_type(headers)?
            && Some(kind) != created
        {
            // S3's own word for an upload that chose nothing.
            let created = created.map_or("null", ChecksumType::as_str);
            return Err(invalid(format!(
                "The upload was created using the {created} checksum mode. The complete request must use \
                 the same checksum mode."
            )));
        }
        Ok(Completion { value: completion_value(headers, upload)?, object_size: object_size(headers)? })
    }

    /// Compares the promises with what the parts amount to. `actual` is the text that S3 returns, for
    /// [`ChecksumType::Composite`] with the number of parts.
    pub fn verify(&self, algorithm: ChecksumAlgorithm, actual: &str) -> Result<()> {
        let Some(value) = &self.value else { return Ok(()) };
        let without_parts = actual.split_once('-').map_or(actual, |(digest, _)| digest);
        if value == actual || value == without_parts {
            return Ok(());
        }
        Err(checksum_mismatch(algorithm))
    }

    /// Compares the promised size with the sum of the parts.
    pub fn verify_size(&self, actual: u64) -> Result<()> {
        match self.object_size {
            Some(promised) if promised != actual => Err(invalid(format!(
                "The provided 'x-amz-mp-object-size' header value {promised} does not match what was \
                 computed: {actual}"
            ))),
            _ => Ok(()),
        }
    }
}

/// What S3 answers to a completion that lacks the checksum of a part of a composite upload.
pub fn missing_part_checksum(algorithm: ChecksumAlgorithm, part_number: u32) -> Error {
    let name = algorithm.name().to_lowercase();
    invalid(format!(
        "The upload was created using a {name} checksum. The complete request must include the checksum for \
         each part. It was missing for part {part_number} in the request."
    ))
}

/// `x-amz-checksum-algorithm`, with which CreateMultipartUpload and CopyObject choose an algorithm.
pub fn requested_algorithm(headers: &Headers) -> Result<Option<ChecksumAlgorithm>> {
    let Some(name) = headers.get("x-amz-checksum-algorithm") else { return Ok(None) };
    match ChecksumAlgorithm::parse(name) {
        Some(algorithm) => Ok(Some(algorithm)),
        None => Err(invalid(unsupported_algorithm())),
    }
}

/// `x-amz-checksum-mode: ENABLED`, with which GetObject and HeadObject ask for the stored checksum.
pub fn is_requested(headers: &Headers) -> bool {
    headers.get("x-amz-checksum-mode").is_some_and(|mode| mode.eq_ignore_ascii_case("ENABLED"))
}

/// `Content-MD5`: the base64 of 16 bytes (RFC 1864), or `InvalidDigest`.
pub fn content_md5(headers: &Headers) -> Result<Option<[u8; MD5_BYTES]>> {
    let Some(text) = headers.get("content-md5") else { return Ok(None) };
    match unbase64(text).and_then(|bytes| bytes.try_into().ok()) {
        Some(md5) => Ok(Some(md5)),
        None => Err(Error::with_message(Code::InvalidDigest, "The Content-MD5 you specified was invalid.")
            .field("Content-MD5", text)),
    }
}

/// The one field that carries a value, as name and text.
fn value_field(headers: &Headers) -> Result<Option<(ChecksumAlgorithm, &str)>> {
    let mut found = None;
    for (name, text) in headers.iter() {
        if !name.starts_with(VALUE_PREFIX) || NOT_VALUES.contains(&name) {
            continue;
        }
        let algorithm = ChecksumAlgorithm::from_header(name).ok_or_else(|| {
            invalid("The algorithm type you specified in x-amz-checksum- header is invalid.")
        })?;
        if found.replace((algorithm, text)).is_some() {
            return Err(several_values());
        }
    }
    Ok(found)
}

fn value(headers: &Headers) -> Result<Option<Checksum>> {
    let Some((algorithm, text)) = value_field(headers)? else { return Ok(None) };
    match Checksum::from_base64(algorithm, text) {
        Some(value) => Ok(Some(value)),
        None => Err(invalid_value(algorithm.header())),
    }
}

fn announced_trailer(headers: &Headers) -> Result<Option<ChecksumAlgorithm>> {
    let mut found = None;
    let names = headers.get_all("x-amz-trailer").flat_map(|value| value.split(',')).map(str::trim);
    for name in names.filter(|name| !name.is_empty()) {
        let algorithm = ChecksumAlgorithm::from_header(name)
            .ok_or_else(|| invalid("The value specified in the x-amz-trailer header is not supported"))?;
        if found.replace(algorithm).is_some() {
            return Err(several_values());
        }
    }
    Ok(found)
}

fn requested_type(headers: &Headers) -> Result<Option<ChecksumType>> {
    const FIELD: &str = "x-amz-checksum-type";
    let Some(text) = headers.get(FIELD) else { return Ok(None) };
    ChecksumType::parse(text).map(Some).ok_or_else(|| invalid_value(FIELD))
}

fn completion_value(headers: &Headers, upload: Option<MultipartChecksum>) -> Result<Option<String>> {
    let Some((algorithm, text)) = value_field(headers)? else { return Ok(None) };
    // An upload that chose nothing may still be completed with the value that S3 computes by itself.
    if upload.map_or(ChecksumAlgorithm::DEFAULT, |upload| upload.algorithm) != algorithm {
        return Err(type_mismatch(upload.map(|upload| upload.algorithm), Some(algorithm)));
    }
    let (digest, parts) = match text.split_once('-') {
        Some((digest, parts)) => (digest, Some(parts)),
        None => (text, None),
    };
    let is_composite = upload.is_some_and(|upload| upload.kind == ChecksumType::Composite);
    let parts_fit = parts.is_none_or(|parts| is_composite && parts.parse::<u32>().is_ok());
    if !parts_fit || Checksum::from_base64(algorithm, digest).is_none() {
        return Err(invalid_value(algorithm.header()));
    }
    Ok(Some(text.to_owned()))
}

fn object_size(headers: &Headers) -> Result<Option<u64>> {
    let Some(text) = headers.get("x-amz-mp-object-size") else { return Ok(None) };
    if let Ok(size) = text.parse::<u64>() {
        return Ok(Some(size));
    }
    let fault = if text.parse::<i64>().is_ok() { "less than zero" } else { "invalid" };
    Err(invalid(format!("Value for x-amz-mp-object-size header is {fault}: '{text}'")))
}

fn unsupported_algorithm() -> String {
    let mut names = ChecksumAlgorithm::ALL.map(ChecksumAlgorithm::name);
    names.sort_unstable();
    format!(
        "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [{}]",
        names.join(", ")
    )
}

fn type_mismatch(expected: Option<ChecksumAlgorithm>, actual: Option<ChecksumAlgorithm>) -> Error {
    let name = |algorithm: Option<ChecksumAlgorithm>| {
        algorithm.map_or("null".to_owned(), |algorithm| algorithm.name().to_lowercase())
    };
    let (expected, actual) = (name(expected), name(actual));
    invalid(format!(
        "Checksum Type mismatch occurred, expected checksum Type: {expected}, actual checksum Type: {actual}"
    ))
}

fn several_values() -> Error {
    invalid("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
}

fn invalid_value(header: &str) -> Error {
    invalid(format!("Value for {header} header is invalid."))
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::with_message(Code::InvalidRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::digest::{composite, md5};
    use crate::codec::digest_reader::DigestReader;
    use std::io::Read;

    const CRC32: &str = "y/Q5Jg==";
    const SHA1: &str = "98O8HYCOBHMq32eZZczDTKeuNEE=";

    fn headers(fields: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in fields {
            headers.push(name, value);
        }
        headers
    }

    fn message<T: std::fmt::Debug>(result: Result<T>) -> String {
        let error = result.expect_err("refused");
        assert_eq!(error.code(), Code::InvalidRequest);
        error.message().to_owned()
    }

    #[test]
    fn a_value_is_read_from_its_header_or_announced_behind_the_body() {
        let read = |fields: &[(&str, &str)]| BodyChecksums::from_headers(&headers(fields)).expect("valid");
        assert_eq!(read(&[]), BodyChecksums::default());
        assert_eq!(read(&[("x-amz-checksum-mode", "ENABLED")]), BodyChecksums::default());
        let plain = read(&[("X-Amz-Checksum-CRC32", CRC32), ("x-amz-sdk-checksum-algorithm", "crc32")]);
        assert_eq!(plain.algorithm(), Some(ChecksumAlgorithm::Crc32));
        assert_eq!(plain.value, Some(Checksum::of(ChecksumAlgorithm::Crc32, b"123456789")));
        let late = read(&[
            ("x-amz-trailer", "X-Amz-Checksum-Sha256"),
            ("x-amz-sdk-checksum-algorithm", "SHA256"),
            ("x-amz-checksum-algorithm", "SHA256"),
            ("x-amz-checksum-type", "COMPOSITE"),
        ]);
        assert_eq!((late.algorithm(), late.value), (Some(ChecksumAlgorithm::Sha256), None));
        assert_eq!(read(&[("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")]).md5, Some(md5(b"")));
    }

    #[test]
    fn contradictory_and_broken_values_are_refused() {
        let single = "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.";
        let sdk = "Value for x-amz-sdk-checksum-algorithm header is invalid.";
        let crc32 = "Value for x-amz-checksum-crc32 header is invalid.";
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[("x-amz-checksum-crc32", CRC32), ("x-amz-checksum-sha1", SHA1)], single),
            (&[("x-amz-checksum-crc32", CRC32), ("x-amz-checksum-crc32", CRC32)], single),
            (&[("x-amz-checksum-crc32", CRC32), ("x-amz-trailer", "x-amz-checksum-crc32")], single),
            (&[("x-amz-trailer", "x-amz-checksum-crc32, x-amz-checksum-sha1")], single),
            (&[("x-amz-checksum-crc32", "")], crc32),
            (&[("x-amz-checksum-crc32", "nonsense!")], crc32),
            (&[("x-amz-checksum-crc32", SHA1)], crc32),
            (
                &[("x-amz-checksum-crc16", CRC32)],
                "The algorithm type you specified in x-amz-checksum- header is invalid.",
            ),
            (
                &[("x-amz-trailer", "x-amz-meta-a")],
                "The value specified in the x-amz-trailer header is not supported",
            ),
            (
                &[("x-amz-sdk-checksum-algorithm", "CRC32")],
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or \
                 x-amz-trailer headers were found.",
            ),
            (&[("x-amz-sdk-checksum-algorithm", "SHA1"), ("x-amz-checksum-crc32", CRC32)], sdk),
            (&[("x-amz-sdk-checksum-algorithm", "MD4"), ("x-amz-checksum-crc32", CRC32)], sdk),
            (&[("x-amz-sdk-checksum-algorithm", "SHA1"), ("x-amz-trailer", "x-amz-checksum-crc32")], sdk),
        ];
        for (fields, expected) in cases {
            assert_eq!(message(BodyChecksums::from_headers(&headers(fields))), *expected, "{fields:?}");
        }
    }

    #[test]
    fn content_md5_must_be_the_base64_of_16_bytes() {
        for text in ["", "d41d8cd98f00b204e9800998ecf8427e", "1B2M2Y8AsgTpgAmY7PhCfg", "!", CRC32] {
            let error = content_md5(&headers(&[("content-md5", text)])).expect_err("refused");
            assert_eq!(error.code(), Code::InvalidDigest, "{text}");
        }
    }

    #[test]
    fn some_operations_insist_on_a_digest() {
        let read = |fields: &[(&str, &str)]| BodyChecksums::required_from_headers(&headers(fields));
        assert!(read(&[("x-amz-checksum-crc32", CRC32)]).is_ok());
        assert!(read(&[("x-amz-trailer", "x-amz-checksum-crc32")]).is_ok());
        assert!(read(&[("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")]).is_ok());
        assert!(message(read(&[])).starts_with("Missing required header"));
    }

    #[test]
    fn an_announced_value_must_arrive() {
        let announced = headers(&[("x-amz-trailer", "x-amz-checksum-crc32")]);
        let read = |trailer: Option<&'static str>| {
            let checksums = BodyChecksums::from_headers(&announced).expect("valid");
            let algorithm = checksums.algorithm();
            let expectation = checksums.expectation(None, 100, move |name| {
                assert_eq!(name, "x-amz-checksum-crc32");
                trailer.map(str::to_owned)
            });
            let mut body = &b"123456789"[..];
            let mut reader = DigestReader::new(&mut body, algorithm, expectation);
            reader.read_to_end(&mut Vec::new()).map_err(|error| Error::from_body(error).code())
        };
        assert_eq!(read(Some(CRC32)), Ok(9));
        assert_eq!(read(Some("AAAAAA==")), Err(Code::BadDigest));
        assert_eq!(read(None), Err(Code::MalformedTrailerError));
    }

    #[test]
    fn a_multipart_upload_takes_only_combinations_that_exist() {
        let read = |fields: &[(&str, &str)]| MultipartChecksum::from_headers(&headers(fields));
        assert_eq!(read(&[]).ok(), Some(None));
        for algorithm in ChecksumAlgorithm::ALL {
            let name = ("x-amz-checksum-algorithm", algorithm.name());
            let chosen = read(&[name]).expect("the default exists").expect("chosen");
            assert_eq!(chosen, MultipartChecksum { algorithm, kind: algorithm.default_type() });
            for kind in [ChecksumType::FullObject, ChecksumType::Composite] {
                let both = read(&[name, ("x-amz-checksum-type", kind.as_str())]);
                assert_eq!(both.is_ok(), algorithm.allows(kind), "{algorithm:?} {kind:?}");
            }
        }
        let full = ("x-amz-checksum-type", "FULL_OBJECT");
        assert_eq!(
            message(read(&[("x-amz-checksum-algorithm", "SHA256"), full])),
            "The FULL_OBJECT checksum type cannot be used with the sha256 checksum algorithm."
        );
        assert_eq!(
            message(read(&[full])),
            "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header."
        );
        assert_eq!(
            message(read(&[("x-amz-checksum-type", "HALF")])),
            "Value for x-amz-checksum-type header is invalid."
        );
        assert_eq!(
            message(read(&[("x-amz-checksum-algorithm", "MD4")])),
            "Checksum algorithm provided is unsupported. Please try again with any of the valid types: \
             [CRC32, CRC32C, CRC64NVME, MD5, SHA1, SHA256, SHA512, XXHASH128, XXHASH3, XXHASH64]"
        );
    }

    #[test]
    fn a_part_has_the_algorithm_of_its_upload() {
        let (crc, sha) = (ChecksumAlgorithm::Crc32, ChecksumAlgorithm::Sha1);
        let full = Some(MultipartChecksum { algorithm: crc, kind: ChecksumType::FullObject });
        let composite = Some(MultipartChecksum { algorithm: crc, kind: ChecksumType::Composite });
        assert_eq!(part_algorithm(None, None).ok(), Some(None));
        assert_eq!(part_algorithm(None, Some(sha)).ok(), Some(None));
        assert_eq!(part_algorithm(full, None).ok(), Some(Some(crc)));
        assert_eq!(part_algorithm(composite, Some(crc)).ok(), Some(Some(crc)));
        assert_eq!(
            message(part_algorithm(full, Some(sha))),
            "Checksum Type mismatch occurred, expected checksum Type: crc32, actual checksum Type: sha1"
        );
        assert_eq!(
            message(part_algorithm(composite, None)),
            "Checksum Type mismatch occurred, expected checksum Type: crc32, actual checksum Type: null"
        );
    }

    #[test]
    fn a_completion_is_held_to_the_mode_of_its_upload() {
        let algorithm = ChecksumAlgorithm::Crc32;
        let upload = |kind| Some(MultipartChecksum { algorithm, kind });
        let (full, parts) = (upload(ChecksumType::FullObject), upload(ChecksumType::Composite));
        let read = |fields: &[(&str, &str)], upload| Completion::from_headers(&headers(fields), upload);
        assert_eq!(read(&[], None).ok(), Some(Completion::default()));
        assert!(
            read(&[("x-amz-checksum-type", "FULL_OBJECT"), ("x-amz-checksum-crc32", CRC32)], full).is_ok()
        );
        assert!(read(&[("x-amz-checksum-crc32", "y/Q5Jg==-3")], parts).is_ok());
        assert!(read(&[("x-amz-checksum-crc32", CRC32)], parts).is_ok());
        assert_eq!(
            message(read(&[("x-amz-checksum-type", "COMPOSITE")], full)),
            "The upload was created using the FULL_OBJECT checksum mode. The complete request must use the same \
             checksum mode."
        );
        for (value, upload) in [("y/Q5Jg==-3", full), ("y/Q5Jg==-x", parts), ("y/Q5-3", parts)] {
            let refused = message(read(&[("x-amz-checksum-crc32", value)], upload));
            assert_eq!(refused, "Value for x-amz-checksum-crc32 header is invalid.");
        }
        assert!(message(read(&[("x-amz-checksum-sha1", SHA1)], full)).ends_with("Type: sha1"));
        assert!(
            message(read(&[("x-amz-checksum-sha1", SHA1)], None)).contains("expected checksum Type: null")
        );
    }

    #[test]
    fn a_completion_is_compared_with_its_parts() {
        let actual = composite(ChecksumAlgorithm::Crc32, [&[1, 2, 3, 4][..], &[5, 6, 7, 8]]);
        let digest = actual.strip_suffix("-2").expect("two parts").to_owned();
        for (value, holds) in
            [(actual.clone(), true), (digest.clone(), true), (digest + "-3", false), (CRC32.into(), false)]
        {
            let completion = Completion { value: Some(value.clone()), object_size: None };
            assert_eq!(completion.verify(ChecksumAlgorithm::Crc32, &actual).is_ok(), holds, "{value}");
        }
        assert!(Completion::default().verify(ChecksumAlgorithm::Crc32, &actual).is_ok());
    }

    #[test]
    fn the_promised_size_of_an_object_is_a_number_that_holds() {
        let read = |text: &str| Completion::from_headers(&headers(&[("x-amz-mp-object-size", text)]), None);
        let completion = read("12").expect("a number");
        assert!(completion.verify_size(12).is_ok());
        assert_eq!(
            message(completion.verify_size(13)),
            "The provided 'x-amz-mp-object-size' header value 12 does not match what was computed: 13"
        );
        assert_eq!(message(read("-1")), "Value for x-amz-mp-object-size header is less than zero: '-1'");
        assert_eq!(message(read("x")), "Value for x-amz-mp-object-size header is invalid: 'x'");
    }
}
