//! The digests of S3: MD5 for ETags, and the table of checksum algorithms.

use super::base64;

/// The checksum algorithms of `x-amz-checksum-*`. What each is called, how long it is and which
/// multipart types it allows comes from [`ChecksumAlgorithm::row`] and nowhere else.
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
    /// The form of headers and elements.
    pub fn to_base64(&self) -> String {
        base64(&self.bytes)
    }
}
