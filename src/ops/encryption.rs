//! Server-side encryption of objects: which key a request uses, and what the answer says of it.
//!
//! Every write asks for a [`Sealing`] before it receives its body, every read before it opens one. The
//! form of the stored bytes is the business of [`crate::crypto`].
//!
//! An upload in parts has one data key, made when the upload is created, so that completing it needs no
//! key at all.

use super::Context;
use super::service::{Bucket, Service, store_error};
use super::sse_headers::{
    self, BUCKET_KEY, CONTEXT, CUSTOMER_ALGORITHM, CUSTOMER_KEY_MD5, CustomerKey, KMS_KEY, Requested, SSE,
    no_customer_algorithm,
};
use crate::codec::digest::MD5_BYTES;
use crate::codec::hex;
use crate::crypto::key::Key;
use crate::crypto::keyring::{DEFAULT_ALIAS, KeyError, MasterKey, is_uuid};
use crate::error::{Code, Error, Result};
use crate::http::Response;
use crate::model::encryption::{BucketEncryption, Method, ObjectEncryption, SSE_S3};
use crate::model::multipart::UploadRecord;
use crate::model::object::ObjectRecord;
use crate::model::{BucketName, ObjectKey};

/// An account in ARNs of keys where the requester has none.
const NO_ACCOUNT: &str = "000000000000";

/// The region in ARNs of keys where none is configured.
const DEFAULT_REGION: &str = "us-east-1";

/// How the bytes of one object or upload are encrypted, with the key to do it.
#[derive(Clone, Debug)]
pub struct Sealing {
    /// What the record says.
    pub encryption: ObjectEncryption,
    /// The data key.
    pub key: Key,
    /// The MD5 of the client's key, for the answer.
    customer_key_md5: Option<String>,
}

impl Sealing {
    /// The encryption of the object that a request is about to write: what its headers ask for, or the
    /// default. `None` stores the bytes as they come.
    ///
    /// # Errors
    /// `InvalidArgument` and `InvalidEncryptionAlgorithmError` for what the headers say,
    /// `KMS.NotFoundException`, `AccessDenied` where the bucket refuses clients' keys.
    pub fn of_new_object(ctx: &Context<'_>) -> Result<Option<Sealing>> {
        let default = default_of(ctx);
        let uses_bucket_key =
            |asked: Option<bool>| asked.unwrap_or_else(|| default.is_some_and(|default| default.bucket_key));
        let template = match Requested::read(ctx.headers)? {
            Requested::Customer(customer_key, md5) => {
                refuse_blocked(ctx)?;
                let encryption = unbound(Method::Customer);
                return Ok(Some(Sealing::under(ctx, &customer_key, encryption, Some(md5))));
            }
            Requested::BucketDefault { bucket_key } => {
                let Some(default) = default else { return Ok(None) };
                let bucket_key = default.method == Method::Kms && uses_bucket_key(bucket_key);
                ObjectEncryption { kms_key: default.kms_key.clone(), bucket_key, ..unbound(default.method) }
            }
            Requested::Service => unbound(Method::Service),
            Requested::Kms { method, key, context, bucket_key } => {
                let bucket_key = method == Method::Kms && uses_bucket_key(bucket_key);
                ObjectEncryption { kms_key: key, context, bucket_key, ..unbound(method) }
            }
        };
        let (master, kms_key) = master_key(ctx, &template)?;
        let encryption = ObjectEncryption { master: master.id, kms_key, ..template };
        Ok(Some(Sealing::under(ctx, &master.key, encryption, None)))
    }

    /// A new data key, wrapped.
    fn under(
        ctx: &Context<'_>,
        master: &Key,
        mut encryption: ObjectEncryption,
        customer_key_md5: Option<String>,
    ) -> Sealing {
        let data_key = Key::random();
        let binding = encryption.binding(ctx.bucket_name().as_str(), ctx.key().as_str());
        encryption.data_key = master.wrap(&data_key, &binding);
        Sealing { encryption, key: data_key, customer_key_md5 }
    }

    /// The encryption of the object that a request reads.
    ///
    /// # Errors
    /// `InvalidRequest` when the client's key is missing or not called for, `AccessDenied` when it is
    /// another one, `InvalidArgument`, `InvalidEncryptionAlgorithmError`, `KMS.NotFoundException`.
    pub fn of_read(ctx: &Context<'_>, record: &ObjectRecord) -> Result<Option<Sealing>> {
        sse_headers::refuse_on_read(ctx.headers)?;
        Sealing::of_stored(ctx.service, (ctx.bucket_name(), ctx.key()), record, &mut || {
            CustomerKey::own(ctx.headers)
        })
    }

    /// The encryption of the source of a copy.
    ///
    /// # Errors
    /// As [`Sealing::of_read`].
    pub fn of_copy_source(
        ctx: &Context<'_>,
        bucket: &Bucket,
        key: &ObjectKey,
        record: &ObjectRecord,
    ) -> Result<Option<Sealing>> {
        Sealing::of_stored(ctx.service, (&bucket.name, key), record, &mut || {
            CustomerKey::of_source(ctx.headers)
        })
    }

    fn of_stored(
        service: &Service,
        (bucket, key): (&BucketName, &ObjectKey),
        record: &ObjectRecord,
        customer: &mut dyn FnMut() -> Result<Option<CustomerKey>>,
    ) -> Result<Option<Sealing>> {
        let encryption = record.detail.encryption.as_ref();
        let Some(encryption) = encryption.filter(|encryption| encryption.method == Method::Customer) else {
            if customer()?.is_some() {
                let message = "The encryption parameters are not applicable to this object.";
                return Err(Error::with_message(Code::InvalidRequest, message));
            }
            return encryption.map(|encryption| of_server(service, encryption, bucket, key)).transpose();
        };
        let customer = customer()?.ok_or_else(|| {
            let message = "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.";
            Error::with_message(Code::InvalidRequest, message)
        })?;
        let sealing = of_customer(encryption, bucket, key, &customer);
        Ok(Some(sealing.ok_or_else(|| {
            let message = "Requests specifying Server Side Encryption with Customer provided keys must provide the correct secret key.";
            Error::with_message(Code::AccessDenied, message)
        })?))
    }

    /// The encryption of a part of an upload, which is the upload's. Fields that name a kind of
    /// encryption, which some clients repeat, say nothing here.
    ///
    /// # Errors
    /// `InvalidRequest` when the client's key is missing, not called for or another one,
    /// `InvalidArgument`, `InvalidEncryptionAlgorithmError`, `AccessDenied` where the bucket refuses
    /// clients' keys by now.
    pub fn of_part(ctx: &Context<'_>, upload: &UploadRecord) -> Result<Option<Sealing>> {
        let encryption = upload.detail.encryption.as_ref();
        let needs_key = encryption.is_some_and(|encryption| encryption.method == Method::Customer);
        if needs_key != CustomerKey::is_sent(ctx.headers) {
            let message = "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate encryption parameters.";
            return Err(Error::with_message(Code::InvalidRequest, message));
        }
        let Some(encryption) = encryption else { return Ok(None) };
        if !needs_key {
            return of_server(ctx.service, encryption, ctx.bucket_name(), ctx.key()).map(Some);
        }
        refuse_blocked(ctx)?;
        of_upload_customer(ctx, encryption).map(Some)
    }

    /// Checks the key that comes with the completion of an upload, where one does or must: S3 wants it
    /// again when the upload has checksums. Returns the MD5 of the client's key, for the answer.
    ///
    /// # Errors
    /// As [`Sealing::of_part`]; `InvalidArgument` when the key is missing.
    pub fn check_completion(ctx: &Context<'_>, upload: &UploadRecord) -> Result<Option<String>> {
        let customer = upload.detail.encryption.as_ref().filter(|it| it.method == Method::Customer);
        let sent = CustomerKey::is_sent(ctx.headers);
        match customer {
            None if sent => {
                let message = "The encryption parameters are not applicable to this object.";
                Err(Error::with_message(Code::InvalidRequest, message))
            }
            None => Ok(None),
            Some(encryption) => {
                refuse_blocked(ctx)?;
                match sent {
                    true => Ok(of_upload_customer(ctx, encryption)?.customer_key_md5),
                    false if upload.checksum.is_some() => Err(no_customer_algorithm()),
                    false => Ok(None),
                }
            }
        }
    }

    /// The ETag of a body of this MD5. Only under SSE-S3 it is that MD5; otherwise it tells nothing of
    /// the bytes, but is the same for the same bytes in the same upload, so that a part can be sent
    /// again.
    pub fn etag(&self, md5: &[u8; MD5_BYTES]) -> String {
        match self.encryption.method {
            Method::Service => hex(md5),
            _ => hex(&self.key.mac("s3pail etag 1", md5)[..MD5_BYTES]),
        }
    }

    /// Adds what every answer about an encrypted object says.
    pub fn push(&self, response: &mut Response) {
        push(response, &self.encryption);
        if let Some(md5) = &self.customer_key_md5 {
            push_customer(response, md5);
        }
    }

    /// Adds what the answer to a write says: also the encryption context.
    pub fn push_written(&self, response: &mut Response) {
        self.push(response);
        if let Some(context) = &self.encryption.context {
            response.push_header(CONTEXT, context.clone());
        }
    }
}

/// Adds the header fields that need no key.
pub fn push(response: &mut Response, encryption: &ObjectEncryption) {
    if encryption.method == Method::Customer {
        return;
    }
    response.push_header(SSE, encryption.method.as_str());
    if let Some(key) = &encryption.kms_key {
        response.push_header(KMS_KEY, key.clone());
    }
    if encryption.bucket_key {
        response.push_header(BUCKET_KEY, "true");
    }
}

/// Adds the header fields of SSE-C.
pub fn push_customer(response: &mut Response, md5: &str) {
    response.push_header(CUSTOMER_ALGORITHM, "AES256");
    response.push_header(CUSTOMER_KEY_MD5, md5.to_owned());
}

/// An encryption whose key is still to be made.
fn unbound(method: Method) -> ObjectEncryption {
    ObjectEncryption {
        method,
        master: String::new(),
        kms_key: None,
        context: None,
        bucket_key: false,
        data_key: String::new(),
    }
}

/// The master key for something new, and the name that clients see of it.
fn master_key(ctx: &Context<'_>, encryption: &ObjectEncryption) -> Result<(MasterKey, Option<String>)> {
    let keyring = &ctx.service.keyring;
    if encryption.method == Method::Service {
        let master = keyring.service_key().map_err(|error| key_error("", error))?;
        return Ok((master, None));
    }
    let name = encryption.kms_key.as_deref().unwrap_or(DEFAULT_ALIAS);
    let master = keyring.named(name).map_err(|error| key_error(name, error))?;
    let shown = shown_key(ctx, name, &master.id);
    Ok((master, Some(shown)))
}

/// S3 shows the ARN of a key whatever it was named by. A key whose id has not the form of AWS's is shown
/// as it was named.
fn shown_key(ctx: &Context<'_>, name: &str, id: &str) -> String {
    if !is_uuid(id) || name.contains(":key/") {
        return name.to_owned();
    }
    let region = ctx.service.config.region.as_deref().unwrap_or(DEFAULT_REGION);
    let account = ctx.identity.account().map_or(NO_ACCOUNT, |account| &account.short_id);
    format!("arn:aws:kms:{region}:{account}:key/{id}")
}

fn key_error(name: &str, error: KeyError) -> Error {
    let not_found = Error::with_message(Code::KMS_NotFoundException, format!("Invalid keyId '{name}'"));
    match error {
        KeyError::NotFound => not_found,
        KeyError::Foreign(_) => Error::internal(error),
        KeyError::Full => not_found.cause("the key ring is full"),
        KeyError::Io(error) => store_error(error.into()),
    }
}

/// Opens the data key of something that is stored under a key of the server's.
fn of_server(
    service: &Service,
    encryption: &ObjectEncryption,
    bucket: &BucketName,
    key: &ObjectKey,
) -> Result<Sealing> {
    let master = service.keyring.find(&encryption.master).ok_or_else(|| match &encryption.kms_key {
        Some(name) => {
            Error::with_message(Code::KMS_NotFoundException, format!("Key '{name}' does not exist"))
        }
        None => Error::internal(format!("the master key {:?} is missing", encryption.master)),
    })?;
    let binding = encryption.binding(bucket.as_str(), key.as_str());
    let data_key = master.key.unwrap_key(&encryption.data_key, &binding);
    let data_key =
        data_key.ok_or_else(|| Error::internal("a data key does not open: it belongs to another object"))?;
    Ok(Sealing { encryption: encryption.clone(), key: data_key, customer_key_md5: None })
}

/// Opens the data key of something that is stored under a client's key, if this is the one.
fn of_customer(
    encryption: &ObjectEncryption,
    bucket: &BucketName,
    key: &ObjectKey,
    customer: &CustomerKey,
) -> Option<Sealing> {
    let binding = encryption.binding(bucket.as_str(), key.as_str());
    let data_key = customer.key.as_ref()?.unwrap_key(&encryption.data_key, &binding)?;
    let customer_key_md5 = Some(customer.md5.clone());
    Some(Sealing { encryption: encryption.clone(), key: data_key, customer_key_md5 })
}

/// The same for an upload, whose later requests must repeat the key of the first.
fn of_upload_customer(ctx: &Context<'_>, encryption: &ObjectEncryption) -> Result<Sealing> {
    let Some((key, md5)) = CustomerKey::for_write(ctx.headers)? else { return Err(no_customer_algorithm()) };
    let customer = CustomerKey { key: Some(key), md5 };
    of_customer(encryption, ctx.bucket_name(), ctx.key(), &customer).ok_or_else(|| {
        let message = "The provided encryption parameters did not match the ones used originally.";
        Error::with_message(Code::InvalidRequest, message)
    })
}

/// The default encryption of the request's bucket: its own, or the one of all buckets that have none.
pub fn default_of<'c>(ctx: &'c Context<'_>) -> Option<&'c BucketEncryption> {
    let own = ctx.bucket().record.encryption.as_ref();
    own.or(if ctx.service.config.default_encryption { Some(&SSE_S3) } else { None })
}

/// Whether a write is encrypted in a way that the request or the bucket's owner chose.
pub fn is_chosen(ctx: &Context<'_>) -> bool {
    let requested = ctx.headers.has(SSE) || CustomerKey::is_sent(ctx.headers);
    requested || ctx.bucket().record.encryption.is_some()
}

/// Refuses clients' keys where the bucket's `BlockedEncryptionTypes` says so.
fn refuse_blocked(ctx: &Context<'_>) -> Result<()> {
    let encryption = ctx.bucket().record.encryption.as_ref();
    if encryption.and_then(|encryption| encryption.customer_keys_blocked) != Some(true) {
        return Ok(());
    }
    let user = ctx.identity.account().map_or("anonymous", |account| &account.arn);
    let (action, bucket, key) = (ctx.operation.action, ctx.bucket_name(), ctx.key());
    Err(Error::with_message(
        Code::AccessDenied,
        format!(
            "User: {user} is not authorized to perform: {action} on resource: \"arn:aws:s3:::{bucket}/{key}\" \
             because this bucket has blocked upload requests that specify Server Side Encryption with \
             Customer provided keys (SSE-C). Please specify a different server-side encryption type"
        ),
    ))
}
