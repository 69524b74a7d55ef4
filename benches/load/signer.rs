//! Signature Version 4 of requests with three signed headers, fast enough to disappear in the
//! measurement. Written apart from the server's own verification, so that one checks the other.
//! Source: "Authenticating Requests: Using the Authorization Header" of the S3 API reference.

use crate::target::Target;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::time::{SystemTime, UNIX_EPOCH};

const ACCESS_KEY: &str = "accessKey1";
const SECRET_KEY: &str = "verySecretKey1";
const REGION: &str = "us-east-1";

/// The payload hash of a request whose body is not signed.
pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// SHA-256 in lower-case hexadecimal, as `x-amz-content-sha256` wants it.
pub fn sha256_hex(data: &[u8]) -> String {
    hex(&Sha256::digest(data))
}

/// Signs for one host. The signing key is derived once a day, the time text once a second.
pub struct Signer {
    host: String,
    access: String,
    secret: String,
    second: u64,
    time: String,
    key: Hmac<Sha256>,
}

impl Signer {
    /// A signer for requests with this `Host`.
    pub fn new(host: &str) -> Self {
        Signer::with_keys(host, ACCESS_KEY, SECRET_KEY)
    }

    /// A signer with the keys of a target.
    pub fn for_target(target: &Target) -> Self {
        let (access, secret) =
            target.keys.as_ref().map_or((ACCESS_KEY, SECRET_KEY), |(access, secret)| (access, secret));
        Signer::with_keys(&target.address.to_string(), access, secret)
    }

    fn with_keys(host: &str, access: &str, secret: &str) -> Self {
        let (time, secret) = (amz_time(0), secret.to_owned());
        let key = signing_key(&secret, &time[..8], REGION);
        Signer { host: host.to_owned(), access: access.to_owned(), secret, second: 0, key, time }
    }

    /// The headers of a request: Host, X-Amz-Date, X-Amz-Content-Sha256 and Authorization. The path
    /// and the query (without `?`) must be in canonical form already.
    pub fn headers(&mut self, method: &str, path: &str, query: &str, payload_hash: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.advance(now);
        let Signer { host, access, time, key, .. } = self;
        let request = format!(
            "{method}\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:{payload_hash}\nx-amz-date:{time}\n\n\
             host;x-amz-content-sha256;x-amz-date\n{payload_hash}"
        );
        let scope = format!("{}/{REGION}/s3/aws4_request", &time[..8]);
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", sha256_hex(request.as_bytes()));
        let signature = hex(&key.clone().chain_update(to_sign).finalize().into_bytes());
        format!(
            "Host: {host}\r\nX-Amz-Date: {time}\r\nX-Amz-Content-Sha256: {payload_hash}\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential={access}/{scope}, \
             SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature={signature}\r\n"
        )
    }

    fn advance(&mut self, now: u64) {
        if now == self.second {
            return;
        }
        let time = amz_time(now);
        if time[..8] != self.time[..8] {
            self.key = signing_key(&self.secret, &time[..8], REGION);
        }
        (self.second, self.time) = (now, time);
    }
}

/// The key of one day and region, ready to be cloned for each signature.
fn signing_key(secret: &str, date: &str, region: &str) -> Hmac<Sha256> {
    let mut key = hmac(format!("AWS4{secret}").as_bytes());
    for scope in [date, region, "s3", "aws4_request"] {
        key = hmac(&key.chain_update(scope).finalize().into_bytes());
    }
    key
}

fn hmac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of every length")
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [b >> 4, b & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// Seconds since 1970 as `YYYYMMDDThhmmssZ`.
fn amz_time(seconds: u64) -> String {
    let (mut year, mut day, second) = (1970, seconds / 86_400, seconds % 86_400);
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < days {
            break;
        }
        day -= days;
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{:02}T{hour:02}{minute:02}{second:02}Z", day + 1)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, want) in [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (1_704_067_199, "20231231T235959Z"),
            (1_709_251_200, "20240301T000000Z"),
            (4_107_542_400, "21000301T000000Z"),
        ] {
            assert_eq!(amz_time(seconds), want);
        }
    }

    /// The key of the S3 API reference's own examples (GET Object with a range).
    #[test]
    fn the_example_of_the_s3_reference_comes_out() {
        let key = signing_key("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "20130524", "us-east-1");
        let to_sign = "AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n\
                       7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972";
        let signature = hex(&key.chain_update(to_sign).finalize().into_bytes());
        assert_eq!(signature, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
    }

    #[test]
    fn the_empty_body_has_its_known_hash() {
        assert_eq!(sha256_hex(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
