//! `--tls-self-signed DIR`: a CA of the server's own, and a certificate by it, for places where nobody
//! else gives out certificates: laptops, test runs, closed networks.
//!
//! The folder holds `ca.crt`, which clients are told to trust, `server.crt`, and the two keys, which
//! nobody but the owner can read. What is there and still good is used again, so that clients keep
//! trusting the server over restarts.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;

use super::der::{self, Outline, Purpose, ToBeSigned};
use super::files::{check_pair, read_chain, read_key};
use crate::codec::{base64, hex, random};
use crate::config::SelfSigned;

/// The file that clients are given.
pub const CA_CERTIFICATE: &str = "ca.crt";
const CA_KEY: &str = "ca.key";
const SERVER_CERTIFICATE: &str = "server.crt";
const SERVER_KEY: &str = "server.key";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the CA is good for.
const CA_VALID: Duration = Duration::from_secs(3_650 * DAY.as_secs());
/// The same for the server's certificate: some clients refuse those that live for longer than 825 days.
const SERVER_VALID: Duration = Duration::from_secs(800 * DAY.as_secs());
/// What is good for less than that is made anew.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * DAY.as_secs());
/// Clocks of clients may be behind by as much.
const SKEW: Duration = DAY;

/// Characters of a line of PEM (RFC 7468 section 2).
const PEM_LINE_CHARS: usize = 64;

/// Reads the folder's certificates, after making those that are missing, about to end, or without one of
/// the names.
///
/// # Errors
/// One sentence with the file, when something there cannot be read or used, or when nothing can be
/// written.
pub fn load(wanted: &SelfSigned) -> Result<CertifiedKey, String> {
    fs::create_dir_all(&wanted.folder).map_err(|error| {
        format!(
            "--tls-self-signed: {}: {error}; allowed: a folder that this user can write",
            wanted.folder.display()
        )
    })?;
    let ca = Authority::of_folder(&wanted.folder)?;
    match reuse(wanted, &ca)? {
        Some(certified) => Ok(certified),
        None => issue(wanted, &ca),
    }
}

/// A CA with its key.
struct Authority {
    key: EcdsaKeyPair,
    /// Its name, encoded.
    name: Vec<u8>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    /// The CA that is there, unless it ends soon, or a new one.
    fn of_folder(folder: &Path) -> Result<Authority, String> {
        let (key_file, cert_file) = (folder.join(CA_KEY), folder.join(CA_CERTIFICATE));
        if !key_file.exists() && !cert_file.exists() {
            return Authority::make(folder);
        }
        let refuse = |file: &Path, cause: &str| {
            format!(
                "--tls-self-signed: {}: {cause}; allowed: what s3pail wrote there, or none of the two files \
                 {CA_KEY} and {CA_CERTIFICATE}",
                file.display()
            )
        };
        let key = PrivatePkcs8KeyDer::from_pem_file(&key_file)
            .map_err(|_| refuse(&key_file, "is not a PEM file with a PKCS#8 key"))?;
        let key = key_pair(key.secret_pkcs8_der())
            .map_err(|_| refuse(&key_file, "is not a key on the curve P-256"))?;
        let mut chain = read_chain(&cert_file).map_err(|cause| refuse(&cert_file, &cause))?;
        let certificate = chain.swap_remove(0);
        let outline = Outline::read(&certificate);
        let public_key = der::public_key_info(key.public_key().as_ref());
        let outline = outline.filter(|outline| outline.public_key == public_key);
        let Some(name) = outline.map(|outline| outline.subject.to_vec()) else {
            return Err(refuse(&cert_file, "is not the certificate of the key beside it"));
        };
        let authority = Authority { key, name, certificate };
        // A CA is verified through what it signs.
        let probe = vec!["probe".to_owned()];
        let (_, probed) = authority.sign(&probe)?;
        match authority.verify(&probed, &probe) {
            Ok(()) => Ok(authority),
            Err(error) if is_about_time(&error) => Authority::make(folder),
            Err(_) => Err(refuse(&cert_file, "is not the certificate of a CA")),
        }
    }

    fn make(folder: &Path) -> Result<Authority, String> {
        let (pkcs8, key) = new_key()?;
        let name = der::name(&format!("s3pail CA {}", hex(&random::<4>())));
        let to_be_signed = ToBeSigned {
            serial: random(),
            issuer: &name,
            issuer_key: key.public_key().as_ref(),
            subject: &name,
            subject_key: key.public_key().as_ref(),
            valid: validity(CA_VALID),
            purpose: Purpose::Authority,
        };
        let certificate = signed(&to_be_signed, &key)?;
        write(&folder.join(CA_KEY), "PRIVATE KEY", &pkcs8, 0o600)?;
        write(&folder.join(CA_CERTIFICATE), "CERTIFICATE", &certificate, 0o644)?;
        Ok(Authority { key, name, certificate })
    }

    /// A new key, and its certificate for these names.
    fn sign(&self, names: &[String]) -> Result<(Vec<u8>, CertificateDer<'static>), String> {
        let (pkcs8, key) = new_key()?;
        let subject = der::name(names.first().map_or("s3pail", String::as_str));
        let to_be_signed = ToBeSigned {
            serial: random(),
            issuer: &self.name,
            issuer_key: self.key.public_key().as_ref(),
            subject: &subject,
            subject_key: key.public_key().as_ref(),
            valid: validity(SERVER_VALID),
            purpose: Purpose::Server(names),
        };
        Ok((pkcs8, signed(&to_be_signed, &self.key)?))
    }

    /// Whether a client that trusts this CA will take a certificate for each of the names, now and for a
    /// while.
    fn verify(&self, certificate: &CertificateDer<'_>, names: &[String]) -> Result<(), rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        let provider = Arc::new(default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let verifier = verifier.map_err(|error| rustls::Error::General(error.to_string()))?;
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let then = UnixTime::since_unix_epoch(since + RENEW_BEFORE);
        names.iter().try_for_each(|name| {
            let name = ServerName::try_from(name.replace('*', "any"));
            let name = name.map_err(|error| rustls::Error::General(error.to_string()))?;
            verifier.verify_server_cert(certificate, &[], &name, &[], then).map(|_| ())
        })
    }
}

/// Whether a certificate is refused for its dates only.
fn is_about_time(error: &rustls::Error) -> bool {
    use rustls::CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    matches!(
        error,
        rustls::Error::InvalidCertificate(
            Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. }
        )
    )
}

/// What is in the folder, if a client would take it. `None`: it is to be made anew.
fn reuse(wanted: &SelfSigned, ca: &Authority) -> Result<Option<CertifiedKey>, String> {
    let (key_file, cert_file) = (wanted.folder.join(SERVER_KEY), wanted.folder.join(SERVER_CERTIFICATE));
    if !key_file.exists() || !cert_file.exists() {
        return Ok(None);
    }
    let name = |file: &Path, cause: String| format!("--tls-self-signed: {}: {cause}", file.display());
    let key = read_key(&key_file).map_err(|cause| name(&key_file, cause))?;
    let chain = read_chain(&cert_file).map_err(|cause| name(&cert_file, cause))?;
    let good = check_pair(key.as_ref(), &chain[0]).is_ok() && ca.verify(&chain[0], &wanted.names).is_ok();
    Ok(good.then(|| CertifiedKey::new(chain, key)))
}

fn issue(wanted: &SelfSigned, ca: &Authority) -> Result<CertifiedKey, String> {
    let (pkcs8, certificate) = ca.sign(&wanted.names)?;
    write(&wanted.folder.join(SERVER_KEY), "PRIVATE KEY", &pkcs8, 0o600)?;
    write(&wanted.folder.join(SERVER_CERTIFICATE), "CERTIFICATE", &certificate, 0o644)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pkcs8));
    let key = rustls::crypto::ring::sign::any_supported_type(&key)
        .map_err(|error| format!("--tls-self-signed: the new key cannot be used: {error}"))?;
    Ok(CertifiedKey::new(vec![certificate], key))
}

fn key_pair(pkcs8: &[u8]) -> Result<EcdsaKeyPair, ring::error::KeyRejected> {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8, &SystemRandom::new())
}

fn new_key() -> Result<(Vec<u8>, EcdsaKeyPair), String> {
    let failed = |cause: String| format!("--tls-self-signed: no key could be made: {cause}");
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
        .map_err(|error| failed(error.to_string()))?;
    let key = key_pair(pkcs8.as_ref()).map_err(|error| failed(error.to_string()))?;
    Ok((pkcs8.as_ref().to_vec(), key))
}

fn signed(to_be_signed: &ToBeSigned<'_>, key: &EcdsaKeyPair) -> Result<CertificateDer<'static>, String> {
    let bytes = to_be_signed.encode();
    let signature = key.sign(&SystemRandom::new(), &bytes);
    let signature = signature.map_err(|error| format!("--tls-self-signed: cannot sign: {error}"))?;
    Ok(der::certificate(bytes, signature.as_ref()).into())
}

/// From a little before now, in milliseconds since 1970.
fn validity(lasts: Duration) -> (u64, u64) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    (now.saturating_sub(SKEW).as_millis() as u64, (now + lasts).as_millis() as u64)
}

/// Writes a PEM file with this mode, whole or not at all.
fn write(file: &Path, label: &str, der: &[u8], mode: u32) -> Result<(), String> {
    let text = base64(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(PEM_LINE_CHARS) {
        pem.push_str(str::from_utf8(line).expect("base64 is ASCII"));
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    let beside = file.with_extension(format!("new-{}", std::process::id()));
    let written = write_new(&beside, pem.as_bytes(), mode).and_then(|()| fs::rename(&beside, file));
    written.map_err(|error| {
        let _ = fs::remove_file(&beside);
        format!("--tls-self-signed: {}: cannot be written: {error}", file.display())
    })
}

#[cfg_attr(not(unix), allow(unused_variables))]
fn write_new(file: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    let mut file = options.open(file)?;
    file.write_all(bytes)?;
    file.sync_all()
}
