//! What records say of server-side encryption.

use serde::{Deserialize, Serialize};

/// The kind of server-side encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// SSE-S3: under the server's own key.
    #[serde(rename = "AES256")]
    Service,
    /// SSE-KMS: under a named key.
    #[serde(rename = "aws:kms")]
    Kms,
    /// DSSE-KMS: as SSE-KMS; the second layer of encryption is not applied.
    #[serde(rename = "aws:kms:dsse")]
    KmsDual,
    /// SSE-C: under a key that the client sends with every request.
    #[serde(rename = "SSE-C")]
    Customer,
}

impl Method {
    /// Reads the value of `x-amz-server-side-encryption` and of `SSEAlgorithm`, of which SSE-C is none.
    pub fn parse(text: &str) -> Option<Method> {
        [Method::Service, Method::Kms, Method::KmsDual].into_iter().find(|method| method.as_str() == text)
    }

    /// The name in headers and documents; for SSE-C the one in `BlockedEncryptionTypes`.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Service => "AES256",
            Method::Kms => "aws:kms",
            Method::KmsDual => "aws:kms:dsse",
            Method::Customer => "SSE-C",
        }
    }

    /// Whether the key is one of the key service.
    pub fn is_kms(self) -> bool {
        matches!(self, Method::Kms | Method::KmsDual)
    }
}

/// How the bytes of an object, or of the parts of an upload, are encrypted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectEncryption {
    /// The kind.
    pub method: Method,
    /// The id of the master key; empty for SSE-C.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub master: String,
    /// The KMS key as clients see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<String>,
    /// The encryption context as the client sent it: base64 of JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Whether an S3 Bucket Key was asked for. Only shown; there is no key service to spare.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bucket_key: bool,
    /// The data key, wrapped by the master key or by the client's.
    pub data_key: String,
}

impl ObjectEncryption {
    /// What the data key is wrapped together with, so that it opens nowhere else.
    pub fn binding(&self, bucket: &str, key: &str) -> Vec<u8> {
        let fields = [
            self.method.as_str(),
            &self.master,
            self.kms_key.as_deref().unwrap_or(""),
            self.context.as_deref().unwrap_or(""),
            bucket,
            key,
        ];
        let mut bytes = Vec::new();
        for field in fields {
            bytes.extend_from_slice(&(field.len() as u64).to_le_bytes());
            bytes.extend_from_slice(field.as_bytes());
        }
        bytes
    }
}

/// The default encryption of a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketEncryption {
    /// The kind for requests that name none. Never SSE-C.
    pub method: Method,
    /// The KMS key, as it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<String>,
    /// Whether objects under KMS keys use an S3 Bucket Key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bucket_key: bool,
    /// `BlockedEncryptionTypes`: whether SSE-C is refused; `None` when nothing was said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_keys_blocked: Option<bool>,
}

/// SSE-S3: the default encryption of every bucket on AWS that was given no other.
pub static SSE_S3: BucketEncryption = BucketEncryption {
    method: Method::Service,
    kms_key: None,
    bucket_key: false,
    customer_keys_blocked: None,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binding_tells_every_field_from_its_neighbours() {
        let encryption = ObjectEncryption {
            method: Method::Kms,
            master: "m".to_owned(),
            kms_key: Some("k".to_owned()),
            context: None,
            bucket_key: false,
            data_key: String::new(),
        };
        let binding = encryption.binding("ab", "c");
        assert_ne!(binding, encryption.binding("a", "bc"));
        assert_ne!(binding, encryption.binding("abc", ""));
        let moved = ObjectEncryption { kms_key: None, context: Some("k".to_owned()), ..encryption.clone() };
        assert_ne!(binding, moved.binding("ab", "c"));
        let other = ObjectEncryption { method: Method::KmsDual, ..encryption.clone() };
        assert_ne!(binding, other.binding("ab", "c"));
        // What a listing may change without reading the body is not bound.
        let shown = ObjectEncryption { bucket_key: true, ..encryption };
        assert_eq!(binding, shown.binding("ab", "c"));
    }

    #[test]
    fn customer_keys_are_not_a_value_of_the_header() {
        assert_eq!(Method::parse("aws:kms"), Some(Method::Kms));
        for text in ["SSE-C", "", "aes256", "AES128", "aes:kms"] {
            assert_eq!(Method::parse(text), None, "{text}");
        }
    }
}
