//! PutBucketEncryption, GetBucketEncryption, DeleteBucketEncryption.
//!
//! Source: S3 API reference, the pages of those names. A bucket that was never configured shows SSE-S3 where
//! that is the default of all buckets, as on AWS. Otherwise it stores objects as they come, and has nothing to
//! show.

use super::bucket::SMALL_BODY_BYTES_MAX;
use super::encryption::default_of;
use super::{Context, read_checked_body, xml_response};
use crate::codec::xml_reader::{self, Element, malformed};
use crate::codec::xml_writer::XmlWriter;
use crate::error::{Code, Error, Result};
use crate::http::{Body, Headers, Response};
use crate::model::encryption::{BucketEncryption, Method};

const ROOT: &str = "ServerSideEncryptionConfiguration";

/// The longest name of a KMS key in bytes.
const KMS_KEY_BYTES_MAX: usize = 2_048;

/// GetBucketEncryption.
pub fn get(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    match default_of(ctx) {
        Some(encryption) => Ok(xml_response(200, write(encryption))),
        None => Err(Error::new(Code::ServerSideEncryptionConfigurationNotFoundError)
            .field("BucketName", ctx.bucket_name().as_str())),
    }
}

/// PutBucketEncryption. Whether the KMS key exists is not checked, as S3 does not.
pub fn put(ctx: &Context<'_>, body: Body<'_>) -> Result<Response> {
    let bytes = read_checked_body(ctx, body, SMALL_BODY_BYTES_MAX)?;
    let encryption = parse(&bytes)?;
    ctx.service.update_bucket(ctx.bucket_name(), &mut |record| {
        // Leaving the block out of the document leaves it as it is.
        let before = record.encryption.as_ref().and_then(|before| before.customer_keys_blocked);
        let customer_keys_blocked = encryption.customer_keys_blocked.or(before);
        record.encryption = Some(BucketEncryption { customer_keys_blocked, ..encryption.clone() });
        Ok(())
    })?;
    Ok(Response::new(200))
}

/// DeleteBucketEncryption.
pub fn delete(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    ctx.service.update_bucket(ctx.bucket_name(), &mut |record| {
        record.encryption = None;
        Ok(())
    })?;
    Ok(Response::new(204))
}

/// The default encryption that CreateBucket asks for with the header fields of Scality S3 Server. Other
/// values than its two are ignored, as there.
pub fn of_new_bucket(headers: &Headers) -> Option<BucketEncryption> {
    let method = Method::parse(headers.get("x-amz-scal-server-side-encryption")?)?;
    let kms_key = headers.get("x-amz-scal-server-side-encryption-aws-kms-key-id").map(str::to_owned);
    Some(BucketEncryption {
        method,
        kms_key: kms_key.filter(|name| method.is_kms() && !name.is_empty()),
        bucket_key: false,
        customer_keys_blocked: None,
    })
}

fn parse(bytes: &[u8]) -> Result<BucketEncryption> {
    let document = xml_reader::parse(bytes)?;
    let root = document.root(ROOT)?;
    let rule = root.required("Rule")?;
    let default = rule.child("ApplyServerSideEncryptionByDefault")?;
    let blocked = rule.child("BlockedEncryptionTypes")?;
    if default.is_none() && blocked.is_none() {
        return Err(malformed("a rule without a default and without blocked types"));
    }
    let (method, kms_key) = default.map_or(Ok((Method::Service, None)), |default| parse_default(&default))?;
    Ok(BucketEncryption {
        method,
        kms_key,
        bucket_key: rule.boolean("BucketKeyEnabled")?.unwrap_or(false),
        customer_keys_blocked: blocked.map(|blocked| parse_blocked(&blocked)).transpose()?,
    })
}

fn parse_default(default: &Element<'_>) -> Result<(Method, Option<String>)> {
    let name = default.required_text("SSEAlgorithm")?;
    let method =
        Method::parse(name.trim()).ok_or_else(|| malformed(format_args!("SSEAlgorithm {name:?}")))?;
    let kms_key = default.text("KMSMasterKeyID")?.map(|key| key.trim().to_owned());
    match &kms_key {
        Some(_) if !method.is_kms() => {
            let message = "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse";
            Err(Error::with_message(Code::InvalidArgument, message)
                .field("ArgumentName", "ApplyServerSideEncryptionByDefault"))
        }
        Some(key) if key.is_empty() || key.len() > KMS_KEY_BYTES_MAX => {
            Err(malformed("KMSMasterKeyID is empty or too long"))
        }
        _ => Ok((method, kms_key)),
    }
}

fn parse_blocked(blocked: &Element<'_>) -> Result<bool> {
    let types = blocked.texts("EncryptionType")?;
    match types.iter().find(|name| !["NONE", "SSE-C"].contains(&name.trim())) {
        Some(other) => Err(malformed(format_args!("EncryptionType {other:?}"))),
        None => Ok(types.iter().any(|name| name.trim() == "SSE-C")),
    }
}

fn write(encryption: &BucketEncryption) -> Vec<u8> {
    let mut xml = XmlWriter::document(ROOT);
    xml.open("Rule");
    xml.open("ApplyServerSideEncryptionByDefault");
    xml.element("SSEAlgorithm", encryption.method.as_str());
    xml.optional("KMSMasterKeyID", encryption.kms_key.as_deref());
    xml.close("ApplyServerSideEncryptionByDefault");
    xml.boolean("BucketKeyEnabled", encryption.bucket_key);
    if let Some(blocked) = encryption.customer_keys_blocked {
        xml.open("BlockedEncryptionTypes");
        xml.element("EncryptionType", if blocked { "SSE-C" } else { "NONE" });
        xml.close("BlockedEncryptionTypes");
    }
    xml.close("Rule");
    xml.end(ROOT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(rules: &str) -> Vec<u8> {
        format!("<{ROOT}>{rules}</{ROOT}>").into_bytes()
    }

    #[test]
    fn a_configuration_comes_back_as_it_was_put() {
        let default = |inner: &str| {
            format!("<ApplyServerSideEncryptionByDefault>{inner}</ApplyServerSideEncryptionByDefault>")
        };
        let kms = "<SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>k</KMSMasterKeyID>";
        for rule in [
            default("<SSEAlgorithm>AES256</SSEAlgorithm>"),
            default(kms) + "<BucketKeyEnabled>true</BucketKeyEnabled>",
            default("<SSEAlgorithm>aws:kms:dsse</SSEAlgorithm>"),
            "<BlockedEncryptionTypes><EncryptionType>SSE-C</EncryptionType></BlockedEncryptionTypes>"
                .to_owned(),
            "<BlockedEncryptionTypes><EncryptionType>NONE</EncryptionType></BlockedEncryptionTypes>"
                .to_owned(),
        ] {
            let parsed = parse(&document(&format!("<Rule>{rule}</Rule>"))).expect(&rule);
            assert_eq!(parse(&write(&parsed)).expect("what is written can be read"), parsed, "{rule}");
        }
    }

    #[test]
    fn what_s3_refuses_is_refused() {
        let rule = "<Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule>";
        let algorithm = |name: &str| rule.replace("AES256", name);
        for rules in [
            String::new(),
            format!("{rule}{rule}"),
            "<Rule/>".to_owned(),
            "<Rule><BucketKeyEnabled>true</BucketKeyEnabled></Rule>".to_owned(),
            algorithm("aes256"),
            algorithm("SSE-C"),
            algorithm(""),
            rule.replace("</ApplyS", "<KMSMasterKeyID></KMSMasterKeyID></ApplyS").replace("AES256", "aws:kms"),
            "<Rule><BlockedEncryptionTypes><EncryptionType>X</EncryptionType></BlockedEncryptionTypes></Rule>"
                .to_owned(),
        ] {
            assert_eq!(parse(&document(&rules)).expect_err(&rules).code(), Code::MalformedXML, "{rules}");
        }
        let with_key = rule.replace("</ApplyS", "<KMSMasterKeyID>k</KMSMasterKeyID></ApplyS");
        assert_eq!(parse(&document(&with_key)).expect_err("AES256").code(), Code::InvalidArgument);
    }
}
