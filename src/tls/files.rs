//! `certFilePaths`: a key and a chain of certificates out of PEM files, or the sentence that says what is
//! wrong with which of them.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};

use super::der::Outline;
use crate::config::TlsFiles;

/// The longest PEM file that is read, in bytes. A bundle of every public CA has a fifth of that.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// The longest chain that is sent, in certificates. Clients give up at ten or so.
const CHAIN_MAX: usize = 16;

const KEY_ALLOWED: &str = "a PEM file with one private key that is not encrypted, as PKCS#8 (PRIVATE KEY), \
    PKCS#1 (RSA PRIVATE KEY) or SEC1 (EC PRIVATE KEY)";
const KINDS_ALLOWED: &str = "RSA with 2048 to 4096 bits, ECDSA on P-256 or P-384, Ed25519";
const CERT_ALLOWED: &str = "a PEM file with the server's certificate first, then those that lead to its CA";

/// Reads the key and the certificates that belong together.
///
/// # Errors
/// One sentence with the key, the file and what is allowed.
pub fn load(files: &TlsFiles) -> Result<CertifiedKey, String> {
    let key = read_key(&files.key)
        .map_err(|cause| format!("certFilePaths.key: {}: {cause}", files.key.display()))?;
    let chain = read_chain(&files.cert)
        .map_err(|cause| format!("certFilePaths.cert: {}: {cause}", files.cert.display()))?;
    check_pair(key.as_ref(), &chain[0]).map_err(|cause| {
        let (cert, key) = (files.cert.display(), files.key.display());
        format!("certFilePaths.cert: {cert}: {cause}; allowed: the certificate of certFilePaths.key, {key}")
    })?;
    let chain = match &files.ca {
        Some(ca) => {
            let others =
                read_chain(ca).map_err(|cause| format!("certFilePaths.ca: {}: {cause}", ca.display()))?;
            complete(chain, &others)
        }
        None => chain,
    };
    Ok(CertifiedKey::new(chain, key))
}

/// The first private key of a PEM file.
pub fn read_key(path: &Path) -> Result<Arc<dyn SigningKey>, String> {
    let refuse = |what: &str| format!("{what}; allowed: {KEY_ALLOWED}");
    let pem = read(path).map_err(|error| refuse(&error.to_string()))?;
    if contains(&pem, b"ENCRYPTED") {
        return Err(refuse("the private key is encrypted"));
    }
    let key = match PrivateKeyDer::from_pem_slice(&pem) {
        Ok(key) => key,
        Err(_) if contains(&pem, b"BEGIN CERTIFICATE") => {
            return Err(refuse("holds a certificate and no private key"));
        }
        Err(_) => return Err(refuse("holds no private key")),
    };
    any_supported_type(&key)
        .map_err(|_| format!("holds a private key that cannot be used; allowed: {KINDS_ALLOWED}"))
}

/// All certificates of a PEM file, at least one.
pub fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let refuse = |what: &str| format!("{what}; allowed: {CERT_ALLOWED}");
    let pem = read(path).map_err(|error| refuse(&error.to_string()))?;
    let mut chain = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(&pem) {
        let (kind, der) = section.map_err(|_| refuse("is not a PEM file"))?;
        if kind == SectionKind::Certificate {
            Outline::read(&der).ok_or_else(|| refuse("holds a certificate that cannot be read"))?;
            chain.push(CertificateDer::from(der));
        }
    }
    match chain.is_empty() {
        false => Ok(chain),
        true if contains(&pem, b"PRIVATE KEY") => Err(refuse("holds a private key and no certificate")),
        true => Err(refuse("holds no certificate")),
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut pem = Vec::new();
    File::open(path)?.take(PEM_BYTES_MAX + 1).read_to_end(&mut pem)?;
    match pem.len() as u64 > PEM_BYTES_MAX {
        true => Err(io::Error::other(format!("has more than {PEM_BYTES_MAX} bytes"))),
        false => Ok(pem),
    }
}

fn contains(pem: &[u8], word: &[u8]) -> bool {
    pem.windows(word.len()).any(|window| window == word)
}

/// Whether a certificate is about this key. rustls has the same check, but only for certificates of
/// version 3, and the commands of many a tutorial still make version 1.
pub fn check_pair(key: &dyn SigningKey, certificate: &CertificateDer<'_>) -> Result<(), &'static str> {
    let outline = Outline::read(certificate).ok_or("the certificate cannot be read")?;
    match key.public_key() {
        Some(public) if public.as_ref() != outline.public_key => Err("the private key is another one's"),
        _ => Ok(()),
    }
}

/// Leads a lone certificate towards its CA with those of `ca`, as OpenSSL does with the same files under
/// Scality S3 Server. `ca` does not say who may connect: client certificates are not asked for.
fn complete(
    mut chain: Vec<CertificateDer<'static>>,
    others: &[CertificateDer<'static>],
) -> Vec<CertificateDer<'static>> {
    if chain.len() > 1 {
        return chain;
    }
    while chain.len() < CHAIN_MAX {
        let Some(outline) = chain.last().and_then(|last| Outline::read(last)) else { break };
        if outline.issuer == outline.subject {
            break;
        }
        let issuer = outline.issuer;
        let is_issuer =
            |other: &&CertificateDer<'_>| Outline::read(other).is_some_and(|other| other.subject == issuer);
        match others.iter().find(is_issuer) {
            Some(next) if !chain.contains(next) => chain.push(next.clone()),
            _ => break,
        }
    }
    chain
}
