//! The one table of settings. Flags, variables, file keys, `--help`, complaints and the table in the
//! README all come from it, so none of them can forget one.

use super::given::{ConfigError, Given};

/// The most worker threads that can be asked for.
pub const WORKERS_MAX: u64 = 256;

/// The most open connections that can be asked for.
pub const CONNECTIONS_MAX: u64 = 65_536;

/// What a setting's value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Yes or no. The flag alone means yes.
    Switch,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A whole number between two bounds, both included.
    Number(u64, u64),
    /// One text of the described shape.
    Text(&'static str),
    /// Several texts of the described shape: an array in the file, separated by commas elsewhere; the
    /// flag may be repeated.
    List(&'static str),
    /// A JSON object of the described shape, in the file only.
    Object(&'static str),
}

impl Kind {
    /// What is allowed, in words.
    pub fn allowed(self) -> String {
        match self {
            Kind::Switch => "yes, no (in the file true, false)".to_owned(),
            Kind::Choice(words) => words.join(", "),
            Kind::Number(min, max) => format!("a whole number from {min} to {max}"),
            Kind::Text(shape) | Kind::List(shape) | Kind::Object(shape) => shape.to_owned(),
        }
    }
}

/// Which setting.
#[allow(missing_docs)] // Each is described by its row in SETTINGS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Id {
    Role,
    Backend,
    Data,
    Metadata,
    DataPath,
    MetadataPath,
    Sync,
    NoSync,
    Listen,
    Port,
    BindAddress,
    Workers,
    Connections,
    MemoryBytes,
    LogLevel,
    LogHeaders,
    Region,
    Endpoint,
    StrictHosts,
    MpuTesting,
    DefaultEncryption,
    LifecycleDaySeconds,
    RestoreSeconds,
    ScrubDays,
    ScrubRate,
    NotificationWebhook,
    NotificationDestinations,
    HealthAllowFrom,
    Fixture,
    Auth,
    HostAliases,
    NamespacePerKey,
    Buckets,
    Seed,
    Init,
    ReadyLine,
    ReadyFile,
    ParentPid,
    ExitWithStdin,
    ConfigFile,
    LocationFile,
    AccountsFile,
    AccessKey,
    SecretKey,
    AccessKeyFile,
    SecretKeyFile,
    Vault,
    DataHost,
    MetadataHost,
    RedisHost,
    RedisPort,
    EnableLocalCache,
    RestEndpoints,
    StorageClasses,
    WebsiteEndpoints,
    Certificates,
    TlsSelfSigned,
    TlsNames,
    DataClient,
    MetadataClient,
    DataDaemon,
    MetadataDaemon,
    LocalCache,
    Requests,
    Ssl,
}

/// One row: a setting and every way to give it.
#[derive(Debug)]
pub struct Setting {
    /// Which.
    pub id: Id,
    /// The command-line flag, with its dashes; empty when there is none.
    pub flag: &'static str,
    /// What stands for the value in `--help`; empty for switches.
    pub metavar: &'static str,
    /// Environment variables, strongest first.
    pub variables: &'static [&'static str],
    /// The key in `config.json`, its parts joined by dots; empty when there is none.
    pub key: &'static str,
    /// What is allowed.
    pub kind: Kind,
    /// The default, in words.
    pub default: &'static str,
    /// What it does, one sentence.
    pub help: &'static str,
}

const ADDRESSES: &str = "an IP address with or without a port, such as 127.0.0.1:8000 or [::1]:0";
const HOST_LIST: &str = "host names without a port, such as s3.example.com";
const CIDR_LIST: &str = "IP addresses or networks, such as 127.0.0.1/8 or ::1";
const HOST_AND_PORT: &str = "an object with host (a text) and port (1 to 65535)";
const BIND_ADDRESS_AND_PORT: &str =
    "an object with bindAddress (an IP address or localhost) and port (0 to 65535)";
const WEBHOOK: &str = "an http:// URL, such as http://127.0.0.1:9000/events";
const DESTINATIONS: &str = "a list of objects with resource (a name or an ARN), type (webhook), host (a name \
    or an http:// URL) and, beside a name, port";
const AUTHORITIES: &str = "host names with or without a port, such as s3:8000 or minio.example.com";
const BUCKETS: &str = "bucket names, each alone or followed by :private, :public-read or :public-read-write";
const A_PATH: &str = "the path of a file";
const A_FOLDER: &str = "the path of a folder, which is made when it is missing";
const A_HOST: &str = "a host name or an IP address";

/// Every setting, in the order of `--help`.
pub static SETTINGS: &[Setting] = &[
    Setting {
        id: Id::Role,
        flag: "--role",
        metavar: "ROLE",
        variables: &["S3PAIL_ROLE"],
        key: "s3pail.role",
        kind: Kind::Choice(&["s3", "data", "metadata"]),
        default: "s3",
        help: "What this process serves: S3, or as a daemon its bodies or its records to front ends elsewhere",
    },
    Setting {
        id: Id::Backend,
        flag: "--backend",
        metavar: "KIND",
        variables: &["S3BACKEND"],
        key: "s3pail.backend",
        kind: Kind::Choice(&["mem", "file"]),
        default: "file",
        help: "Where bodies and records are kept, unless --data or --metadata say otherwise",
    },
    Setting {
        id: Id::Data,
        flag: "--data",
        metavar: "KIND",
        variables: &["S3DATA"],
        key: "s3pail.data",
        kind: Kind::Choice(&["mem", "file", "multiple", "scality"]),
        default: "as --backend",
        help: "Where bodies are kept; with multiple (scality means the same) each object's location decides",
    },
    Setting {
        id: Id::Metadata,
        flag: "--metadata",
        metavar: "KIND",
        variables: &["S3METADATA"],
        key: "s3pail.metadata",
        kind: Kind::Choice(&["mem", "file"]),
        default: "as --backend",
        help: "Where records are kept",
    },
    Setting {
        id: Id::DataPath,
        flag: "--data-path",
        metavar: "FOLDER",
        variables: &["S3DATAPATH"],
        key: "s3pail.dataPath",
        kind: Kind::Text(A_FOLDER),
        default: "./localData",
        help: "The folder of bodies",
    },
    Setting {
        id: Id::MetadataPath,
        flag: "--metadata-path",
        metavar: "FOLDER",
        variables: &["S3METADATAPATH"],
        key: "s3pail.metadataPath",
        kind: Kind::Text(A_FOLDER),
        default: "./localMetadata",
        help: "The folder of records",
    },
    Setting {
        id: Id::Sync,
        flag: "--sync",
        metavar: "MODE",
        variables: &["S3PAIL_SYNC"],
        key: "s3pail.sync",
        kind: Kind::Choice(&["strict", "relaxed", "none"]),
        default: "strict",
        help: "What an answered write survives: strict a power cut, relaxed all but the last second before \
               one, none the end of the process only",
    },
    Setting {
        id: Id::NoSync,
        flag: "",
        metavar: "",
        variables: &["S3DATA_NOSYNC"],
        key: "",
        kind: Kind::Choice(&["true", "false"]),
        default: "false",
        help: "true means --sync none where no sync mode is given",
    },
    Setting {
        id: Id::Listen,
        flag: "--listen",
        metavar: "ADDR:PORT",
        variables: &["LISTEN_ADDR", "GATEWAY_LISTEN"],
        key: "listenOn",
        kind: Kind::List(ADDRESSES),
        default: "127.0.0.1 with --port",
        help: "Addresses to listen on; port 0 lets the system choose, a missing port is that of --port",
    },
    Setting {
        id: Id::Port,
        flag: "--port",
        metavar: "PORT",
        variables: &["S3PAIL_PORT"],
        key: "port",
        kind: Kind::Number(0, 65_535),
        default: "8000",
        help: "The port of addresses that name none, and of those from a weaker source",
    },
    Setting {
        id: Id::BindAddress,
        flag: "",
        metavar: "",
        variables: &["S3PAIL_BIND_ADDRESS"],
        key: "",
        kind: Kind::Text("an IP address without a port"),
        default: "127.0.0.1",
        help: "The address to listen on when nothing else names one; container images set it",
    },
    Setting {
        id: Id::Workers,
        flag: "--workers",
        metavar: "N",
        variables: &["S3PAIL_WORKERS"],
        key: "s3pail.workers",
        kind: Kind::Number(1, WORKERS_MAX),
        default: "8 for each core, at least 8, at most 64",
        help: "Worker threads: how many requests are served at the same moment",
    },
    Setting {
        id: Id::Connections,
        flag: "--connections",
        metavar: "N",
        variables: &["S3PAIL_CONNECTIONS"],
        key: "s3pail.connections",
        kind: Kind::Number(1, CONNECTIONS_MAX),
        default: "half the open files that the process may have beyond 128, at most 1024",
        help: "Open connections, of one address half as many; one more is answered with 503 SlowDown",
    },
    Setting {
        id: Id::MemoryBytes,
        flag: "--memory-bytes",
        metavar: "N",
        variables: &["S3PAIL_MEMORY_BYTES"],
        key: "s3pail.memoryBytes",
        kind: Kind::Number(1 << 20, 1 << 50),
        default: "no limit",
        help: "How many bytes bodies and records in memory may take together; what is more is refused with 507",
    },
    Setting {
        id: Id::LogLevel,
        flag: "--log-level",
        metavar: "LEVEL",
        variables: &["LOG_LEVEL"],
        key: "log.logLevel",
        kind: Kind::Choice(&["trace", "debug", "info", "warn", "error", "fatal"]),
        default: "info",
        help: "The least severe level that is logged; requests are logged at info, health polls at trace",
    },
    Setting {
        id: Id::LogHeaders,
        flag: "--log-headers",
        metavar: "",
        variables: &["S3PAIL_LOG_HEADERS"],
        key: "s3pail.logHeaders",
        kind: Kind::Switch,
        default: "no",
        help: "Log the header fields of every request, without signatures, tokens and encryption keys",
    },
    Setting {
        id: Id::Region,
        flag: "--region",
        metavar: "NAME",
        variables: &["S3PAIL_REGION"],
        key: "s3pail.region",
        kind: Kind::Text("a region name, such as eu-west-1"),
        default: "any region is accepted",
        help: "Accept only signatures made for this region",
    },
    Setting {
        id: Id::Endpoint,
        flag: "--endpoint",
        metavar: "HOST",
        variables: &["ENDPOINT", "HOST_NAME"],
        key: "",
        kind: Kind::List(HOST_LIST),
        default: "none",
        help: "Adds hosts to restEndpoints with location us-east-1, so that bucket.HOST is understood",
    },
    Setting {
        id: Id::StrictHosts,
        flag: "--strict-hosts",
        metavar: "",
        variables: &["S3PAIL_STRICT_HOSTS"],
        key: "s3pail.strictHosts",
        kind: Kind::Switch,
        default: "no",
        help: "Refuse requests to hosts that are in neither restEndpoints nor websiteEndpoints",
    },
    Setting {
        id: Id::MpuTesting,
        flag: "--mpu-testing",
        metavar: "",
        variables: &["MPU_TESTING"],
        key: "s3pail.mpuTesting",
        kind: Kind::Switch,
        default: "no",
        help: "Lets every part of a multipart upload be smaller than 5 MiB",
    },
    Setting {
        id: Id::DefaultEncryption,
        flag: "--default-encryption",
        metavar: "METHOD",
        variables: &["S3PAIL_DEFAULT_ENCRYPTION"],
        key: "s3pail.defaultEncryption",
        kind: Kind::Choice(&["none", "AES256"]),
        default: "none",
        help: "How new objects are encrypted where neither the request nor the bucket says: AES256 (SSE-S3) as on AWS, none stores them as they come",
    },
    Setting {
        id: Id::LifecycleDaySeconds,
        flag: "--lifecycle-day-seconds",
        metavar: "SECONDS",
        variables: &["S3PAIL_LIFECYCLE_DAY_SECONDS"],
        key: "s3pail.lifecycleDaySeconds",
        kind: Kind::Number(1, 86_400),
        default: "86400",
        help: "How long a day of lifecycle rules lasts, so that tests need not wait for one; where it is shortened, objects below 128 KiB move to archive classes unless the rules forbid it",
    },
    Setting {
        id: Id::RestoreSeconds,
        flag: "--restore-seconds",
        metavar: "SECONDS",
        variables: &["S3PAIL_RESTORE_SECONDS"],
        key: "s3pail.restoreSeconds",
        kind: Kind::Number(0, 172_800),
        default: "0",
        help: "How long it takes to restore an object from GLACIER or DEEP_ARCHIVE",
    },
    Setting {
        id: Id::ScrubDays,
        flag: "--scrub-days",
        metavar: "DAYS",
        variables: &["S3PAIL_SCRUB_DAYS"],
        key: "s3pail.scrubDays",
        kind: Kind::Number(0, 3_650),
        default: "30",
        help: "How often all bodies in files are read to find damage before somebody needs them; 0 never",
    },
    Setting {
        id: Id::ScrubRate,
        flag: "--scrub-rate",
        metavar: "MB",
        variables: &["S3PAIL_SCRUB_RATE"],
        key: "s3pail.scrubRate",
        kind: Kind::Number(1, 10_000),
        default: "4",
        help: "How many megabytes a second that reads at most",
    },
    Setting {
        id: Id::NotificationWebhook,
        flag: "--notification-webhook",
        metavar: "URL",
        variables: &["S3PAIL_NOTIFICATION_WEBHOOK"],
        key: "s3pail.notificationWebhook",
        kind: Kind::Text(WEBHOOK),
        default: "none",
        help: "Sends the events of every notification target that has no destination of its own here",
    },
    Setting {
        id: Id::NotificationDestinations,
        flag: "",
        metavar: "",
        variables: &[],
        key: "bucketNotificationDestinations",
        kind: Kind::Object(DESTINATIONS),
        default: "none",
        help: "Where notification targets are, by ARN or by the last part of the ARN",
    },
    Setting {
        id: Id::HealthAllowFrom,
        flag: "--health-allow-from",
        metavar: "CIDR",
        variables: &["HEALTHCHECKS_ALLOWFROM"],
        key: "healthChecks.allowFrom",
        kind: Kind::List(CIDR_LIST),
        default: "none",
        help: "Who may ask for the state of the backends, besides 127.0.0.1/8 and ::1",
    },
    Setting {
        id: Id::Fixture,
        flag: "--fixture",
        metavar: "",
        variables: &["S3PAIL_FIXTURE"],
        key: "s3pail.fixture",
        kind: Kind::Switch,
        default: "no",
        help: "The profile of test suites: memory unless a backend is given, and the calls of docs/fixture.md under /_/test/, open to everybody who reaches the port",
    },
    Setting {
        id: Id::Auth,
        flag: "--auth",
        metavar: "HOW",
        variables: &["S3PAIL_AUTH"],
        key: "s3pail.auth",
        kind: Kind::Choice(&["exact", "any"]),
        default: "exact",
        help: "exact checks every signature as S3 does; any, with --fixture only, lets everybody in with any key or none",
    },
    Setting {
        id: Id::HostAliases,
        flag: "--host-aliases",
        metavar: "HOST[:PORT]",
        variables: &["S3PAIL_HOST_ALIASES"],
        key: "s3pail.hostAliases",
        kind: Kind::List(AUTHORITIES),
        default: "none",
        help: "Hosts that presigned URLs may have been made for when they are used under another one",
    },
    Setting {
        id: Id::NamespacePerKey,
        flag: "--namespace-per-key",
        metavar: "",
        variables: &["S3PAIL_NAMESPACE_PER_KEY"],
        key: "s3pail.namespacePerKey",
        kind: Kind::Switch,
        default: "no",
        help: "With --fixture, gives each access key buckets and objects that no other key sees",
    },
    Setting {
        id: Id::Buckets,
        flag: "--buckets",
        metavar: "NAME[:ACCESS]",
        variables: &[
            "S3PAIL_BUCKETS",
            "MINIO_DEFAULT_BUCKETS",
            "initialBuckets",
            "COM_ADOBE_TESTING_S3MOCK_STORE_INITIAL_BUCKETS",
            "COM_ADOBE_TESTING_S3MOCK_DOMAIN_INITIAL_BUCKETS",
        ],
        key: "s3pail.buckets",
        kind: Kind::List(BUCKETS),
        default: "none",
        help: "Makes these buckets before the first request is served, unless they exist",
    },
    Setting {
        id: Id::Seed,
        flag: "--seed",
        metavar: "FOLDER",
        variables: &["S3PAIL_SEED"],
        key: "s3pail.seed",
        kind: Kind::Text("the path of a folder that exists"),
        default: "none",
        help: "Loads files before the first request is served: folders in it are buckets, what is below them are objects",
    },
    Setting {
        id: Id::Init,
        flag: "--init",
        metavar: "FILE",
        variables: &["S3PAIL_INIT"],
        key: "s3pail.init",
        kind: Kind::Text(A_PATH),
        default: "none",
        help: "Accounts, buckets with their settings, and objects that are there before the first request is served (docs/fixture.md)",
    },
    Setting {
        id: Id::ReadyLine,
        flag: "--ready-line",
        metavar: "FORM",
        variables: &["S3PAIL_READY_LINE"],
        key: "",
        kind: Kind::Choice(&["text", "json"]),
        default: "json with --fixture, else text",
        help: "The line on standard output once requests are served: for people, or one JSON object for programs",
    },
    Setting {
        id: Id::ReadyFile,
        flag: "--ready-file",
        metavar: "FILE",
        variables: &["S3PAIL_READY_FILE"],
        key: "",
        kind: Kind::Text(A_PATH),
        default: "none",
        help: "Holds the JSON of --ready-line once requests are served, and is removed at the end",
    },
    Setting {
        id: Id::ParentPid,
        flag: "--parent-pid",
        metavar: "PID",
        variables: &["S3PAIL_PARENT_PID"],
        key: "",
        kind: Kind::Number(1, 4_294_967_295),
        default: "none",
        help: "Stops when this process is gone, so that no server outlives the test run that started it",
    },
    Setting {
        id: Id::ExitWithStdin,
        flag: "--exit-with-stdin",
        metavar: "",
        variables: &["S3PAIL_EXIT_WITH_STDIN"],
        key: "",
        kind: Kind::Switch,
        default: "no",
        help: "Stops when standard input ends: whoever started the server and holds the other end is gone",
    },
    Setting {
        id: Id::ConfigFile,
        flag: "--config",
        metavar: "FILE",
        variables: &["S3_CONFIG_FILE"],
        key: "",
        kind: Kind::Text(A_PATH),
        default: "conf/config.json, else config.json, else built in",
        help: "The configuration file",
    },
    Setting {
        id: Id::LocationFile,
        flag: "--location-file",
        metavar: "FILE",
        variables: &["S3_LOCATION_FILE"],
        key: "",
        kind: Kind::Text(A_PATH),
        default: "conf/locationConfig.json, else locationConfig.json, else built in",
        help: "The file of locations",
    },
    Setting {
        id: Id::AccountsFile,
        flag: "--auth-config",
        metavar: "FILE",
        variables: &["S3AUTH_CONFIG"],
        key: "",
        kind: Kind::Text(A_PATH),
        default: "conf/authdata.json, else authdata.json, else built in",
        help: "The file of accounts and keys",
    },
    Setting {
        id: Id::AccessKey,
        flag: "",
        metavar: "",
        variables: &["SCALITY_ACCESS_KEY_ID", "MINIO_ROOT_USER", "MINIO_ACCESS_KEY"],
        key: "",
        kind: Kind::Text("an access key id, together with SCALITY_SECRET_ACCESS_KEY"),
        default: "the file of accounts",
        help: "With SCALITY_SECRET_ACCESS_KEY, the one and only key pair; the file of accounts is not read",
    },
    Setting {
        id: Id::SecretKey,
        flag: "",
        metavar: "",
        variables: &["SCALITY_SECRET_ACCESS_KEY", "MINIO_ROOT_PASSWORD", "MINIO_SECRET_KEY"],
        key: "",
        kind: Kind::Text("a secret key, together with SCALITY_ACCESS_KEY_ID"),
        default: "the file of accounts",
        help: "The secret key that belongs to SCALITY_ACCESS_KEY_ID",
    },
    Setting {
        id: Id::AccessKeyFile,
        flag: "",
        metavar: "",
        variables: &["SCALITY_ACCESS_KEY_ID_FILE", "MINIO_ROOT_USER_FILE"],
        key: "",
        kind: Kind::Text(A_PATH),
        default: "none",
        help: "A file that holds the access key id, for container secrets",
    },
    Setting {
        id: Id::SecretKeyFile,
        flag: "",
        metavar: "",
        variables: &["SCALITY_SECRET_ACCESS_KEY_FILE", "MINIO_ROOT_PASSWORD_FILE"],
        key: "",
        kind: Kind::Text(A_PATH),
        default: "none",
        help: "A file that holds the secret key, for container secrets",
    },
    Setting {
        id: Id::Vault,
        flag: "",
        metavar: "",
        variables: &["S3VAULT"],
        key: "",
        kind: Kind::Choice(&["mem", "file"]),
        default: "mem",
        help: "Where accounts are kept; both words mean the file of accounts",
    },
    Setting {
        id: Id::DataHost,
        flag: "",
        metavar: "",
        variables: &["DATA_HOST"],
        key: "",
        kind: Kind::Text(A_HOST),
        default: "none",
        help: "Keep bodies with the data daemon on this host; its port is that of dataClient, else 9991",
    },
    Setting {
        id: Id::MetadataHost,
        flag: "",
        metavar: "",
        variables: &["METADATA_HOST"],
        key: "",
        kind: Kind::Text(A_HOST),
        default: "none",
        help: "Keep records with the metadata daemon on this host; its port is that of metadataClient, else 9990",
    },
    Setting {
        id: Id::RedisHost,
        flag: "",
        metavar: "",
        variables: &["REDIS_HOST"],
        key: "",
        kind: Kind::Text(A_HOST),
        default: "none",
        help: "The host of localCache; its port is REDIS_PORT, else 6379",
    },
    Setting {
        id: Id::RedisPort,
        flag: "",
        metavar: "",
        variables: &["REDIS_PORT"],
        key: "",
        kind: Kind::Number(1, 65_535),
        default: "6379",
        help: "The port of localCache",
    },
    Setting {
        id: Id::EnableLocalCache,
        flag: "",
        metavar: "",
        variables: &["ENABLE_LOCAL_CACHE"],
        key: "",
        kind: Kind::Text("unset, or any text"),
        default: "none",
        help: "Any text stands for a localCache on 127.0.0.1 where the file has none",
    },
    Setting {
        id: Id::RestEndpoints,
        flag: "",
        metavar: "",
        variables: &[],
        key: "restEndpoints",
        kind: Kind::Object("an object that maps host names to names of configured locations"),
        default: "localhost, 127.0.0.1, s3.docker.test, 127.0.0.2, s3.amazonaws.com",
        help: "Default location of buckets by host, and the hosts before which a bucket name may stand",
    },
    Setting {
        id: Id::StorageClasses,
        flag: "",
        metavar: "",
        variables: &[],
        key: "storageClasses",
        kind: Kind::Object(
            "an object that maps storage classes of S3 other than STANDARD to names of configured locations",
        ),
        default: "no class has a location",
        help: "With data backend multiple, where the bytes of objects of a storage class go",
    },
    Setting {
        id: Id::WebsiteEndpoints,
        flag: "",
        metavar: "",
        variables: &[],
        key: "websiteEndpoints",
        kind: Kind::List(HOST_LIST),
        default: "twelve AWS website hosts, s3-website.localhost, s3-website.scality.test",
        help: "Hosts that serve websites",
    },
    Setting {
        id: Id::Certificates,
        flag: "",
        metavar: "",
        variables: &[],
        key: "certFilePaths",
        kind: Kind::Object("an object with key and cert, and if wanted ca: paths of readable files"),
        default: "plain HTTP",
        help: "Serve HTTPS with this key and certificate chain; SIGHUP reads the files again",
    },
    Setting {
        id: Id::TlsSelfSigned,
        flag: "--tls-self-signed",
        metavar: "FOLDER",
        variables: &["S3PAIL_TLS_SELF_SIGNED"],
        key: "s3pail.tlsSelfSigned",
        kind: Kind::Text(A_FOLDER),
        default: "plain HTTP",
        help: "Serve HTTPS with a certificate by a CA of its own, both kept in this folder; clients trust its ca.crt",
    },
    Setting {
        id: Id::TlsNames,
        flag: "--tls-names",
        metavar: "HOST",
        variables: &["S3PAIL_TLS_NAMES"],
        key: "s3pail.tlsNames",
        kind: Kind::List(HOST_LIST),
        default: "localhost, the loopback addresses, those of --listen, and ENDPOINT",
        help: "More hosts for the certificate of --tls-self-signed, each also with a bucket name before it",
    },
    Setting {
        id: Id::DataClient,
        flag: "",
        metavar: "",
        variables: &[],
        key: "dataClient",
        kind: Kind::Object(HOST_AND_PORT),
        default: "none",
        help: "Keep bodies with the data daemon there, unless it is the one of dataDaemon",
    },
    Setting {
        id: Id::MetadataClient,
        flag: "",
        metavar: "",
        variables: &[],
        key: "metadataClient",
        kind: Kind::Object(HOST_AND_PORT),
        default: "none",
        help: "Keep records with the metadata daemon there, unless it is the one of metadataDaemon",
    },
    Setting {
        id: Id::DataDaemon,
        flag: "",
        metavar: "",
        variables: &[],
        key: "dataDaemon",
        kind: Kind::Object(BIND_ADDRESS_AND_PORT),
        default: "none",
        help: "Serve the folder of bodies to other front ends here, without any authentication",
    },
    Setting {
        id: Id::MetadataDaemon,
        flag: "",
        metavar: "",
        variables: &[],
        key: "metadataDaemon",
        kind: Kind::Object(BIND_ADDRESS_AND_PORT),
        default: "none",
        help: "Serve the folder of records to other front ends here, without any authentication",
    },
    Setting {
        id: Id::LocalCache,
        flag: "",
        metavar: "",
        variables: &[],
        key: "localCache",
        kind: Kind::Object(
            "an object with host (a text), port (1 to 65535) and, if wanted, password (a text)",
        ),
        default: "none",
        help: "The Redis in which requests and failures are counted, for /_/healthcheck",
    },
    Setting {
        id: Id::Requests,
        flag: "",
        metavar: "",
        variables: &[],
        key: "requests",
        kind: Kind::Object(
            "an object with viaProxy (true or false), trustedProxyCIDRs (a list of networks) and \
             extractClientIPFromHeader (a header name)",
        ),
        default: "no proxy is trusted",
        help: "Take the client's address from this header when the peer is a trusted proxy",
    },
    Setting {
        id: Id::Ssl,
        flag: "",
        metavar: "",
        variables: &["SSL"],
        key: "",
        kind: Kind::Text("any text"),
        default: "plain HTTP",
        help: "With ENDPOINT and without certFilePaths: as --tls-self-signed localTls",
    },
];

/// The row of a setting.
pub fn setting(id: Id) -> &'static Setting {
    SETTINGS.iter().find(|setting| setting.id == id).expect("a test demands one row for every Id")
}

/// The row of a flag, dashes included.
pub fn by_flag(flag: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.flag == flag && !flag.is_empty())
}

/// What the user gave for each setting: for every source its value, strongest source first.
#[derive(Clone, Debug, Default)]
pub struct Raw {
    given: Vec<(Id, Given)>,
}

impl Raw {
    /// Notes a value. Of two from the same kind of source the earlier one counts.
    pub fn note(&mut self, id: Id, given: Given) {
        self.given.push((id, given));
        self.given.sort_by_key(|(_, given)| std::cmp::Reverse(given.origin.rank()));
    }

    /// The value that counts.
    pub fn get(&self, id: Id) -> Option<&Given> {
        self.given.iter().find(|(noted, _)| *noted == id).map(|(_, given)| given)
    }

    /// A [`Kind::Text`] setting.
    pub fn text(&self, id: Id) -> Result<Option<&str>, ConfigError> {
        self.get(id).map(|given| given.text(&setting(id).kind.allowed())).transpose()
    }

    /// A [`Kind::Choice`] setting.
    pub fn choice(&self, id: Id) -> Result<Option<&'static str>, ConfigError> {
        let Kind::Choice(words) = setting(id).kind else { return Ok(None) };
        self.get(id).map(|given| given.choice(words)).transpose()
    }

    /// A [`Kind::Number`] setting.
    pub fn number(&self, id: Id) -> Result<Option<u64>, ConfigError> {
        let Kind::Number(min, max) = setting(id).kind else { return Ok(None) };
        self.get(id).map(|given| given.number(min, max)).transpose()
    }

    /// A [`Kind::Switch`] setting; `false` when it is not given.
    pub fn switch(&self, id: Id) -> Result<bool, ConfigError> {
        self.get(id).map_or(Ok(false), Given::switch)
    }

    /// The items of a [`Kind::List`] setting, each with its place.
    pub fn list(&self, id: Id) -> Result<Option<Vec<Given>>, ConfigError> {
        self.get(id).map(|given| given.list(&setting(id).kind.allowed())).transpose()
    }
}

/// Keys of `config.json` that Scality S3 Server reads and that mean nothing here: accepted in silence,
/// so that a file from there starts this server unchanged. `globalEncryptionEnabled` is not among them:
/// whoever counts on it must be told.
pub static KEYS_WITHOUT_MEANING: &[&str] = &[
    "backbeat",
    "bucketd",
    "cdmi",
    "clusters",
    "defaultEncryptionKeyPerAccount",
    "externalBackends",
    "kmip",
    "kms",
    "kmsAWS",
    "lifecycleRoleName",
    "log.dumpLevel",
    "managementAgent",
    "maxScannedLifecycleListingEntries",
    "metricsListenOn",
    "metricsPort",
    "mongodb",
    "multiObjectDeleteConcurrency",
    "multiObjectDeleteEnableOptimizations",
    "outboundProxy",
    "overlayVersion",
    "pfsClient",
    "pfsDaemon",
    "quota",
    "recordLog",
    "redis",
    "replicationEndpoints",
    "replicationGroupId",
    "reportToken",
    "scuba",
    "testingMode",
    "utapi",
    "vaultd",
    "workflowEngineOperator",
];

/// Keys of `config.json` that stop the start there and here, with what to use instead.
pub static KEYS_FORBIDDEN: &[(&str, &str)] = &[
    ("regions", "restEndpoints in this file and the locations of locationConfig.json"),
    ("usEastBehavior", "legacyAwsBehavior of a location in locationConfig.json"),
    ("sproxyd", "details.connector.sproxyd of a location in locationConfig.json"),
];

/// Variables that Scality S3 Server or its container image reads and that mean nothing here.
pub static VARIABLES_WITHOUT_MEANING: &[&str] = &[
    "ALLOW_INVALID_META_HEADERS",
    "ALLOW_PUBLIC_READ_BUCKETS",
    "BUCKET_DENY_FILTER",
    "CRR_METRICS_HOST",
    "CRR_METRICS_PORT",
    "EXPIRE_ONE_DAY_EARLIER",
    "INITIAL_INSTANCE_ID",
    "MANAGEMENT_ENDPOINT",
    "MANAGEMENT_MODE",
    "MANAGEMENT_USE_AGENT",
    "METADATA_MAX_CACHED_BUCKETS",
    "MONGODB_DATABASE",
    "MONGODB_HOSTS",
    "MONGODB_RS",
    "PFSD_HOST",
    "PRE_SIGN_URL_EXPIRY",
    "PUSH_ENDPOINT",
    "QUOTA_ENABLE_INFLIGHTS",
    "QUOTA_MAX_STALENESS_MS",
    "RECORDLOG_ENABLED",
    "REDIS_HA_HOST",
    "REDIS_HA_NAME",
    "REDIS_HA_PORT",
    "REDIS_SENTINELS",
    "REMOTE_MANAGEMENT_DISABLE",
    "REPLICATION_GROUP_ID",
    "REPORT_TOKEN",
    "S3DATA_NOCACHE",
    "S3KMS",
    "S3QUOTA",
    "S3_REPLICATION_FILE",
    "S3_VERSION_ID_ENCODING_TYPE",
    "SCUBA_HOST",
    "SCUBA_PORT",
    "STORAGE_LIMIT_ENABLED",
    "TESTING_MODE",
    "TIME_PROGRESSION_FACTOR",
    "TRANSITION_ONE_DAY_EARLIER",
    "VAULTD_HOST",
    "WE_OPERATOR_HOST",
    "WE_OPERATOR_PORT",
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_id_has_one_row_and_every_name_one_owner() {
        let mut names = HashSet::new();
        let last = Id::Ssl as usize;
        assert_eq!(SETTINGS.len(), last + 1);
        for setting in SETTINGS {
            let ways = std::iter::once(&setting.flag).chain(setting.variables).chain([&setting.key]);
            for name in ways.filter(|name| !name.is_empty()) {
                assert!(names.insert(*name), "{name} stands in two rows");
            }
            assert!(!setting.help.is_empty() && !setting.default.is_empty(), "{:?}", setting.id);
            let takes_value = !matches!(setting.kind, Kind::Switch) && !setting.flag.is_empty();
            assert_eq!(takes_value, !setting.metavar.is_empty(), "{:?}", setting.id);
        }
        let ids: HashSet<usize> = SETTINGS.iter().map(|setting| setting.id as usize).collect();
        assert_eq!(ids.len(), SETTINGS.len());
        for name in KEYS_WITHOUT_MEANING.iter().chain(VARIABLES_WITHOUT_MEANING) {
            assert!(names.insert(name), "{name} stands in two tables");
        }
    }

    #[test]
    fn a_flag_beats_a_variable_beats_a_file() {
        use super::super::given::Origin;
        let mut raw = Raw::default();
        let file = Origin::File { file: "f".to_owned(), key: "k".to_owned() };
        for (origin, word) in
            [(Origin::Variable("V".to_owned()), "b"), (file, "a"), (Origin::Flag("--f".to_owned()), "c")]
        {
            raw.note(Id::Region, Given { value: word.into(), origin });
        }
        assert_eq!(raw.text(Id::Region).unwrap(), Some("c"));
    }
}
