//! From host and path to bucket and key.
//!
//! Source: S3 user guide, "Virtual hosting of buckets"; the rule for configured hosts is Scality S3
//! Server's (the longest matching host wins).

use crate::codec::uri;
use crate::error::{Code, Error, Result};
use crate::model::{BucketName, ObjectKey};

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The bucket, if the request names one.
    pub bucket: Option<BucketName>,
    /// The key, if the request names one.
    pub key: Option<ObjectKey>,
    /// The host without bucket and port: what `restEndpoints` maps to a location.
    pub endpoint: String,
    /// Whether the bucket came from the host.
    pub virtual_host: bool,
}

/// Which hosts carry buckets in front.
pub struct Hosts<'a> {
    /// Configured hosts, for endpoints and for websites.
    pub known: &'a [String],
    /// Refuse every other host.
    pub strict: bool,
}

/// Hosts that carry buckets in front without being configured: what developers' machines resolve.
const LOCAL_HOSTS: [&str; 2] = ["s3.localhost", "localhost"];

impl Target {
    /// Resolves a request.
    ///
    /// # Errors
    /// `InvalidURI` for a host or path that cannot be read, `InvalidBucketName`, `KeyTooLongError`.
    pub fn resolve(host: Option<&str>, path: &str, hosts: &Hosts<'_>) -> Result<Target> {
        let (endpoint, bucket) = split_host(host.unwrap_or(""), hosts)?;
        let rest = path.strip_prefix('/').ok_or_else(|| Error::new(Code::InvalidURI))?;
        let (bucket, key, virtual_host) = match bucket {
            Some(bucket) => (Some(bucket), rest, true),
            None => match rest.split_once('/') {
                Some((bucket, key)) => (Some(bucket.to_owned()), key, false),
                None => (Some(rest.to_owned()), "", false),
            },
        };
        let decoded = |text: &str| uri::decode(text).ok_or_else(|| Error::new(Code::InvalidURI));
        let bucket = match bucket {
            Some(name) if !name.is_empty() => Some(BucketName::parse(&decoded(&name)?)?),
            _ => None,
        };
        let key = match key {
            "" => None,
            key => Some(ObjectKey::parse(&decoded(key)?)?),
        };
        if bucket.is_none() && key.is_some() {
            return Err(Error::new(Code::InvalidBucketName).field("BucketName", ""));
        }
        Ok(Target { bucket, key, endpoint, virtual_host })
    }
}

/// Splits a Host header into endpoint and bucket.
fn split_host(host: &str, hosts: &Hosts<'_>) -> Result<(String, Option<String>)> {
    let name = without_port(host).trim_end_matches('.').to_ascii_lowercase();
    let valid = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte));
    if !valid {
        return Err(Code::InvalidURI.into());
    }
    if name.parse::<std::net::IpAddr>().is_ok() {
        return Ok((name, None));
    }
    if hosts.known.contains(&name) {
        return Ok((name, None));
    }
    let known = hosts.known.iter().map(String::as_str);
    let longest = known
        .chain(LOCAL_HOSTS)
        .filter_map(|known| Some((known, name.strip_suffix(known)?.strip_suffix('.')?)))
        .min_by_key(|(_, bucket)| bucket.len());
    match longest {
        Some((known, bucket)) if bucket != "s3" || known != "localhost" => {
            Ok((known.to_owned(), Some(bucket.to_owned())))
        }
        _ if hosts.strict && !LOCAL_HOSTS.contains(&name.as_str()) => Err(Error::with_message(
            Code::InvalidURI,
            "Could not parse the specified URI. Check your restEndpoints configuration.",
        )),
        _ => Ok((name, None)),
    }
}

fn without_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').map_or(rest, |(address, _)| address);
    }
    match host.rsplit_once(':') {
        // More than one colon without brackets is a bare IPv6 address.
        Some((name, _)) if !name.contains(':') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(host: &str, path: &str, expected: (&str, Option<&str>, Option<&str>)) {
        let known = ["s3.amazonaws.com".to_owned(), "eu.s3.amazonaws.com".to_owned()];
        let target =
            Target::resolve(Some(host), path, &Hosts { known: &known, strict: false }).expect("resolves");
        let bucket = target.bucket.as_ref().map(BucketName::as_str);
        let key = target.key.as_ref().map(ObjectKey::as_str);
        assert_eq!((target.endpoint.as_str(), bucket, key), expected, "{host} {path}");
    }

    #[test]
    fn buckets_come_from_the_host_or_from_the_path() {
        check("127.0.0.1:8000", "/", ("127.0.0.1", None, None));
        check("127.0.0.1:8000", "/abc", ("127.0.0.1", Some("abc"), None));
        check("127.0.0.1:8000", "/abc/", ("127.0.0.1", Some("abc"), None));
        check("[::1]:8000", "/abc//x", ("::1", Some("abc"), Some("/x")));
        check("::1", "/abc/../x", ("::1", Some("abc"), Some("../x")));
        check("minio:9000", "/abc/k", ("minio", Some("abc"), Some("k")));
        check("localhost", "/abc/k%2Fl+m", ("localhost", Some("abc"), Some("k/l+m")));
        check("abc.localhost:8000", "/k", ("localhost", Some("abc"), Some("k")));
        check("a.b.c.s3.localhost", "/k", ("s3.localhost", Some("a.b.c"), Some("k")));
        check("s3.localhost", "/abc/k", ("s3.localhost", Some("abc"), Some("k")));
        check("abc.eu.s3.amazonaws.com", "/abc/k", ("eu.s3.amazonaws.com", Some("abc"), Some("abc/k")));
        check("S3.amazonaws.com.", "/abc", ("s3.amazonaws.com", Some("abc"), None));
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let hosts = Hosts { known: &[], strict: true };
        for (host, path) in [("a b", "/"), ("x/y", "/"), ("h", "/abc/%zz"), ("h", "/abc/%ff"), ("h", "*")] {
            assert!(
                Target::resolve(Some(host), path, &Hosts { known: &[], strict: false }).is_err(),
                "{host} {path}"
            );
        }
        assert!(Target::resolve(Some("elsewhere"), "/", &hosts).is_err());
        assert!(Target::resolve(Some("127.0.0.1"), "/", &hosts).is_ok());
    }
}
