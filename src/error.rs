//! The error catalogue: one row per S3 error code, and the error value that every operation returns.
//!
//! Code, status and default text come from the row and nowhere else. Codes and statuses follow the
//! "Error responses" page of the S3 API reference; codes that exist only in Scality S3 Server are
//! marked.

use std::borrow::Cow;
use std::fmt;
use std::io;

/// When a client that is told to slow down may try again, in seconds (`Retry-After`, RFC 9110 section 10.2.3).
pub const RETRY_AFTER_SECONDS: &str = "1";

/// One row of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Code {
    /// The text of the `Code` element.
    pub name: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The default text of the `Message` element.
    pub message: &'static str,
}

impl PartialEq for Code {
    fn eq(&self, other: &Code) -> bool {
        self.name == other.name
    }
}

impl Eq for Code {}

const fn row(name: &'static str, status: u16, message: &'static str) -> Code {
    Code { name, status, message }
}

/// Declares the rows once, as constants and as the list [`Code::ALL`].
macro_rules! catalogue {
    (@name $name:ident) => { stringify!($name) };
    (@name $name:ident $text:literal) => { $text };
    ($($name:ident $(as $text:literal)?, $status:literal, $message:literal;)*) => {
        #[allow(non_upper_case_globals)]
        #[allow(missing_docs)]
        impl Code {
            $(pub const $name: Code = row(catalogue!(@name $name $($text)?), $status, $message);)*

            /// Every row, for whole-table tests and documentation.
            pub const ALL: &'static [Code] = &[$(Code::$name),*];
        }
    };
}

catalogue! {
    AccessControlListNotSupported, 400, "The bucket does not allow ACLs";
    AccessDenied, 403, "Access Denied";
    AccessForbidden, 403, "CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, request method / Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.";
    AuthorizationHeaderMalformed, 400, "The authorization header that you provided is not valid.";
    AuthorizationQueryParametersError, 400, "The authorization query parameters that you provided are not valid.";
    BadDigest, 400, "The Content-MD5 or checksum value that you specified did not match what the server received.";
    BadRequest, 400, "Bad Request";
    BucketAlreadyExists, 409, "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again.";
    BucketAlreadyOwnedByYou, 409, "Your previous request to create the named bucket succeeded and you already own it.";
    BucketNotEmpty, 409, "The bucket you tried to delete is not empty";
    ConditionalRequestConflict, 409, "The conditional request cannot succeed due to a conflicting operation against this resource.";
    CrossLocationLoggingProhibitted, 403, "Cross S3 location logging not allowed.";
    EntityTooLarge, 400, "Your proposed upload exceeds the maximum allowed size";
    EntityTooSmall, 400, "Your proposed upload is smaller than the minimum allowed size";
    ExpiredToken, 400, "The provided token has expired.";
    Found, 302, "Resource Found";
    IdMismatch, 400, "Document ID does not match the specified configuration ID.";
    IllegalVersioningConfigurationException, 400, "The versioning configuration specified in the request is invalid.";
    IncompleteBody, 400, "You did not provide the number of bytes specified by the Content-Length HTTP header";
    IncorrectNumberOfFilesInPostRequest, 400, "POST requires exactly one file upload per request.";
    InsufficientStorage, 507, "There is not enough space on the storage device.";
    InternalError, 500, "We encountered an internal error. Please try again.";
    InvalidAccessKeyId, 403, "The AWS Access Key Id you provided does not exist in our records.";
    InvalidArgument, 400, "Invalid Argument";
    InvalidBucketAclWithObjectOwnership, 400, "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting";
    InvalidBucketName, 400, "The specified bucket is not valid.";
    InvalidBucketOwnerAWSAccountID, 400, "The value of the expected bucket owner parameter must be an AWS Account ID.";
    InvalidBucketState, 409, "The request is not valid with the current state of the bucket.";
    InvalidChunkSizeError, 403, "Only the last chunk is allowed to have a size less than 8192 bytes";
    InvalidDigest, 400, "The Content-MD5 or checksum value you specified is not valid.";
    InvalidEncryptionAlgorithmError, 400, "The encryption request you specified is not valid. The valid value is AES256.";
    InvalidLocationConstraint, 400, "The specified location-constraint is not valid";
    InvalidObjectState, 403, "The operation is not valid for the object's storage class";
    InvalidPart, 400, "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.";
    InvalidPartNumber, 416, "The requested partnumber is not satisfiable";
    InvalidPartOrder, 400, "The list of parts was not in ascending order. Parts must be ordered by part number.";
    InvalidPolicyDocument, 400, "The content of the form does not meet the conditions specified in the policy document.";
    InvalidRange, 416, "The requested range is not satisfiable";
    InvalidRedirectLocation, 400, "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.";
    InvalidRequest, 400, "Invalid Request";
    InvalidRetentionPeriod, 400, "The retention period specified is not valid.";
    InvalidSecurity, 403, "The provided security credentials are not valid.";
    InvalidStorageClass, 400, "The storage class you specified is not valid";
    InvalidTag, 400, "The tag provided was not a valid tag. This error can occur if the tag did not pass input validation.";
    InvalidTargetBucketForLogging, 400, "The target bucket for logging does not exist, is not owned by you, or does not have the appropriate grants for the log-delivery group.";
    InvalidToken, 400, "The provided token is malformed or otherwise invalid.";
    InvalidURI, 400, "Couldn't parse the specified URI.";
    KeyTooLongError, 400, "Your key is too long";
    KMS_NotFoundException as "KMS.NotFoundException", 400, "The KMS key does not exist.";
    MalformedACLError, 400, "The XML you provided was not well-formed or did not validate against our published schema";
    MalformedPOSTRequest, 400, "The body of your POST request is not well-formed multipart/form-data.";
    MalformedPolicy, 400, "Policies must be valid JSON and the first byte must be '{'";
    MalformedTrailerError, 400, "The request contained trailing data that was not well-formed or did not conform to our published schema.";
    MalformedXML, 400, "The XML you provided was not well-formed or did not validate against our published schema";
    MaxMessageLengthExceeded, 400, "Your request was too big.";
    MaxPostPreDataLengthExceededError, 400, "Your POST request fields preceding the upload file were too large.";
    MetadataTooLarge, 400, "Your metadata headers exceed the maximum allowed metadata size";
    MethodNotAllowed, 405, "The specified method is not allowed against this resource.";
    MissingContentLength, 411, "You must provide the Content-Length HTTP header.";
    MissingRequestBodyError, 400, "Request Body is empty";
    MissingSecurityHeader, 400, "Your request was missing a required header";
    NoSuchBucket, 404, "The specified bucket does not exist";
    NoSuchBucketPolicy, 404, "The bucket policy does not exist";
    NoSuchCORSConfiguration, 404, "The CORS configuration does not exist";
    NoSuchConfiguration, 404, "The specified configuration does not exist.";
    NoSuchKey, 404, "The specified key does not exist.";
    NoSuchLifecycleConfiguration, 404, "The lifecycle configuration does not exist";
    NoSuchObjectLockConfiguration, 404, "The specified object does not have a ObjectLock configuration";
    NoSuchPublicAccessBlockConfiguration, 404, "The public access block configuration was not found";
    NoSuchTagSet, 404, "The TagSet does not exist";
    NoSuchUpload, 404, "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.";
    NoSuchVersion, 404, "The specified version does not exist.";
    NoSuchWebsiteConfiguration, 404, "The specified bucket does not have a website configuration";
    NotImplemented, 501, "A header you provided implies functionality that is not implemented";
    NotModified, 304, "Not Modified";
    ObjectLockConfigurationNotFoundError, 404, "Object Lock configuration does not exist for this bucket";
    OperationAborted, 409, "A conflicting conditional operation is currently in progress against this resource. Please try again.";
    OwnershipControlsNotFoundError, 404, "The bucket ownership controls were not found";
    PermanentRedirect, 301, "The bucket you are attempting to access must be addressed using the specified endpoint. Please send all future requests to this endpoint.";
    PreconditionFailed, 412, "At least one of the pre-conditions you specified did not hold";
    RequestHeaderSectionTooLarge, 400, "Your request header section exceeds the maximum allowed size.";
    RequestTimeTooSkewed, 403, "The difference between the request time and the server's time is too large.";
    RequestTimeout, 400, "Your socket connection to the server was not read from or written to within the timeout period.";
    ReplicationConfigurationNotFoundError, 404, "The replication configuration was not found";
    RestoreAlreadyInProgress, 409, "Object restore is already in progress.";
    ServerSideEncryptionConfigurationNotFoundError, 404, "The server side encryption configuration was not found";
    ServiceUnavailable, 503, "Service is unable to handle request.";
    SignatureDoesNotMatch, 403, "The request signature we calculated does not match the signature you provided. Check your key and signing method.";
    SlowDown, 503, "Please reduce your request rate.";
    TooManyConfigurations, 400, "You are attempting to create a new configuration but have already reached the 1,000-configuration limit.";
    TooManyBuckets, 400, "You have attempted to create more buckets than allowed.";
    UnexpectedContent, 400, "This request does not support content";
    UnresolvableGrantByEmailAddress, 400, "The email address you provided does not match any account on record.";
    UnsupportedHttpVersion, 505, "The HTTP version specified is not supported";
    UriTooLong, 414, "The request URI is too long";
    UserKeyMustBeSpecified, 400, "The bucket POST must contain the specified field name. If it is specified, please check the order of the fields.";
    XAmzContentChecksumMismatch, 400, "The provided 'x-amz-checksum' header does not match what was computed.";
    XAmzContentSHA256Mismatch, 400, "The provided 'x-amz-content-sha256' header does not match what was computed.";
}

/// An S3 error: what the client is told, and for the log alone, why.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    code: Code,
    message: Cow<'static, str>,
    fields: Vec<(&'static str, String)>,
    headers: Vec<(&'static str, String)>,
    cause: Option<String>,
    close: bool,
    in_doubt: bool,
}

/// What every operation returns.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with the catalogue's text.
    pub fn new(code: Code) -> Error {
        Error::with_message(code, code.message)
    }

    /// An error with its own text for the client.
    pub fn with_message(code: Code, message: impl Into<Cow<'static, str>>) -> Error {
        Error(Box::new(Inner {
            code,
            message: message.into(),
            fields: Vec::new(),
            headers: Vec::new(),
            cause: None,
            close: false,
            in_doubt: false,
        }))
    }

    /// `InvalidArgument` in the shape that S3 gives it: with the name and value at fault.
    pub fn invalid_argument(name: &str, value: &str, message: impl Into<Cow<'static, str>>) -> Error {
        Error::with_message(Code::InvalidArgument, message)
            .field("ArgumentName", name)
            .field("ArgumentValue", value)
    }

    /// `InternalError` with a cause that only the log shows.
    pub fn internal(cause: impl fmt::Display) -> Error {
        Error::new(Code::InternalError).cause(cause)
    }

    /// Adds an element to the error body.
    pub fn field(mut self, name: &'static str, value: impl Into<String>) -> Error {
        self.0.fields.push((name, value.into()));
        self
    }

    /// Adds a header field to the error response.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Error {
        self.0.headers.push((name, value.into()));
        self
    }

    /// Sets the cause, which goes to the log and never to the client.
    pub fn cause(mut self, cause: impl fmt::Display) -> Error {
        self.0.cause = Some(cause.to_string());
        self
    }

    /// Asks for the connection to be closed after the answer.
    pub fn close(mut self) -> Error {
        self.0.close = true;
        self
    }

    /// Says that what the request wanted may have happened all the same.
    pub fn in_doubt(mut self) -> Error {
        self.0.in_doubt = true;
        self
    }

    /// Whether what the request wanted may have happened, so that nothing of it may be taken back.
    pub fn is_in_doubt(&self) -> bool {
        self.0.in_doubt
    }

    /// The catalogue row.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The text for the client.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Extra elements of the error body.
    pub fn fields(&self) -> &[(&'static str, String)] {
        &self.0.fields
    }

    /// Extra header fields of the response.
    pub fn headers(&self) -> &[(&'static str, String)] {
        &self.0.headers
    }

    /// The cause, for the log.
    pub fn log_cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    /// Whether the connection must be closed.
    pub fn closes(&self) -> bool {
        self.0.close
    }

    /// Turns a failure to read a stored body into the S3 error that it means.
    pub fn from_stored(error: io::Error) -> Error {
        error.downcast::<Error>().unwrap_or_else(Error::internal)
    }

    /// Turns a failure to read a request body into the S3 error that it means. An [`Error`] that a
    /// decoding reader passed through [`io::Error::other`] comes out as it went in.
    pub fn from_body(error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                Error::new(Code::IncompleteBody).cause(error).close()
            }
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Error::new(Code::RequestTimeout).close(),
            io::ErrorKind::ResourceBusy => {
                Error::new(Code::SlowDown).header("Retry-After", RETRY_AFTER_SECONDS).close()
            }
            io::ErrorKind::InvalidData => {
                Error::with_message(Code::InvalidRequest, "The transfer coding of the body is malformed.")
                    .cause(error)
                    .close()
            }
            _ => match error.downcast::<Error>() {
                Ok(inner) => inner.close(),
                Err(error) => Error::internal(error).close(),
            },
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code.name, self.0.message)
    }
}

impl std::error::Error for Error {}

impl From<Code> for Error {
    fn from(code: Code) -> Error {
        Error::new(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_stands_once_with_a_status_and_a_text() {
        for (index, code) in Code::ALL.iter().enumerate() {
            assert!(!Code::ALL[..index].contains(code), "{} stands twice", code.name);
            assert!((300..600).contains(&code.status), "{} has status {}", code.name, code.status);
            assert!(!code.message.is_empty(), "{} has no text", code.name);
        }
    }

    #[test]
    fn an_s3_error_passes_through_a_reader_unchanged() {
        let error = Error::from_body(io::Error::other(Error::new(Code::BadDigest)));
        assert_eq!(error.code(), Code::BadDigest);
        assert!(error.closes());
    }
}
