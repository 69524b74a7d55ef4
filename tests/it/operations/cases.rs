//! The cases: one for each row of the operations table, in its order.

/// A request: the method and target, header fields, and the body.
#[derive(Clone, Copy)]
pub struct Step {
    pub line: &'static str,
    pub fields: &'static [(&'static str, &'static str)],
    pub body: &'static str,
}

/// What shows that a row holds.
pub struct Case {
    /// The row.
    pub operation: &'static str,
    /// What must be there first, made by Bart.
    pub given: &'static [Step],
    /// The request that succeeds for Bart and is denied to others.
    pub ask: Step,
    /// A request for the same operation that is wrong.
    pub wrong: Step,
    /// Its status and code.
    pub refusal: (u16, &'static str),
    /// How others are told that they may not.
    pub denial: (u16, &'static str),
    /// Whether S3 has ended the operation, so that nobody gets what it was for.
    pub ended: bool,
    /// The file of `tests/it/` that shows what the operation does.
    pub shown_in: &'static str,
    /// Whether everybody with a key may do it, so that only strangers are refused.
    pub anyone_with_a_key: bool,
}

impl Case {
    /// Whether the request is a document that replaces a setting.
    pub fn is_configuration(&self) -> bool {
        self.ask.line.starts_with("PUT")
            && self.ask.line.contains('?')
            && !self.ask.body.is_empty()
            && !self.ask.line.contains("partNumber")
    }

    /// Whether nothing acts on what is stored.
    pub fn is_kept_only(&self) -> bool {
        self.shown_in == "stored_settings"
    }
}

const fn bare(line: &'static str) -> Step {
    Step { line, fields: &[], body: "" }
}

const fn step(line: &'static str, body: &'static str) -> Step {
    Step { line, fields: &[], body }
}

const fn with(
    line: &'static str,
    fields: &'static [(&'static str, &'static str)],
    body: &'static str,
) -> Step {
    Step { line, fields, body }
}

const fn case(
    operation: &'static str,
    given: &'static [Step],
    ask: Step,
    wrong: Step,
    refusal: (u16, &'static str),
    shown_in: &'static str,
) -> Case {
    Case {
        operation,
        given,
        ask,
        wrong,
        refusal,
        denial: (403, "AccessDenied"),
        ended: false,
        shown_in,
        anyone_with_a_key: false,
    }
}

const BUCKET: Step = bare("PUT /tested");
const OBJECT: Step =
    with("PUT /tested/a", &[("content-type", "text/plain"), ("x-amz-meta-color", "blue")], "hello");
const VERSIONED: Step = step(
    "PUT /tested?versioning",
    "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
);
const LOCKED: Step = with("PUT /tested", &[("x-amz-bucket-object-lock-enabled", "true")], "");
const UPLOAD: Step = bare("POST /tested/a?uploads");
const PART: Step = step("PUT /tested/a?uploadId={upload}&partNumber=1", "hello");

const ACL: &str = "<AccessControlPolicy><Owner><ID>79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be</ID></Owner>\
    <AccessControlList><Grant><Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"Group\">\
    <URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee><Permission>READ</Permission></Grant>\
    </AccessControlList></AccessControlPolicy>";
const ACCELERATE: &str = "<AccelerateConfiguration><Status>Enabled</Status></AccelerateConfiguration>";
const ANALYTICS: &str = "<AnalyticsConfiguration><Id>a</Id><StorageClassAnalysis></StorageClassAnalysis></AnalyticsConfiguration>";
const CORS: &str = "<CORSConfiguration><CORSRule><ID>r</ID><AllowedOrigin>http://example.com</AllowedOrigin>\
    <AllowedMethod>GET</AllowedMethod><AllowedHeader>*</AllowedHeader><ExposeHeader>ETag</ExposeHeader>\
    <MaxAgeSeconds>10</MaxAgeSeconds></CORSRule></CORSConfiguration>";
const ENCRYPTION: &str = "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault>\
    <SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>";
const TIERING: &str = "<IntelligentTieringConfiguration><Id>a</Id><Status>Enabled</Status><Tiering>\
    <AccessTier>ARCHIVE_ACCESS</AccessTier><Days>90</Days></Tiering></IntelligentTieringConfiguration>";
const INVENTORY: &str = "<InventoryConfiguration><Destination><S3BucketDestination><Bucket>arn:aws:s3:::to</Bucket>\
    <Format>CSV</Format></S3BucketDestination></Destination><IsEnabled>true</IsEnabled><Id>a</Id>\
    <IncludedObjectVersions>All</IncludedObjectVersions><Schedule><Frequency>Daily</Frequency></Schedule></InventoryConfiguration>";
const LIFECYCLE: &str = "<LifecycleConfiguration><Rule><ID>r</ID><Filter><Prefix>log/</Prefix></Filter>\
    <Status>Enabled</Status><Expiration><Days>30</Days></Expiration></Rule></LifecycleConfiguration>";
const METRICS: &str =
    "<MetricsConfiguration><Id>a</Id><Filter><Prefix>p/</Prefix></Filter></MetricsConfiguration>";
const NOTIFICATION: &str = "<NotificationConfiguration></NotificationConfiguration>";
const LOCK: &str = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>\
    <Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>";
const OWNERSHIP: &str = "<OwnershipControls><Rule><ObjectOwnership>BucketOwnerPreferred</ObjectOwnership></Rule></OwnershipControls>";
const POLICY: &str = "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Sid\":\"s\",\"Effect\":\"Allow\",\"Principal\":\
    {\"AWS\":\"arn:aws:iam::123456789013:root\"},\"Action\":\"s3:GetObjectTorrent\",\"Resource\":\"arn:aws:s3:::tested/*\"}]}";
const ACCESS_BLOCK: &str = "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls>\
    <IgnorePublicAcls>false</IgnorePublicAcls><BlockPublicPolicy>true</BlockPublicPolicy>\
    <RestrictPublicBuckets>false</RestrictPublicBuckets></PublicAccessBlockConfiguration>";
const REPLICATION: &str = "<ReplicationConfiguration><Role>arn:aws:iam::123456789012:role/r</Role><Rule><ID>r</ID>\
    <Prefix>log/</Prefix><Status>Enabled</Status><Destination><Bucket>arn:aws:s3:::other</Bucket></Destination>\
    </Rule></ReplicationConfiguration>";
const PAYMENT: &str = "<RequestPaymentConfiguration><Payer>Requester</Payer></RequestPaymentConfiguration>";
const TAGGING: &str =
    "<Tagging><TagSet><Tag><Key>color</Key><Value>blue + green</Value></Tag></TagSet></Tagging>";
const WEBSITE: &str = "<WebsiteConfiguration><IndexDocument><Suffix>index.html</Suffix></IndexDocument>\
    <ErrorDocument><Key>error.html</Key></ErrorDocument></WebsiteConfiguration>";
const RETENTION: &str = "<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>2099-01-01T00:00:00.000Z</RetainUntilDate></Retention>";
const HOLD: &str = "<LegalHold><Status>ON</Status></LegalHold>";
const COMPLETE: &str = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>";
const FORM_TYPE: &[(&str, &str)] = &[("content-type", "multipart/form-data; boundary=xyz")];
const FORM: &str = "--xyz\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\na\r\n\
    --xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nhello\r\n--xyz--\r\n";

const MALFORMED: (u16, &str) = (400, "MalformedXML");
const NO_BUCKET: (u16, &str) = (404, "NoSuchBucket");
const NO_KEY: (u16, &str) = (404, "NoSuchKey");
const NO_CONFIGURATION: (u16, &str) = (404, "NoSuchConfiguration");
const NO_UPLOAD: (u16, &str) = (404, "NoSuchUpload");

/// Every case.
#[rustfmt::skip]
pub static CASES: &[Case] = &[
    Case { anyone_with_a_key: true, ..case("ListBuckets", &[BUCKET], bare("GET /"), bare("GET /?max-buckets=0"), (400, "InvalidArgument"), "bucket") },

    Case { anyone_with_a_key: true, ..case("CreateBucket", &[], BUCKET, bare("PUT /No_Bucket"), (400, "InvalidBucketName"), "bucket") },
    Case { denial: (403, ""), ..case("HeadBucket", &[BUCKET], bare("HEAD /tested"), bare("HEAD /absent"), (404, ""), "bucket") },
    case("DeleteBucket", &[BUCKET], bare("DELETE /tested"), bare("DELETE /absent"), NO_BUCKET, "bucket"),
    case("GetBucketLocation", &[BUCKET], bare("GET /tested?location"), bare("GET /absent?location"), NO_BUCKET, "bucket"),
    case("ListObjects", &[BUCKET, OBJECT, bare("PUT /tested/b/c")], bare("GET /tested?list-type=2&delimiter=/&fetch-owner=true"), bare("GET /tested?max-keys=many"), (400, "InvalidArgument"), "list"),
    case("ListObjectVersions", &[BUCKET, VERSIONED, OBJECT, bare("DELETE /tested/a")], bare("GET /tested?versions"), bare("GET /tested?versions&version-id-marker=x"), (400, "InvalidArgument"), "versioning"),
    case("ListMultipartUploads", &[BUCKET, UPLOAD], bare("GET /tested?uploads"), bare("GET /tested?uploads&max-uploads=-1"), (400, "InvalidArgument"), "multipart"),
    case("PostObject", &[BUCKET], with("POST /tested", FORM_TYPE, FORM), with("POST /tested", FORM_TYPE, "--xyz--\r\n"), (400, "InvalidArgument"), "post_object"),
    // Each key is denied by itself.
    Case { denial: (200, "AccessDenied"), ..case("DeleteObjects", &[BUCKET, OBJECT], step("POST /tested?delete", "<Delete><Object><Key>a</Key></Object><Object><Key>absent</Key></Object></Delete>"), step("POST /tested?delete", "<Delete/>"), MALFORMED, "object") },

    case("GetBucketAcl", &[BUCKET], bare("GET /tested?acl"), bare("GET /absent?acl"), NO_BUCKET, "access"),
    case("PutBucketAcl", &[BUCKET, step("PUT /tested?ownershipControls", OWNERSHIP)], step("PUT /tested?acl", ACL), step("PUT /tested?acl", "<AccessControlPolicy/>"), (400, "MalformedACLError"), "access"),
    case("GetBucketVersioning", &[BUCKET, VERSIONED], bare("GET /tested?versioning"), bare("GET /absent?versioning"), NO_BUCKET, "versioning"),
    case("PutBucketVersioning", &[BUCKET], VERSIONED, step("PUT /tested?versioning", "<VersioningConfiguration><Status>On</Status></VersioningConfiguration>"), MALFORMED, "versioning"),
    case("GetBucketAccelerateConfiguration", &[BUCKET, step("PUT /tested?accelerate", ACCELERATE)], bare("GET /tested?accelerate"), bare("GET /absent?accelerate"), NO_BUCKET, "stored_settings"),
    case("PutBucketAccelerateConfiguration", &[BUCKET], step("PUT /tested?accelerate", ACCELERATE), step("PUT /tested?accelerate", "<AccelerateConfiguration><Status>On</Status></AccelerateConfiguration>"), MALFORMED, "stored_settings"),
    case("GetBucketAnalyticsConfiguration", &[BUCKET, step("PUT /tested?analytics&id=a", ANALYTICS)], bare("GET /tested?analytics&id=a"), bare("GET /tested?analytics&id=b"), NO_CONFIGURATION, "stored_settings"),
    case("PutBucketAnalyticsConfiguration", &[BUCKET], step("PUT /tested?analytics&id=a", ANALYTICS), step("PUT /tested?analytics&id=a", "<AnalyticsConfiguration/>"), MALFORMED, "stored_settings"),
    case("DeleteBucketAnalyticsConfiguration", &[BUCKET, step("PUT /tested?analytics&id=a", ANALYTICS)], bare("DELETE /tested?analytics&id=a"), bare("DELETE /tested?analytics&id=b"), NO_CONFIGURATION, "stored_settings"),
    case("GetBucketCors", &[BUCKET, step("PUT /tested?cors", CORS)], bare("GET /tested?cors"), bare("GET /absent?cors"), NO_BUCKET, "cors"),
    case("PutBucketCors", &[BUCKET], step("PUT /tested?cors", CORS), step("PUT /tested?cors", "<CORSConfiguration/>"), MALFORMED, "cors"),
    case("DeleteBucketCors", &[BUCKET, step("PUT /tested?cors", CORS)], bare("DELETE /tested?cors"), bare("DELETE /absent?cors"), NO_BUCKET, "cors"),
    case("GetBucketEncryption", &[BUCKET, step("PUT /tested?encryption", ENCRYPTION)], bare("GET /tested?encryption"), bare("GET /absent?encryption"), NO_BUCKET, "encryption"),
    case("PutBucketEncryption", &[BUCKET], step("PUT /tested?encryption", ENCRYPTION), step("PUT /tested?encryption", "<ServerSideEncryptionConfiguration/>"), MALFORMED, "encryption"),
    case("DeleteBucketEncryption", &[BUCKET, step("PUT /tested?encryption", ENCRYPTION)], bare("DELETE /tested?encryption"), bare("DELETE /absent?encryption"), NO_BUCKET, "encryption"),
    case("GetBucketIntelligentTieringConfiguration", &[BUCKET, step("PUT /tested?intelligent-tiering&id=a", TIERING)], bare("GET /tested?intelligent-tiering&id=a"), bare("GET /tested?intelligent-tiering&id=b"), NO_CONFIGURATION, "stored_settings"),
    case("PutBucketIntelligentTieringConfiguration", &[BUCKET], step("PUT /tested?intelligent-tiering&id=a", TIERING), step("PUT /tested?intelligent-tiering&id=a", "<IntelligentTieringConfiguration/>"), MALFORMED, "stored_settings"),
    case("DeleteBucketIntelligentTieringConfiguration", &[BUCKET, step("PUT /tested?intelligent-tiering&id=a", TIERING)], bare("DELETE /tested?intelligent-tiering&id=a"), bare("DELETE /tested?intelligent-tiering&id=b"), NO_CONFIGURATION, "stored_settings"),
    case("GetBucketInventoryConfiguration", &[BUCKET, step("PUT /tested?inventory&id=a", INVENTORY)], bare("GET /tested?inventory&id=a"), bare("GET /tested?inventory&id=b"), NO_CONFIGURATION, "stored_settings"),
    case("PutBucketInventoryConfiguration", &[BUCKET], step("PUT /tested?inventory&id=a", INVENTORY), step("PUT /tested?inventory&id=a", "<InventoryConfiguration/>"), MALFORMED, "stored_settings"),
    case("DeleteBucketInventoryConfiguration", &[BUCKET, step("PUT /tested?inventory&id=a", INVENTORY)], bare("DELETE /tested?inventory&id=a"), bare("DELETE /tested?inventory&id=b"), NO_CONFIGURATION, "stored_settings"),
    case("GetBucketLifecycleConfiguration", &[BUCKET, step("PUT /tested?lifecycle", LIFECYCLE)], bare("GET /tested?lifecycle"), bare("GET /absent?lifecycle"), NO_BUCKET, "lifecycle"),
    case("PutBucketLifecycleConfiguration", &[BUCKET], step("PUT /tested?lifecycle", LIFECYCLE), step("PUT /tested?lifecycle", "<LifecycleConfiguration><Rule><Status>On</Status></Rule></LifecycleConfiguration>"), MALFORMED, "lifecycle"),
    case("DeleteBucketLifecycle", &[BUCKET, step("PUT /tested?lifecycle", LIFECYCLE)], bare("DELETE /tested?lifecycle"), bare("DELETE /absent?lifecycle"), NO_BUCKET, "lifecycle"),
    case("GetBucketLogging", &[BUCKET], bare("GET /tested?logging"), bare("GET /absent?logging"), NO_BUCKET, "logging"),
    case("PutBucketLogging", &[BUCKET], step("PUT /tested?logging", "<BucketLoggingStatus/>"), step("PUT /tested?logging", "<BucketLoggingStatus><LoggingEnabled/></BucketLoggingStatus>"), MALFORMED, "logging"),
    case("GetBucketMetricsConfiguration", &[BUCKET, step("PUT /tested?metrics&id=a", METRICS)], bare("GET /tested?metrics&id=a"), bare("GET /tested?metrics&id=b"), NO_CONFIGURATION, "stored_settings"),
    case("PutBucketMetricsConfiguration", &[BUCKET], step("PUT /tested?metrics&id=a", METRICS), step("PUT /tested?metrics&id=a", "<MetricsConfiguration/>"), MALFORMED, "stored_settings"),
    case("DeleteBucketMetricsConfiguration", &[BUCKET, step("PUT /tested?metrics&id=a", METRICS)], bare("DELETE /tested?metrics&id=a"), bare("DELETE /tested?metrics&id=b"), NO_CONFIGURATION, "stored_settings"),
    case("GetBucketNotificationConfiguration", &[BUCKET], bare("GET /tested?notification"), bare("GET /absent?notification"), NO_BUCKET, "notification"),
    case("PutBucketNotificationConfiguration", &[BUCKET], step("PUT /tested?notification", NOTIFICATION), step("PUT /tested?notification", "<NotificationConfiguration><QueueConfiguration/></NotificationConfiguration>"), MALFORMED, "notification"),
    case("GetObjectLockConfiguration", &[LOCKED, step("PUT /tested?object-lock", LOCK)], bare("GET /tested?object-lock"), bare("GET /absent?object-lock"), NO_BUCKET, "object_lock"),
    case("PutObjectLockConfiguration", &[LOCKED], step("PUT /tested?object-lock", LOCK), step("PUT /tested?object-lock", "<ObjectLockConfiguration><ObjectLockEnabled>On</ObjectLockEnabled></ObjectLockConfiguration>"), MALFORMED, "object_lock"),
    case("GetBucketOwnershipControls", &[BUCKET, step("PUT /tested?ownershipControls", OWNERSHIP)], bare("GET /tested?ownershipControls"), bare("GET /absent?ownershipControls"), NO_BUCKET, "access"),
    case("PutBucketOwnershipControls", &[BUCKET], step("PUT /tested?ownershipControls", OWNERSHIP), step("PUT /tested?ownershipControls", "<OwnershipControls/>"), MALFORMED, "access"),
    case("DeleteBucketOwnershipControls", &[BUCKET, step("PUT /tested?ownershipControls", OWNERSHIP)], bare("DELETE /tested?ownershipControls"), bare("DELETE /absent?ownershipControls"), NO_BUCKET, "access"),
    case("GetBucketPolicy", &[BUCKET, step("PUT /tested?policy", POLICY)], bare("GET /tested?policy"), bare("GET /absent?policy"), NO_BUCKET, "access"),
    case("PutBucketPolicy", &[BUCKET], step("PUT /tested?policy", POLICY), step("PUT /tested?policy", "{}"), (400, "MalformedPolicy"), "access"),
    case("DeleteBucketPolicy", &[BUCKET, step("PUT /tested?policy", POLICY)], bare("DELETE /tested?policy"), bare("DELETE /absent?policy"), NO_BUCKET, "access"),
    case("GetBucketPolicyStatus", &[BUCKET, step("PUT /tested?policy", POLICY)], bare("GET /tested?policyStatus"), bare("GET /absent?policyStatus"), NO_BUCKET, "access"),
    case("GetPublicAccessBlock", &[BUCKET, step("PUT /tested?publicAccessBlock", ACCESS_BLOCK)], bare("GET /tested?publicAccessBlock"), bare("GET /absent?publicAccessBlock"), NO_BUCKET, "access"),
    case("PutPublicAccessBlock", &[BUCKET], step("PUT /tested?publicAccessBlock", ACCESS_BLOCK), step("PUT /tested?publicAccessBlock", "<PublicAccessBlockConfiguration><BlockPublicAcls>maybe</BlockPublicAcls></PublicAccessBlockConfiguration>"), MALFORMED, "access"),
    case("DeletePublicAccessBlock", &[BUCKET, step("PUT /tested?publicAccessBlock", ACCESS_BLOCK)], bare("DELETE /tested?publicAccessBlock"), bare("DELETE /absent?publicAccessBlock"), NO_BUCKET, "access"),
    case("GetBucketReplication", &[BUCKET, VERSIONED, step("PUT /tested?replication", REPLICATION)], bare("GET /tested?replication"), bare("GET /absent?replication"), NO_BUCKET, "stored_settings"),
    case("PutBucketReplication", &[BUCKET, VERSIONED], step("PUT /tested?replication", REPLICATION), step("PUT /tested?replication", "<ReplicationConfiguration/>"), MALFORMED, "stored_settings"),
    case("DeleteBucketReplication", &[BUCKET, VERSIONED, step("PUT /tested?replication", REPLICATION)], bare("DELETE /tested?replication"), bare("DELETE /absent?replication"), NO_BUCKET, "stored_settings"),
    case("GetBucketRequestPayment", &[BUCKET], bare("GET /tested?requestPayment"), bare("GET /absent?requestPayment"), NO_BUCKET, "access"),
    case("PutBucketRequestPayment", &[BUCKET], step("PUT /tested?requestPayment", PAYMENT), step("PUT /tested?requestPayment", "<RequestPaymentConfiguration><Payer>Nobody</Payer></RequestPaymentConfiguration>"), MALFORMED, "access"),
    case("GetBucketTagging", &[BUCKET, step("PUT /tested?tagging", TAGGING)], bare("GET /tested?tagging"), bare("GET /absent?tagging"), NO_BUCKET, "tagging"),
    case("PutBucketTagging", &[BUCKET], step("PUT /tested?tagging", TAGGING), step("PUT /tested?tagging", "<Tags/>"), MALFORMED, "tagging"),
    case("DeleteBucketTagging", &[BUCKET, step("PUT /tested?tagging", TAGGING)], bare("DELETE /tested?tagging"), bare("DELETE /absent?tagging"), NO_BUCKET, "tagging"),
    case("GetBucketWebsite", &[BUCKET, step("PUT /tested?website", WEBSITE)], bare("GET /tested?website"), bare("GET /absent?website"), NO_BUCKET, "website"),
    case("PutBucketWebsite", &[BUCKET], step("PUT /tested?website", WEBSITE), step("PUT /tested?website", "<WebsiteConfiguration><Unknown/></WebsiteConfiguration>"), MALFORMED, "website"),
    case("DeleteBucketWebsite", &[BUCKET, step("PUT /tested?website", WEBSITE)], bare("DELETE /tested?website"), bare("DELETE /absent?website"), NO_BUCKET, "website"),

    case("CopyObject", &[BUCKET, OBJECT], with("PUT /tested/copy", &[("x-amz-copy-source", "/tested/a")], ""), with("PUT /tested/copy", &[("x-amz-copy-source", "nonsense")], ""), (400, "InvalidArgument"), "object"),
    case("PutObject", &[BUCKET], OBJECT, with("PUT /tested/a", &[("content-md5", "short")], ""), (400, "InvalidDigest"), "object"),
    case("GetObject", &[BUCKET, OBJECT], bare("GET /tested/a"), bare("GET /tested/absent"), NO_KEY, "object"),
    Case { denial: (403, ""), ..case("HeadObject", &[BUCKET, OBJECT], bare("HEAD /tested/a"), bare("HEAD /tested/absent"), (404, ""), "object") },
    case("DeleteObject", &[BUCKET, OBJECT], bare("DELETE /tested/a"), bare("DELETE /tested/a?versionId=x"), (400, "InvalidArgument"), "object"),
    case("GetObjectAcl", &[BUCKET, OBJECT], bare("GET /tested/a?acl"), bare("GET /tested/absent?acl"), NO_KEY, "access"),
    case("PutObjectAcl", &[BUCKET, step("PUT /tested?ownershipControls", OWNERSHIP), OBJECT], step("PUT /tested/a?acl", ACL), step("PUT /tested/a?acl", "<AccessControlPolicy/>"), (400, "MalformedACLError"), "access"),
    case("GetObjectAttributes", &[BUCKET, OBJECT], with("GET /tested/a?attributes", &[("x-amz-object-attributes", "ETag,Checksum,ObjectSize,StorageClass")], ""), with("GET /tested/a?attributes", &[("x-amz-object-attributes", "Color")], ""), (400, "InvalidArgument"), "object"),
    Case { ended: true, ..case("GetObjectTorrent", &[BUCKET, OBJECT], bare("GET /tested/a?torrent"), bare("GET /absent/a?torrent"), NO_BUCKET, "suite") },
    case("GetObjectTagging", &[BUCKET, OBJECT, step("PUT /tested/a?tagging", TAGGING)], bare("GET /tested/a?tagging"), bare("GET /tested/absent?tagging"), NO_KEY, "tagging"),
    case("PutObjectTagging", &[BUCKET, OBJECT], step("PUT /tested/a?tagging", TAGGING), step("PUT /tested/a?tagging", "<Tags/>"), MALFORMED, "tagging"),
    case("DeleteObjectTagging", &[BUCKET, OBJECT, step("PUT /tested/a?tagging", TAGGING)], bare("DELETE /tested/a?tagging"), bare("DELETE /tested/absent?tagging"), NO_KEY, "tagging"),
    case("RestoreObject", &[BUCKET, with("PUT /tested/a", &[("x-amz-storage-class", "GLACIER")], "hello")], step("POST /tested/a?restore", "<RestoreRequest><Days>1</Days></RestoreRequest>"), step("POST /tested/a?restore", "<RestoreRequest><Days>0</Days></RestoreRequest>"), (400, "InvalidArgument"), "storage_class"),
    case("GetObjectRetention", &[LOCKED, OBJECT, step("PUT /tested/a?retention", RETENTION)], bare("GET /tested/a?retention"), bare("GET /tested/absent?retention"), NO_KEY, "object_lock"),
    case("PutObjectRetention", &[LOCKED, OBJECT], step("PUT /tested/a?retention", RETENTION), step("PUT /tested/a?retention", "<Retention><Mode>GOVERNANCE</Mode></Retention>"), MALFORMED, "object_lock"),
    case("GetObjectLegalHold", &[LOCKED, OBJECT, step("PUT /tested/a?legal-hold", HOLD)], bare("GET /tested/a?legal-hold"), bare("GET /tested/absent?legal-hold"), NO_KEY, "object_lock"),
    case("PutObjectLegalHold", &[LOCKED, OBJECT], step("PUT /tested/a?legal-hold", HOLD), step("PUT /tested/a?legal-hold", "<LegalHold><Status>on</Status></LegalHold>"), MALFORMED, "object_lock"),

    case("CreateMultipartUpload", &[BUCKET], UPLOAD, with("POST /tested/a?uploads", &[("x-amz-storage-class", "SHELF")], ""), (400, "InvalidStorageClass"), "multipart"),
    case("UploadPartCopy", &[BUCKET, OBJECT, UPLOAD], with("PUT /tested/a?uploadId={upload}&partNumber=1", &[("x-amz-copy-source", "/tested/a")], ""), with("PUT /tested/a?uploadId={upload}&partNumber=0", &[("x-amz-copy-source", "/tested/a")], ""), (400, "InvalidArgument"), "multipart"),
    case("UploadPart", &[BUCKET, UPLOAD], PART, step("PUT /tested/a?uploadId={upload}&partNumber=10001", "x"), (400, "InvalidArgument"), "multipart"),
    case("CompleteMultipartUpload", &[BUCKET, UPLOAD, PART], step("POST /tested/a?uploadId={upload}", COMPLETE), step("POST /tested/a?uploadId={upload}", "<CompleteMultipartUpload/>"), MALFORMED, "multipart"),
    case("AbortMultipartUpload", &[BUCKET, UPLOAD], bare("DELETE /tested/a?uploadId={upload}"), bare("DELETE /tested/a?uploadId=absent"), NO_UPLOAD, "multipart"),
    case("ListParts", &[BUCKET, UPLOAD, PART], bare("GET /tested/a?uploadId={upload}"), bare("GET /tested/a?uploadId=absent"), NO_UPLOAD, "multipart"),
];
