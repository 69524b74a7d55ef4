//! What a request says of server-side encryption: `x-amz-server-side-encryption` and its kin.
//!
//! Sources: S3 API reference, PutObject, CopyObject and GetObject; S3 user guide, "Protecting data with
//! server-side encryption". Codes and texts are those that S3 answers with. Everything here is a
//! function of header fields.

use crate::codec::digest::{MD5_BYTES, md5};
use crate::codec::{base64, unbase64};
use crate::crypto::key::Key;
use crate::error::{Code, Error, Result};
use crate::http::Headers;
use crate::model::encryption::Method;
use std::collections::BTreeMap;

/// Names the kind of encryption.
pub const SSE: &str = "x-amz-server-side-encryption";
/// Names the KMS key.
pub const KMS_KEY: &str = "x-amz-server-side-encryption-aws-kms-key-id";
/// The encryption context: base64 of JSON.
pub const CONTEXT: &str = "x-amz-server-side-encryption-context";
/// Asks for an S3 Bucket Key.
pub const BUCKET_KEY: &str = "x-amz-server-side-encryption-bucket-key-enabled";
/// The algorithm of SSE-C, always `AES256`.
pub const CUSTOMER_ALGORITHM: &str = "x-amz-server-side-encryption-customer-algorithm";
/// The MD5 of the client's key.
pub const CUSTOMER_KEY_MD5: &str = "x-amz-server-side-encryption-customer-key-md5";

/// The three fields of a client's key.
struct CustomerFields {
    algorithm: &'static str,
    key: &'static str,
    md5: &'static str,
}

/// For the object that the request is about.
const OWN: CustomerFields = CustomerFields {
    algorithm: CUSTOMER_ALGORITHM,
    key: "x-amz-server-side-encryption-customer-key",
    md5: CUSTOMER_KEY_MD5,
};

/// For the source of a copy.
const SOURCE: CustomerFields = CustomerFields {
    algorithm: "x-amz-copy-source-server-side-encryption-customer-algorithm",
    key: "x-amz-copy-source-server-side-encryption-customer-key",
    md5: "x-amz-copy-source-server-side-encryption-customer-key-md5",
};

/// A key that the client brought. Not yet known to be the right one.
#[derive(Clone, Debug)]
pub struct CustomerKey {
    /// The key; `None` when it has not 32 bytes, which only a read may find out by its not fitting.
    pub key: Option<Key>,
    /// Its MD5 in base64, for the answer.
    pub md5: String,
}

impl CustomerKey {
    /// The key that goes with the request's own object.
    ///
    /// # Errors
    /// `InvalidArgument`, `InvalidEncryptionAlgorithmError`.
    pub fn own(headers: &Headers) -> Result<Option<CustomerKey>> {
        OWN.read(headers)
    }

    /// The key that goes with the source of a copy.
    ///
    /// # Errors
    /// As [`CustomerKey::own`].
    pub fn of_source(headers: &Headers) -> Result<Option<CustomerKey>> {
        SOURCE.read(headers)
    }

    /// The key for encrypting something new: here S3 insists on the MD5 and on the key's length.
    ///
    /// # Errors
    /// As [`CustomerKey::own`].
    pub fn for_write(headers: &Headers) -> Result<Option<(Key, String)>> {
        let Some(customer) = CustomerKey::own(headers)? else { return Ok(None) };
        if !headers.has(OWN.md5) {
            return Err(about_customer_key(
                "Requests specifying Server Side Encryption with Customer provided keys must provide the client calculated MD5 of the secret key.",
            ));
        }
        let key = customer
            .key
            .ok_or_else(|| about_customer_key("The secret key was invalid for the specified algorithm."))?;
        Ok(Some((key, customer.md5)))
    }

    /// Whether a request brings any part of a key.
    pub fn is_sent(headers: &Headers) -> bool {
        [OWN.algorithm, OWN.key, OWN.md5].iter().any(|name| headers.has(name))
    }
}

impl CustomerFields {
    fn read(&self, headers: &Headers) -> Result<Option<CustomerKey>> {
        let fields = [self.algorithm, self.key, self.md5].map(|name| headers.get(name));
        let [algorithm, key, sent_md5] = fields;
        match algorithm {
            None if key.is_none() && sent_md5.is_none() => return Ok(None),
            None => return Err(no_customer_algorithm()),
            Some("AES256") => {}
            Some(other) => return Err(wrong_customer_algorithm(other)),
        }
        let key = key.and_then(|key| unbase64(key.trim())).filter(|key| !key.is_empty()).ok_or_else(|| {
            about_customer_key(
                "Requests specifying Server Side Encryption with Customer provided keys must provide an appropriate secret key.",
            )
        })?;
        let digest: [u8; MD5_BYTES] = md5(&key);
        if sent_md5.is_some_and(|sent| unbase64(sent.trim()).as_deref() != Some(digest.as_slice())) {
            return Err(about_customer_key(
                "The calculated MD5 hash of the key did not match the hash that was provided.",
            ));
        }
        Ok(Some(CustomerKey { key: Key::from_bytes(&key), md5: base64(&digest) }))
    }
}

/// A key without its algorithm; also what a completion of an upload that needs the key lacks.
pub fn no_customer_algorithm() -> Error {
    about_customer_key(
        "Requests specifying Server Side Encryption with Customer provided keys must provide a valid encryption algorithm.",
    )
}

/// S3 names the wrong header for all of these. The value, which may be a key, is never repeated.
fn about_customer_key(message: &'static str) -> Error {
    Error::with_message(Code::InvalidArgument, message).field("ArgumentName", SSE)
}

fn wrong_customer_algorithm(value: &str) -> Error {
    let message = "The Encryption request you specified is not valid. Supported value: AES256.";
    Error::with_message(Code::InvalidEncryptionAlgorithmError, message)
        .field("ArgumentName", SSE)
        .field("ArgumentValue", value)
}

/// The encryption that a write asks for.
#[derive(Debug)]
pub enum Requested {
    /// None in particular: the bucket decides. An S3 Bucket Key may be asked for or refused all the
    /// same.
    BucketDefault {
        /// `x-amz-server-side-encryption-bucket-key-enabled`.
        bucket_key: Option<bool>,
    },
    /// SSE-S3.
    Service,
    /// SSE-KMS or DSSE-KMS.
    Kms {
        /// Which of them.
        method: Method,
        /// The name of the key.
        key: Option<String>,
        /// The encryption context, checked, as it was sent.
        context: Option<String>,
        /// `x-amz-server-side-encryption-bucket-key-enabled`.
        bucket_key: Option<bool>,
    },
    /// SSE-C: the key and its MD5.
    Customer(Key, String),
}

impl Requested {
    /// Reads the header fields of a write.
    ///
    /// # Errors
    /// `InvalidArgument`, `InvalidEncryptionAlgorithmError`.
    pub fn read(headers: &Headers) -> Result<Requested> {
        let sse = headers.get(SSE);
        if let Some(sse) = sse
            && CustomerKey::is_sent(headers)
        {
            let message = "Server Side Encryption with Customer provided key is incompatible with the encryption method specified";
            return Err(Error::invalid_argument(SSE, sse, message));
        }
        if let Some((key, md5)) = CustomerKey::for_write(headers)? {
            return Ok(Requested::Customer(key, md5));
        }
        let method = sse.map(parse_method).transpose()?;
        if !method.is_some_and(Method::is_kms) {
            refuse_kms_fields(headers)?;
        }
        let bucket_key = headers.get(BUCKET_KEY).map(parse_bucket_key).transpose()?;
        Ok(match method {
            None => Requested::BucketDefault { bucket_key },
            Some(method) if method.is_kms() => Requested::Kms {
                method,
                key: headers.get(KMS_KEY).filter(|name| !name.is_empty()).map(str::to_owned),
                context: headers.get(CONTEXT).map(parse_context).transpose()?,
                bucket_key,
            },
            Some(_) => Requested::Service,
        })
    }
}

fn parse_method(text: &str) -> Result<Method> {
    Method::parse(text)
        .ok_or_else(|| Error::invalid_argument(SSE, text, "The encryption method specified is not supported"))
}

fn parse_bucket_key(text: &str) -> Result<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Ok(true),
        _ if text.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(Error::invalid_argument(BUCKET_KEY, text, "Invalid Argument")),
    }
}

/// A KMS key or context belongs to KMS.
fn refuse_kms_fields(headers: &Headers) -> Result<()> {
    match [KMS_KEY, CONTEXT].into_iter().find_map(|name| Some((name, headers.get(name)?))) {
        None => Ok(()),
        Some((name, value)) => {
            let message = "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms";
            Err(Error::invalid_argument(name, value, message))
        }
    }
}

fn parse_context(text: &str) -> Result<String> {
    let json = unbase64(text);
    let parsed = json.and_then(|json| serde_json::from_slice::<BTreeMap<String, String>>(&json).ok());
    match parsed {
        Some(_) => Ok(text.to_owned()),
        None => {
            let message = "The header 'x-amz-server-side-encryption-context' shall be Base64-encoded UTF-8 string holding JSON which represents a string-string map";
            Err(Error::invalid_argument(CONTEXT, text, message))
        }
    }
}

/// A read cannot choose an encryption; S3 refuses a request that tries.
///
/// # Errors
/// `InvalidArgument`.
pub fn refuse_on_read(headers: &Headers) -> Result<()> {
    match [SSE, KMS_KEY, CONTEXT, BUCKET_KEY].into_iter().find_map(|name| Some((name, headers.get(name)?))) {
        None => Ok(()),
        Some((name, value)) => {
            let message = format!("{name} header is not supported for this operation.");
            Err(Error::invalid_argument(name, value, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "pO3upElrwuEXSoFwCfnZPdSsmt/xWeFa0N9KgDijwVs=";
    const MD5: &str = "DWygnHRtgiJ77HCm+1rvHw==";

    fn headers(fields: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::new();
        fields.iter().for_each(|(name, value)| headers.push(name, value));
        headers
    }

    fn refused(fields: &[(&str, &str)]) -> Error {
        match Requested::read(&headers(fields)) {
            Ok(_) => panic!("{fields:?} was taken"),
            Err(error) => error,
        }
    }

    #[test]
    fn the_kinds_are_told_apart() {
        let read = |fields: &[(&str, &str)]| Requested::read(&headers(fields)).expect("valid");
        assert!(matches!(read(&[]), Requested::BucketDefault { bucket_key: None }));
        assert!(matches!(read(&[(BUCKET_KEY, "TRUE")]), Requested::BucketDefault { bucket_key: Some(true) }));
        assert!(matches!(read(&[(SSE, "AES256")]), Requested::Service));
        let context = base64(br#"{"a":"b"}"#);
        match read(&[(SSE, "aws:kms"), (KMS_KEY, "k"), (CONTEXT, &context), (BUCKET_KEY, "false")]) {
            Requested::Kms { method: Method::Kms, key, context: Some(found), bucket_key: Some(false) } => {
                assert_eq!((key.as_deref(), found), (Some("k"), context));
            }
            other => panic!("{other:?}"),
        }
        let own = [(OWN.algorithm, "AES256"), (OWN.key, KEY), (OWN.md5, MD5)];
        assert!(matches!(read(&own), Requested::Customer(_, md5) if md5 == MD5));
    }

    #[test]
    fn contradictions_and_nonsense_are_invalid_arguments() {
        let own = [(OWN.algorithm, "AES256"), (OWN.key, KEY), (OWN.md5, MD5)];
        let with_sse = |value| [own.as_slice(), &[(SSE, value)]].concat();
        for (fields, text) in [
            (with_sse("AES256"), "incompatible"),
            (with_sse("aws:kms"), "incompatible"),
            (vec![(SSE, "AES256"), (KMS_KEY, "k")], "requires HTTP header"),
            (vec![(KMS_KEY, "k")], "requires HTTP header"),
            (vec![(SSE, "aes:kms")], "not supported"),
            (vec![(SSE, "")], "not supported"),
            (vec![(SSE, "aws:kms"), (CONTEXT, "{}")], "Base64-encoded"),
            (vec![(SSE, "aws:kms"), (CONTEXT, "eyJhIjoxfQ==")], "string-string"),
            (vec![(BUCKET_KEY, "yes")], "Invalid"),
            (vec![own[1], own[2]], "valid encryption algorithm"),
            (vec![own[0]], "appropriate secret key"),
            (vec![own[0], own[1]], "client calculated MD5"),
            (vec![own[0], (OWN.key, "!"), own[2]], "appropriate secret key"),
            (vec![own[0], own[1], (OWN.md5, "AAAAAAAAAAAAAAAAAAAAAA==")], "did not match"),
            (vec![own[0], (OWN.key, "AAAA"), (OWN.md5, &base64(&md5(&[0; 3])))], "was invalid"),
        ] {
            let error = refused(&fields);
            assert_eq!(error.code(), Code::InvalidArgument, "{fields:?}");
            assert!(error.message().contains(text), "{fields:?}: {}", error.message());
            assert!(!format!("{error:?}").contains(KEY), "a key is repeated");
        }
        let error = refused(&[(OWN.algorithm, "AES192"), own[1], own[2]]);
        assert_eq!(error.code(), Code::InvalidEncryptionAlgorithmError);
    }

    #[test]
    fn a_read_needs_no_md5_and_chooses_nothing() {
        let own = headers(&[(OWN.algorithm, "AES256"), (OWN.key, KEY)]);
        assert_eq!(CustomerKey::own(&own).expect("valid").expect("sent").md5, MD5);
        assert!(CustomerKey::of_source(&own).expect("valid").is_none());
        assert!(refuse_on_read(&own).is_ok());
        for name in [SSE, KMS_KEY, CONTEXT, BUCKET_KEY] {
            assert!(refuse_on_read(&headers(&[(name, "x")])).is_err(), "{name}");
        }
    }
}
