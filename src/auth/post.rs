//! The signature of a browser upload: a POST form carries its credentials as form fields, and they sign
//! the policy document alone. What the policy demands, its expiration included, is for the operation to
//! check, and so is that the policy names the date, credential and algorithm fields (SE-15).

use super::sigv4::{self, Wording};
use super::{Door, Identity, Settings, check_skew, hex_array_lower, identity};
use super::{lenient, mismatch, sigv2, unknown_key};
use crate::auth::account::Accounts;
use crate::auth::keys::{SigningKeyCache, derive};
use crate::codec::clock::Millis;
use crate::codec::time;
use crate::error::{Error, Result};

/// The credentials in a form.
#[derive(Clone, Copy, Debug)]
pub enum FormSignature<'f> {
    /// Fields `x-amz-algorithm`, `x-amz-credential`, `x-amz-date` and `x-amz-signature`.
    V4 {
        /// `AWS4-HMAC-SHA256`.
        algorithm: &'f str,
        /// Access key and scope.
        credential: &'f str,
        /// The time of signing, in the basic form.
        date: &'f str,
        /// Lower-case hexadecimal.
        signature: &'f str,
    },
    /// Fields `AWSAccessKeyId` and `signature`.
    V2 {
        /// The access key id.
        access_key: &'f str,
        /// Base64.
        signature: &'f str,
    },
}

impl<'f> FormSignature<'f> {
    /// The access key that the form names.
    fn claimed_access_key(&self) -> Option<&'f str> {
        match *self {
            FormSignature::V2 { access_key, .. } => Some(access_key),
            FormSignature::V4 { credential, .. } => credential.rsplitn(5, '/').nth(4),
        }
    }
}

/// Verifies the signature over `policy`, the base64 text of the form field ("Authenticating requests in
/// browser-based uploads using POST" in the S3 API reference).
///
/// A form may be signed long before it is sent, so its date is only held against the future; how long
/// it is good for is in the policy. Errors: 400 `AuthorizationQueryParametersError`, `InvalidArgument`,
/// `InvalidRequest`; 403 `InvalidAccessKeyId`, `RequestTimeTooSkewed`, `SignatureDoesNotMatch`; 501
/// `NotImplemented`.
pub fn authenticate_form(
    accounts: &Accounts,
    settings: &Settings,
    now: Millis,
    form: &FormSignature<'_>,
    policy: &str,
) -> Result<Identity> {
    if settings.accept_any {
        return lenient::identity_of(accounts, form.claimed_access_key());
    }
    // Forms are rare: their signing keys are derived each time, and the cache stays with the door.
    let keys = &SigningKeyCache::new();
    let door = Door { accounts, settings, keys, now, host_bucket: None, length: None };
    match *form {
        FormSignature::V2 { access_key, signature } => verify_v2(&door, access_key, signature, policy),
        FormSignature::V4 { algorithm, credential, date, signature } => {
            sigv4::check_algorithm(algorithm)?;
            let scope = sigv4::parse_scope(&door, credential, Wording::Query)?;
            let at = time::parse_basic(date).ok_or_else(|| {
                Error::invalid_argument("x-amz-date", date, "x-amz-date must be in the ISO8601 Long Format")
            })?;
            sigv4::check_day(scope.date, at, Wording::Query)?;
            check_skew(settings, now, at.max(now), date)?;
            verify_v4(&door, &scope, signature, policy)
        }
    }
}

fn verify_v2(door: &Door<'_>, access_key: &str, signature: &str, policy: &str) -> Result<Identity> {
    sigv2::check_allowed(door)?;
    let credential = door.accounts.key(access_key);
    let secret = credential.map_or("", |credential| &credential.secret);
    let matches = sigv2::matches(secret, policy, signature);
    let credential = credential.ok_or_else(|| unknown_key(access_key))?;
    if matches { Ok(identity(access_key, credential)) } else { Err(refused(access_key, policy, signature)) }
}

fn verify_v4(door: &Door<'_>, scope: &sigv4::Scope<'_>, signature: &str, policy: &str) -> Result<Identity> {
    let credential = door.accounts.key(scope.access_key);
    let secret = credential.map_or("", |credential| &credential.secret);
    let mac = derive(secret, scope.date, scope.region).chain_update(policy);
    let provided = hex_array_lower::<32>(signature);
    let matches = provided.is_some_and(|bytes| mac.verifies(&bytes));
    let credential = credential.ok_or_else(|| unknown_key(scope.access_key))?;
    if matches {
        Ok(identity(scope.access_key, credential))
    } else {
        Err(refused(scope.access_key, policy, signature))
    }
}

fn refused(access_key: &str, policy: &str, signature: &str) -> Error {
    mismatch(access_key, policy, signature, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::tests::{KEY, SECRET, accounts};
    use crate::auth::{hex_mac, keys};
    use crate::error::Code;

    /// 2015-12-29T00:00:00Z, the time of AWS's example.
    const NOW: Millis = 1_451_347_200_000;
    const CREDENTIAL: &str = "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request";

    /// The policy and signature of "Example: Browser-based upload using HTTP POST".
    const POLICY: &str = "eyAiZXhwaXJhdGlvbiI6ICIyMDE1LTEyLTMwVDEyOjAwOjAwLjAwMFoiLA0KICAiY29uZGl0aW9ucyI6IFsNCiAgICB7ImJ1Y2tldCI6ICJzaWd2NGV4YW1wbGVidWNrZXQifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRrZXkiLCAidXNlci91c2VyMS8iXSwNCiAgICB7ImFjbCI6ICJwdWJsaWMtcmVhZCJ9LA0KICAgIHsic3VjY2Vzc19hY3Rpb25fcmVkaXJlY3QiOiAiaHR0cDovL3NpZ3Y0ZXhhbXBsZWJ1Y2tldC5zMy5hbWF6b25hd3MuY29tL3N1Y2Nlc3NmdWxfdXBsb2FkLmh0bWwifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRDb250ZW50LVR5cGUiLCAiaW1hZ2UvIl0sDQogICAgeyJ4LWFtei1tZXRhLXV1aWQiOiAiMTQzNjUxMjM2NTEyNzQifSwNCiAgICB7IngtYW16LXNlcnZlci1zaWRlLWVuY3J5cHRpb24iOiAiQUVTMjU2In0sDQogICAgWyJzdGFydHMtd2l0aCIsICIkeC1hbXotbWV0YS10YWciLCAiIl0sDQoNCiAgICB7IngtYW16LWNyZWRlbnRpYWwiOiAiQUtJQUlPU0ZPRE5ON0VYQU1QTEUvMjAxNTEyMjkvdXMtZWFzdC0xL3MzL2F3czRfcmVxdWVzdCJ9LA0KICAgIHsieC1hbXotYWxnb3JpdGhtIjogIkFXUzQtSE1BQy1TSEEyNTYifSwNCiAgICB7IngtYW16LWRhdGUiOiAiMjAxNTEyMjlUMDAwMDAwWiIgfQ0KICBdDQp9";
    const SIGNATURE: &str = "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e";

    fn check(form: FormSignature<'_>, policy: &str, now: Millis) -> Result<Identity> {
        let settings = Settings { allow_sigv2: true, ..Settings::default() };
        authenticate_form(&accounts(), &settings, now, &form, policy)
    }

    fn v4(credential: &'static str, date: &'static str, signature: &'static str) -> FormSignature<'static> {
        FormSignature::V4 { algorithm: "AWS4-HMAC-SHA256", credential, date, signature }
    }

    #[test]
    fn the_form_published_by_aws_is_accepted() {
        let good = v4(CREDENTIAL, "20151229T000000Z", SIGNATURE);
        assert_eq!(check(good, POLICY, NOW).unwrap().access_key(), Some(KEY));
        // How long the form is good for is the policy's business.
        assert!(check(good, POLICY, NOW + 36_000_000).is_ok());
    }

    /// BI-192 in so far as it concerns the signature, SE-14.
    #[test]
    fn a_changed_form_is_refused() {
        let refused = |form, policy: &str, now, code| {
            assert_eq!(check(form, policy, now).unwrap_err().code(), code, "{form:?}");
        };
        let date = "20151229T000000Z";
        let good = v4(CREDENTIAL, date, SIGNATURE);
        refused(good, &POLICY[1..], NOW, Code::SignatureDoesNotMatch);
        refused(good, POLICY, NOW - 16 * 60_000, Code::RequestTimeTooSkewed);
        refused(v4(CREDENTIAL, date, ""), POLICY, NOW, Code::SignatureDoesNotMatch);
        refused(v4(CREDENTIAL, "yesterday", SIGNATURE), POLICY, NOW, Code::InvalidArgument);
        let malformed = Code::AuthorizationQueryParametersError;
        refused(v4(CREDENTIAL, "20151230T000000Z", SIGNATURE), POLICY, NOW, malformed);
        refused(v4("a/b", date, SIGNATURE), POLICY, NOW, malformed);
        let nobody = "NOBODY/20151229/us-east-1/s3/aws4_request";
        refused(v4(nobody, date, SIGNATURE), POLICY, NOW, Code::InvalidAccessKeyId);
        let elsewhere = "AKIAIOSFODNN7EXAMPLE/20151229/eu-west-3/s3/aws4_request";
        refused(v4(elsewhere, date, SIGNATURE), POLICY, NOW, Code::SignatureDoesNotMatch);
        let form =
            FormSignature::V4 { algorithm: "none", credential: CREDENTIAL, date, signature: SIGNATURE };
        refused(form, POLICY, NOW, malformed);
    }

    #[test]
    fn a_form_of_version_2_signs_the_policy_with_the_secret() {
        let signature = sigv2::signature(SECRET, POLICY);
        let good = FormSignature::V2 { access_key: KEY, signature: &signature };
        assert!(check(good, POLICY, NOW).is_ok());
        assert_eq!(check(good, "e30=", NOW).unwrap_err().code(), Code::SignatureDoesNotMatch);
        let nobody = FormSignature::V2 { access_key: "NOBODY", signature: &signature };
        assert_eq!(check(nobody, POLICY, NOW).unwrap_err().code(), Code::InvalidAccessKeyId);
        let other = hex_mac(keys::hmac_sha256(SECRET.as_bytes()).chain_update(POLICY));
        let other = FormSignature::V2 { access_key: KEY, signature: &other };
        assert_eq!(check(other, POLICY, NOW).unwrap_err().code(), Code::SignatureDoesNotMatch);
    }
}
