//! GetBucketVersioning and PutBucketVersioning.
//!
//! Source: S3 API reference, the operations of those names.

use super::bucket::SMALL_BODY_BYTES_MAX;
use super::{Context, read_small_body, xml_response};
use crate::codec::xml_reader;
use crate::codec::xml_writer::XmlWriter;
use crate::error::{Code, Error, Result};
use crate::http::{Body, Response};
use crate::model::bucket::Versioning;

/// GetBucketVersioning.
pub fn get_versioning(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    let mut xml = XmlWriter::document("VersioningConfiguration");
    match ctx.bucket().record.versioning {
        Versioning::Unversioned => {}
        Versioning::Enabled => xml.element("Status", "Enabled"),
        Versioning::Suspended => xml.element("Status", "Suspended"),
    }
    Ok(xml_response(200, xml.end("VersioningConfiguration")))
}

/// PutBucketVersioning.
pub fn put_versioning(ctx: &Context<'_>, body: Body<'_>) -> Result<Response> {
    let body = read_small_body(body, SMALL_BODY_BYTES_MAX)?;
    let document = xml_reader::parse(&body)?;
    let root = document.root("VersioningConfiguration")?;
    let versioning = match root.text("Status")?.as_deref() {
        Some("Enabled") => Versioning::Enabled,
        Some("Suspended") => Versioning::Suspended,
        Some(_) => return Err(xml_reader::malformed("Status is neither Enabled nor Suspended")),
        None => {
            let message = "The Versioning element must be specified";
            return Err(Error::with_message(Code::IllegalVersioningConfigurationException, message));
        }
    };
    if root.text("MfaDelete")?.as_deref() == Some("Enabled") {
        return Err(Error::with_message(Code::NotImplemented, "MFA delete is not supported."));
    }
    ctx.service.update_bucket(ctx.bucket_name(), &mut |record| {
        if record.object_lock && versioning != Versioning::Enabled {
            let message = "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed.";
            return Err(Error::with_message(Code::InvalidBucketState, message));
        }
        if record.replication.is_some() && versioning != Versioning::Enabled {
            let message = "A replication configuration is present on this bucket, so you cannot change the versioning state. To change the versioning state, first delete the replication configuration.";
            return Err(Error::with_message(Code::InvalidBucketState, message));
        }
        record.versioning = versioning;
        Ok(())
    })?;
    Ok(Response::new(200))
}
