//! As much of X.509 as a server needs: writing the two certificates of `--tls-self-signed`, and reading
//! names and the public key out of any certificate.
//!
//! A certificate is DER, which is type, length and content, nested (X.690). The crates that write
//! certificates bring six others with them, for a page of code.

use crate::codec::time::Civil;

/// Object identifiers, encoded.
mod oid {
    pub const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    pub const P_256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    pub const ECDSA_WITH_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
    pub const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
    pub const SUBJECT_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 0x0e];
    pub const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
    pub const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
    pub const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
    pub const AUTHORITY_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 0x23];
    pub const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
    pub const SERVER_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
}

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// A tag of this number whose content is another element.
const EXPLICIT: u8 = 0xa0;
/// A tag of this number in place of the content's own.
const IMPLICIT: u8 = 0x80;

/// The first year that is not written with two digits (RFC 5280 section 4.1.2.5).
const YEAR_GENERALIZED: u64 = 2050;

/// Bytes of a key identifier.
const KEY_ID_BYTES: usize = 20;

/// One certificate to be. Public keys are uncompressed points on P-256.
#[derive(Clone, Copy, Debug)]
pub struct ToBeSigned<'a> {
    /// The serial number, big-endian.
    pub serial: [u8; 16],
    /// The name of who signs, as [`name`] gives it.
    pub issuer: &'a [u8],
    /// The public key of who signs.
    pub issuer_key: &'a [u8],
    /// The name of whose key it is, in the same way.
    pub subject: &'a [u8],
    /// The key.
    pub subject_key: &'a [u8],
    /// From when to when, in milliseconds since 1970.
    pub valid: (u64, u64),
    /// What it is good for.
    pub purpose: Purpose<'a>,
}

/// What a certificate is good for.
#[derive(Clone, Copy, Debug)]
pub enum Purpose<'a> {
    /// To sign the certificates of servers.
    Authority,
    /// To serve under these names: DNS names, with wildcards, and IP addresses.
    Server(&'a [String]),
}

impl ToBeSigned<'_> {
    /// The part that is signed (RFC 5280 section 4.1).
    pub fn encode(&self) -> Vec<u8> {
        let mut serial = self.serial;
        // Positive, and without a leading zero.
        serial[0] = serial[0] & 0x7f | 0x40;
        element(
            SEQUENCE,
            &[
                element(EXPLICIT, &[integer(&[2])]),
                integer(&serial),
                signature_algorithm(),
                self.issuer.to_vec(),
                element(SEQUENCE, &[time(self.valid.0), time(self.valid.1)]),
                self.subject.to_vec(),
                public_key_info(self.subject_key),
                element(EXPLICIT | 3, &[element(SEQUENCE, &self.extensions())]),
            ],
        )
    }

    fn extensions(&self) -> Vec<Vec<u8>> {
        let subject_id = primitive(OCTET_STRING, &key_id(self.subject_key));
        let issuer_id = element(SEQUENCE, &[primitive(IMPLICIT, &key_id(self.issuer_key))]);
        let mut extensions = vec![
            extension(oid::SUBJECT_KEY_IDENTIFIER, false, &subject_id),
            extension(oid::AUTHORITY_KEY_IDENTIFIER, false, &issuer_id),
        ];
        match self.purpose {
            Purpose::Authority => {
                // No authorities below this one.
                let limits = element(SEQUENCE, &[primitive(BOOLEAN, &[0xff]), integer(&[0])]);
                extensions.push(extension(oid::BASIC_CONSTRAINTS, true, &limits));
                // keyCertSign and cRLSign; the first byte counts the unused bits.
                extensions.push(extension(oid::KEY_USAGE, true, &primitive(BIT_STRING, &[1, 0b0000_0110])));
            }
            Purpose::Server(names) => {
                extensions.push(extension(oid::BASIC_CONSTRAINTS, true, &element(SEQUENCE, &[])));
                // digitalSignature
                extensions.push(extension(oid::KEY_USAGE, true, &primitive(BIT_STRING, &[7, 0b1000_0000])));
                let usage = element(SEQUENCE, &[primitive(OBJECT_IDENTIFIER, oid::SERVER_AUTH)]);
                extensions.push(extension(oid::EXTENDED_KEY_USAGE, false, &usage));
                let names: Vec<Vec<u8>> = names.iter().map(|name| alternative_name(name)).collect();
                extensions.push(extension(oid::SUBJECT_ALT_NAME, false, &element(SEQUENCE, &names)));
            }
        }
        extensions
    }
}

/// The certificate: what was signed, and the signature (ECDSA with SHA-256, itself DER).
pub fn certificate(signed: Vec<u8>, signature: &[u8]) -> Vec<u8> {
    element(SEQUENCE, &[signed, signature_algorithm(), bit_string(signature)])
}

fn primitive(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    let length = content.len().to_be_bytes();
    let digits = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    match content.len() {
        0..0x80 => bytes.push(content.len() as u8),
        _ => {
            bytes.push(0x80 | digits.len() as u8);
            bytes.extend_from_slice(digits);
        }
    }
    bytes.extend_from_slice(content);
    bytes
}

fn element(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    primitive(tag, &parts.concat())
}

fn integer(bytes: &[u8]) -> Vec<u8> {
    primitive(INTEGER, bytes)
}

fn bit_string(bytes: &[u8]) -> Vec<u8> {
    primitive(BIT_STRING, &[&[0], bytes].concat())
}

fn signature_algorithm() -> Vec<u8> {
    element(SEQUENCE, &[primitive(OBJECT_IDENTIFIER, oid::ECDSA_WITH_SHA256)])
}

/// A public key on P-256, as a certificate has it.
pub fn public_key_info(key: &[u8]) -> Vec<u8> {
    let algorithm =
        [primitive(OBJECT_IDENTIFIER, oid::EC_PUBLIC_KEY), primitive(OBJECT_IDENTIFIER, oid::P_256)];
    element(SEQUENCE, &[element(SEQUENCE, &algorithm), bit_string(key)])
}

/// RFC 7093 section 2, method 1.
fn key_id(key: &[u8]) -> [u8; KEY_ID_BYTES] {
    let digest = crate::auth::keys::sha256(key);
    *digest.first_chunk().expect("SHA-256 is longer")
}

/// A distinguished name that has only a common name.
pub fn name(common_name: &str) -> Vec<u8> {
    let attribute =
        [primitive(OBJECT_IDENTIFIER, oid::COMMON_NAME), primitive(UTF8_STRING, common_name.as_bytes())];
    element(SEQUENCE, &[element(SET, &[element(SEQUENCE, &attribute)])])
}

fn time(millis: u64) -> Vec<u8> {
    let Civil { year, month, day, hour, minute, second, .. } = Civil::from_millis(millis);
    let rest = format!("{month:02}{day:02}{hour:02}{minute:02}{second:02}Z");
    match year < YEAR_GENERALIZED {
        true => primitive(UTC_TIME, format!("{:02}{rest}", year % 100).as_bytes()),
        false => primitive(GENERALIZED_TIME, format!("{year:04}{rest}").as_bytes()),
    }
}

fn extension(id: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let mut parts = vec![primitive(OBJECT_IDENTIFIER, id)];
    if critical {
        parts.push(primitive(BOOLEAN, &[0xff]));
    }
    parts.push(primitive(OCTET_STRING, value));
    element(SEQUENCE, &parts)
}

fn alternative_name(name: &str) -> Vec<u8> {
    match name.parse() {
        Ok(std::net::IpAddr::V4(address)) => primitive(IMPLICIT | 7, &address.octets()),
        Ok(std::net::IpAddr::V6(address)) => primitive(IMPLICIT | 7, &address.octets()),
        Err(_) => primitive(IMPLICIT | 2, name.as_bytes()),
    }
}

/// What a certificate says of names and keys, each part with its tag and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outline<'a> {
    /// Who signed.
    pub issuer: &'a [u8],
    /// Whose it is.
    pub subject: &'a [u8],
    /// The public key.
    pub public_key: &'a [u8],
}

impl<'a> Outline<'a> {
    /// Reads a certificate of any version; `None` when it is not one.
    pub fn read(certificate: &'a [u8]) -> Option<Outline<'a>> {
        let signed = content(first(content(first(certificate)?, SEQUENCE)?)?, SEQUENCE)?;
        let mut rest = signed;
        let mut next = || -> Option<&'a [u8]> {
            let part = first(rest)?;
            rest = &rest[part.len()..];
            Some(part)
        };
        // The version stands before the serial number, unless it is 1.
        if next()?.first() == Some(&EXPLICIT) {
            next()?;
        }
        let (_algorithm, issuer, _validity) = (next()?, next()?, next()?);
        let (subject, public_key) = (next()?, next()?);
        let shaped = [issuer, subject, public_key].iter().all(|part| part.first() == Some(&SEQUENCE));
        shaped.then_some(Outline { issuer, subject, public_key })
    }
}

/// The first element, with its tag and length.
fn first(bytes: &[u8]) -> Option<&[u8]> {
    let (head, length) = measure(bytes)?;
    bytes.get(..head.checked_add(length)?)
}

/// The content of an element of this tag.
fn content(element: &[u8], tag: u8) -> Option<&[u8]> {
    let (head, _) = measure(element).filter(|_| element.first() == Some(&tag))?;
    element.get(head..)
}

/// How many bytes tag and length take, and how many the content.
fn measure(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes.get(1)? {
        short @ 0..0x80 => Some((2, usize::from(short))),
        long => {
            let digits = bytes.get(2..2 + usize::from(long & 0x7f)).filter(|digits| digits.len() <= 4)?;
            let length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
            (!digits.is_empty()).then_some((2 + digits.len(), length))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(purpose: Purpose<'_>) -> Vec<u8> {
        let to_be_signed = ToBeSigned {
            serial: [0xff; 16],
            issuer: &name("CA"),
            issuer_key: &[4; 65],
            subject: &name("leaf"),
            subject_key: &[5; 65],
            valid: (0, 2_556_144_000_000),
            purpose,
        };
        certificate(to_be_signed.encode(), &[6; 70])
    }

    #[test]
    fn what_is_written_can_be_read() {
        for purpose in [Purpose::Authority, Purpose::Server(&["a".repeat(200), "::1".to_owned()])] {
            let certificate = sample(purpose);
            let outline = Outline::read(&certificate).unwrap();
            assert_eq!((outline.issuer, outline.subject), (&name("CA")[..], &name("leaf")[..]));
            assert_eq!(outline.public_key, public_key_info(&[5; 65]));
        }
    }

    #[test]
    fn years_have_four_digits_where_two_would_not_do() {
        assert_eq!(time(0), b"\x17\x0d700101000000Z");
        // 2049-12-31T23:59:59 and the second after it.
        assert_eq!(time(2_524_607_999_000), b"\x17\x0d491231235959Z");
        assert_eq!(time(2_524_608_000_000), b"\x18\x0f20500101000000Z");
    }

    #[test]
    fn lengths_have_the_fewest_digits() {
        for (length, head) in
            [(0x7f, &[4, 0x7f][..]), (0x80, &[4, 0x81, 0x80]), (0x100, &[4, 0x82, 0x01, 0x00])]
        {
            assert!(primitive(OCTET_STRING, &vec![0; length]).starts_with(head), "{length}");
        }
    }

    #[test]
    fn a_broken_certificate_is_none() {
        let certificate = sample(Purpose::Authority);
        for end in 0..certificate.len() {
            assert_eq!(Outline::read(&certificate[..end]), None, "cut at {end}");
        }
        for at in 0..certificate.len() {
            for value in [0, 0x7f, 0x80, 0x84, 0xff] {
                let mut broken = certificate.clone();
                broken[at] = value;
                // Any answer will do, but there is one.
                let _ = Outline::read(&broken);
            }
        }
    }
}
