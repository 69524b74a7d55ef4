//! Documents: XML trees, every request body that is XML or JSON, configuration files.

use super::{choice, outcome, texts};
use s3pail::auth::Head;
use s3pail::auth::sigv4::Signer;
use s3pail::codec::xml_reader::{self, Element};
use s3pail::codec::xml_writer::XmlWriter;
use s3pail::codec::{base64, hex};
use s3pail::config::{Config, Inputs, command};
use s3pail::http::{Body, Handler, Headers, Method, Request, ResponseBody};
use s3pail::log::Log;
use s3pail::s3::S3;
use s3pail::stores::Stores;
use std::sync::{Arc, OnceLock};

/// Deeper than any document that the reader takes.
const DEPTH_MAX: usize = 64;

pub fn trees() -> Vec<Vec<u8>> {
    texts(&[
        "<?xml version=\"1.0\"?><a xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><b>1</b><b> x &amp; y</b><c/></a>",
        "<a><![CDATA[x]]><!-- y --><b xsi:type=\"z\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"/></a>",
        "<!DOCTYPE a [<!ENTITY b \"cccc\">]><a>&b;&b;</a>",
    ])
}

/// FZ-09, FZ-10: what is read and written again is read as the same, and no entity is ever expanded.
pub fn xml(input: &[u8]) -> u64 {
    let Ok(document) = xml_reader::parse(input) else { return 0 };
    let mut elements = 0;
    let root = document.any_root();
    // Within a comment, a CDATA section or a processing instruction it is only text.
    let text = String::from_utf8_lossy(input);
    let only_text = ["<!--", "<![CDATA[", "<?"].iter().any(|begin| text.contains(begin));
    assert!(only_text || !text.contains("<!DOCTYPE"), "a document type was accepted");
    read_back(root, 0, &mut elements);
    outcome((elements.min(16), root.content().is_ok()))
}

fn read_back(element: Element<'_>, depth: usize, elements: &mut usize) {
    assert!(depth < DEPTH_MAX, "a deep document was accepted");
    *elements += 1;
    if let Ok(text) = element.content() {
        let mut alone = XmlWriter::bare();
        alone.open("T");
        alone.element("V", &text);
        let written = alone.end("T");
        let again = xml_reader::parse(&written).expect("what is written can be read");
        let value = again.root("T").and_then(|root| root.required_text("V").map(|text| text.into_owned()));
        assert_eq!(value.ok().as_deref(), Some(&*text));
    }
    for child in element.elements() {
        read_back(child, depth + 1, elements);
    }
}

/// Every request with a document as its body, and a document that it takes.
const BODIES: &[(Method, &str, &str)] = &[
    (
        Method::Put,
        "/new-bucket?",
        "<CreateBucketConfiguration><LocationConstraint>us-east-1</LocationConstraint></CreateBucketConfiguration>",
    ),
    (
        Method::Put,
        "/bucket?acl",
        "<AccessControlPolicy><Owner><ID>79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be</ID></Owner><AccessControlList><Grant><Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"Group\"><URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee><Permission>READ</Permission></Grant></AccessControlList></AccessControlPolicy>",
    ),
    (
        Method::Put,
        "/bucket?versioning",
        "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
    ),
    (
        Method::Put,
        "/bucket?cors",
        "<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>http://*.a</AllowedOrigin><AllowedHeader>*</AllowedHeader><MaxAgeSeconds>3</MaxAgeSeconds></CORSRule></CORSConfiguration>",
    ),
    (
        Method::Put,
        "/bucket?lifecycle",
        "<LifecycleConfiguration><Rule><ID>a</ID><Filter><And><Prefix>p</Prefix><Tag><Key>k</Key><Value>v</Value></Tag></And></Filter><Status>Enabled</Status><Expiration><Days>3</Days></Expiration><NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration></Rule></LifecycleConfiguration>",
    ),
    (
        Method::Put,
        "/bucket?tagging",
        "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>",
    ),
    (
        Method::Put,
        "/bucket?website",
        "<WebsiteConfiguration><IndexDocument><Suffix>i</Suffix></IndexDocument><RoutingRules><RoutingRule><Condition><KeyPrefixEquals>a</KeyPrefixEquals></Condition><Redirect><HostName>h</HostName><ReplaceKeyPrefixWith>b</ReplaceKeyPrefixWith></Redirect></RoutingRule></RoutingRules></WebsiteConfiguration>",
    ),
    (
        Method::Put,
        "/bucket?notification",
        "<NotificationConfiguration><QueueConfiguration><Queue>arn:aws:sqs:us-east-1:1:q</Queue><Event>s3:ObjectCreated:*</Event></QueueConfiguration></NotificationConfiguration>",
    ),
    (
        Method::Put,
        "/bucket?logging",
        "<BucketLoggingStatus><LoggingEnabled><TargetBucket>bucket</TargetBucket><TargetPrefix>p</TargetPrefix></LoggingEnabled></BucketLoggingStatus>",
    ),
    (
        Method::Put,
        "/bucket?encryption",
        "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>",
    ),
    (
        Method::Put,
        "/bucket?object-lock",
        "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>",
    ),
    (
        Method::Put,
        "/bucket?ownershipControls",
        "<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule></OwnershipControls>",
    ),
    (
        Method::Put,
        "/bucket?publicAccessBlock",
        "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls></PublicAccessBlockConfiguration>",
    ),
    (
        Method::Put,
        "/bucket?requestPayment",
        "<RequestPaymentConfiguration><Payer>Requester</Payer></RequestPaymentConfiguration>",
    ),
    (
        Method::Put,
        "/bucket?policy",
        "{\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"s3:GetObject\",\"Resource\":\"arn:aws:s3:::bucket/*\"}]}",
    ),
    (
        Method::Put,
        "/bucket?replication",
        "<ReplicationConfiguration><Role>arn:aws:iam::1:role/r</Role><Rule><Status>Enabled</Status><Prefix/><Destination><Bucket>arn:aws:s3:::d</Bucket></Destination></Rule></ReplicationConfiguration>",
    ),
    (
        Method::Put,
        "/bucket?accelerate",
        "<AccelerateConfiguration><Status>Enabled</Status></AccelerateConfiguration>",
    ),
    (Method::Put, "/bucket?metrics&id=a", "<MetricsConfiguration><Id>a</Id></MetricsConfiguration>"),
    (
        Method::Put,
        "/bucket?inventory&id=a",
        "<InventoryConfiguration><Id>a</Id><IsEnabled>true</IsEnabled><IncludedObjectVersions>All</IncludedObjectVersions><Schedule><Frequency>Daily</Frequency></Schedule></InventoryConfiguration>",
    ),
    (
        Method::Post,
        "/bucket?delete",
        "<Delete><Quiet>true</Quiet><Object><Key>key</Key></Object><Object><Key>b</Key><VersionId>null</VersionId></Object></Delete>",
    ),
    (
        Method::Put,
        "/bucket/key?tagging",
        "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>",
    ),
    (Method::Put, "/bucket/key?acl", "<AccessControlPolicy><AccessControlList/></AccessControlPolicy>"),
    (
        Method::Put,
        "/bucket/key?retention",
        "<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>2030-01-01T00:00:00Z</RetainUntilDate></Retention>",
    ),
    (Method::Put, "/bucket/key?legal-hold", "<LegalHold><Status>ON</Status></LegalHold>"),
    (
        Method::Post,
        "/bucket/key?restore",
        "<RestoreRequest><Days>1</Days><GlacierJobParameters><Tier>Bulk</Tier></GlacierJobParameters></RestoreRequest>",
    ),
    (
        Method::Post,
        "/bucket/key?uploadId=00000000000000000000000000000000",
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>\"a\"</ETag></Part></CompleteMultipartUpload>",
    ),
];

pub fn bodies() -> Vec<Vec<u8>> {
    BODIES.iter().enumerate().map(|(at, (.., body))| [&[at as u8], body.as_bytes()].concat()).collect()
}

/// A server without sockets, with an empty memory, a bucket and an object.
pub fn server() -> S3 {
    static CONFIG: OnceLock<Config> = OnceLock::new();
    let config = CONFIG.get_or_init(Config::in_memory).clone();
    let stores = Stores::open(&config).expect("memory can be opened");
    let service = stores.into_service(config).expect("memory can be served");
    let s3 = S3::new(Arc::new(service), Arc::new(Log::off()));
    for path in ["/bucket", "/bucket/key"] {
        assert_eq!(ask(&s3, Method::Put, path, "", &[], b"").0, 200, "{path}");
    }
    s3
}

/// Sends a signed request; status and body of the answer.
pub fn ask(
    s3: &S3,
    method: Method,
    path: &str,
    query: &str,
    fields: &[(&str, &str)],
    body: &[u8],
) -> (u16, Vec<u8>) {
    let mut headers = Headers::new();
    headers.push("host", "127.0.0.1");
    headers.push("content-length", &body.len().to_string());
    fields.iter().for_each(|(name, value)| headers.push(name, value));
    let digest = s3pail::auth::keys::sha256(body);
    headers.push("x-amz-checksum-sha256", &base64(&digest));
    let signer = Signer { access_key: "accessKey1", secret: "verySecretKey1", region: "us-east-1" };
    let head = Head { method, path, query, headers: &headers };
    let signed = signer.sign(s3.service().clock.now(), &head, &hex(&digest));
    signed.fields.iter().for_each(|(name, value)| headers.push(name, value));
    let request = Request {
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        peer: None,
        encryption: None,
        body: Body::new(Some(body.len() as u64), Box::new(body)),
    };
    let response = s3.handle(request);
    let body = match response.body {
        ResponseBody::Bytes(bytes) => bytes,
        _ => Vec::new(),
    };
    assert_ne!(response.status, 500, "{}", String::from_utf8_lossy(&body));
    (response.status, body)
}

/// FZ-09: no body ends in an internal error, errors are well-formed, and what was accepted is given back in a
/// form that is accepted again, from where it is given back as the same.
pub fn body(input: &[u8]) -> u64 {
    let (at, body) = choice(input);
    let at = at % BODIES.len();
    let (method, target, _) = BODIES[at];
    let (path, query) = target.split_once('?').expect("every row has one");
    let s3 = server();
    let (status, answer) = ask(&s3, method, path, query, &[], body);
    if !answer.is_empty() {
        assert!(xml_reader::parse(&answer).is_ok(), "{}", String::from_utf8_lossy(&answer));
    }
    let stored = method == Method::Put && status < 300 && path != "/new-bucket";
    if stored {
        let (got, first) = ask(&s3, Method::Get, path, query, &[], b"");
        // Some settings are put to be none: an empty one is not there then.
        if got == 200 {
            let (put, refusal) = ask(&s3, Method::Put, path, query, &[], &first);
            let shown = || format!("{path}?{query} gave {}", String::from_utf8_lossy(&first));
            // An answer that says that nothing is set is no document that can be put (object lock's, versioning's).
            assert!(put < 300, "{}: {}", shown(), String::from_utf8_lossy(&refusal));
            assert_eq!(ask(&s3, Method::Get, path, query, &[], b"").1, first, "{}", shown());
        }
    }
    let code = String::from_utf8_lossy(&answer);
    let code = code.split("<Code>").nth(1).and_then(|rest| rest.split('<').next()).map(str::to_owned);
    outcome((at, status, code))
}

const FILES: [(&str, &str); 3] = [
    ("config.json", "--config"),
    ("locationConfig.json", "--location-file"),
    ("authdata.json", "--auth-config"),
];

pub fn configurations() -> Vec<Vec<u8>> {
    let shipped = [
        include_str!("../../../conf/config.json"),
        include_str!("../../../conf/locationConfig.json"),
        include_str!("../../../conf/authdata.json"),
    ];
    let mut seeds: Vec<Vec<u8>> =
        shipped.iter().enumerate().map(|(at, text)| [&[at as u8], text.as_bytes()].concat()).collect();
    seeds.extend(texts(&[
        "\0{\"port\":8000,\"listenOn\":[\"127.0.0.1:1\"],\"log\":{\"logLevel\":\"debug\"},\"localCache\":{\"host\":\"h\",\"port\":1}}",
        "\x01{\"us-east-1\":{\"type\":\"scality\",\"legacyAwsBehavior\":true,\"details\":{\"connector\":{\"sproxyd\":{\"bootstrap\":[\"h:1\"],\"chordCos\":3}}}}}",
    ]));
    seeds
}

/// FZ-17: a configuration is used, or refused with a sentence that names its file.
pub fn config(input: &[u8]) -> u64 {
    let (at, text) = choice(input);
    let (name, flag) = FILES[at % FILES.len()];
    let folder = std::env::temp_dir().join(format!("s3pail-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for temporary files");
    std::fs::write(folder.join(name), text).expect("a file there");
    let inputs = Inputs { args: vec![flag.into(), name.into()], folder: folder.clone(), ..Inputs::default() };
    let told = command(&inputs).map(|_| ()).map_err(|error| error.0);
    let _ = std::fs::remove_dir_all(&folder);
    if let Err(sentence) = &told {
        assert!(sentence.contains(name), "{sentence}");
    }
    outcome((
        at % FILES.len(),
        told.err().map(|sentence| sentence.split(':').nth(1).unwrap_or("").to_owned()),
    ))
}
