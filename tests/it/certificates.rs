//! What HTTPS is served with: keys and certificates of every form, what is said of those that cannot be
//! used, their exchange while the server runs, and the CA of `--tls-self-signed`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use s3pail::config::{Config, SelfSigned, Tls, TlsFiles};
use s3pail::log::Log;
use s3pail::server::Server;
use s3pail::tls::{Certificates, self_signed};

use super::harness::Folder;

/// A certificate or key of tests/it/fixtures.
pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/fixtures")).join(name)
}

/// `certFilePaths` of two fixtures.
pub fn files(key: &str, cert: &str) -> TlsFiles {
    TlsFiles { key: fixture(key), cert: fixture(cert), ca: None }
}

#[cfg(not(feature = "tiny-http"))]
fn copy(folder: &Folder, from: &str, to: &str) {
    fs::write(folder.0.join(to), fs::read(fixture(from)).unwrap()).unwrap();
}

fn refusal(files: TlsFiles) -> String {
    Certificates::load(Tls::Files(files)).expect_err("these files cannot be used")
}

#[test]
fn files_that_cannot_be_used_are_named_with_what_is_allowed() {
    let folder = Folder::new();
    fs::write(folder.0.join("empty"), "").unwrap();
    fs::write(folder.0.join("broken"), "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n")
        .unwrap();
    fs::write(folder.0.join("hollow"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        .unwrap();
    fs::write(folder.0.join("huge"), vec![b'\n'; (1 << 20) + 1]).unwrap();
    let made = |name: &str| folder.0.join(name);
    let good = files("rsa.pkcs8.key", "rsa.crt");
    for (key, file, part) in [
        ("key", fixture("nowhere"), "No such file"),
        ("key", folder.0.clone(), "directory"),
        ("key", made("empty"), "holds no private key; allowed: a PEM file with one private key"),
        ("key", fixture("rsa.crt"), "holds a certificate and no private key"),
        ("key", fixture("encrypted.key"), "the private key is encrypted"),
        ("key", fixture("p521.key"), "cannot be used; allowed: RSA with 2048 to 4096 bits"),
        ("key", made("huge"), "has more than 1048576 bytes"),
        ("cert", fixture("nowhere"), "No such file"),
        ("cert", made("empty"), "holds no certificate; allowed: a PEM file with the server's certificate"),
        ("cert", made("broken"), "is not a PEM file"),
        ("cert", made("hollow"), "holds a certificate that cannot be read"),
        ("cert", fixture("rsa.pkcs8.key"), "holds a private key and no certificate"),
        ("cert", fixture("ec.crt"), "the private key is another one's; allowed: the certificate of"),
        ("ca", fixture("rsa.pkcs8.key"), "holds a private key and no certificate"),
    ] {
        let mut files = good.clone();
        match key {
            "key" => files.key = file.clone(),
            "cert" => files.cert = file.clone(),
            _ => files.ca = Some(file.clone()),
        }
        let message = refusal(files);
        let start = format!("certFilePaths.{key}: {}: ", file.display());
        assert!(message.starts_with(&start) && message.contains(part), "{message}");
        assert!(message.contains("; allowed: ") && !message.contains('\n'), "{message}");
    }
}

fn self_signed(folder: &Path, names: &[&str]) -> SelfSigned {
    SelfSigned { folder: folder.to_owned(), names: names.iter().map(|name| (*name).to_owned()).collect() }
}

#[test]
fn what_was_made_is_used_again_and_only_what_is_missing_is_made() {
    let folder = Folder::new();
    let tls = folder.0.join("a/tls");
    let read = |name: &str| fs::read(tls.join(name)).unwrap();
    let load = |names: &[&str]| Certificates::load(Tls::SelfSigned(self_signed(&tls, names))).map(drop);
    load(&["localhost", "127.0.0.1"]).unwrap();
    let (ca, leaf) = (read(self_signed::CA_CERTIFICATE), read("server.crt"));
    load(&["127.0.0.1"]).unwrap();
    assert_eq!((read("ca.crt"), read("server.crt")), (ca.clone(), leaf.clone()), "good for fewer names");
    load(&["localhost", "example.com", "*.example.com", "::1"]).unwrap();
    assert_eq!(read("ca.crt"), ca, "the same CA");
    assert_ne!(read("server.crt"), leaf, "another name");
    let leaf = read("server.crt");
    fs::remove_file(tls.join("server.key")).unwrap();
    load(&["localhost"]).unwrap();
    assert_ne!(read("server.crt"), leaf, "another key");
    #[cfg(unix)]
    for (name, mode) in [("ca.key", 0o600), ("server.key", 0o600)] {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(tls.join(name)).unwrap().permissions().mode() & 0o777, mode, "{name}");
    }
    // What is not ours is not written over.
    for name in ["ca.key", "ca.crt"] {
        let kept = read(name);
        fs::write(tls.join(name), "mine").unwrap();
        let message = load(&["localhost"]).unwrap_err();
        assert!(message.contains(&tls.join(name).display().to_string()), "{message}");
        assert!(message.contains("; allowed: "), "{message}");
        assert_eq!(read(name), b"mine");
        fs::write(tls.join(name), kept).unwrap();
    }
    load(&["localhost"]).unwrap();
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = Folder::new();
    fs::write(folder.0.join("file"), "").unwrap();
    let wanted = self_signed(&folder.0.join("file/tls"), &["localhost"]);
    let message = Certificates::load(Tls::SelfSigned(wanted)).unwrap_err();
    assert!(message.starts_with("--tls-self-signed: ") && message.contains("file/tls"), "{message}");
}

#[cfg(feature = "tiny-http")]
#[test]
fn the_second_engine_refuses_tls_in_a_sentence() {
    let tls = Some(Tls::Files(files("rsa.pkcs8.key", "rsa.crt")));
    let error = Server::start(Config { tls, ..Config::in_memory() }, Arc::new(Log::off())).err().unwrap();
    assert!(error.contains("tiny_http") && error.contains("plain HTTP only"), "{error}");
}

#[cfg(not(feature = "tiny-http"))]
mod served {
    use super::*;
    use crate::tls::{Stream, ask, client, server, try_connect};
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    const LIVE: &[u8] = b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n";

    fn first_certificate(stream: &Stream) -> CertificateDer<'static> {
        stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
    }

    fn both() -> [&'static rustls::SupportedProtocolVersion; 2] {
        [&rustls::version::TLS12, &rustls::version::TLS13]
    }

    #[test]
    fn keys_of_every_form_serve() {
        let folder = Folder::new();
        let chain = ["ec.crt", "intermediate.crt"].map(|name| fs::read_to_string(fixture(name)).unwrap());
        fs::write(folder.0.join("chain.crt"), chain.concat()).unwrap();
        let chain = folder.0.join("chain.crt");
        for (key, cert) in [
            ("rsa.pkcs1.key", fixture("rsa.crt")),
            ("rsa.pkcs8.key", fixture("rsa.crt")),
            ("ec.sec1.key", chain.clone()),
            ("ec.pkcs8.key", chain),
            ("ed25519.key", fixture("ed25519.crt")),
        ] {
            let server = server(TlsFiles { key: fixture(key), cert, ca: None });
            for version in both() {
                let mut stream = try_connect(server.address(), &client(&fixture("root.crt"), &[version]));
                assert_eq!(ask(stream.as_mut().expect(key), LIVE).status, 200, "{key} {version:?}");
            }
        }
    }

    #[test]
    fn a_lone_certificate_is_led_to_its_ca() {
        let root = client(&fixture("root.crt"), &both());
        let lone = files("ec.sec1.key", "ec.crt");
        assert!(try_connect(server(lone.clone()).address(), &root).is_err(), "the test tests something");
        let led = server(TlsFiles { ca: Some(fixture("intermediate.crt")), ..lone });
        assert_eq!(ask(&mut try_connect(led.address(), &root).unwrap(), LIVE).status, 200);
    }

    /// What the commands of older tutorials make; rustls as a client would not take it, OpenSSL does.
    #[test]
    fn certificates_of_version_1_are_served() {
        let server = server(files("rsa.pkcs8.key", "version1.crt"));
        let error = try_connect(server.address(), &client(&fixture("root.crt"), &both())).unwrap_err();
        assert!(error.to_string().contains("UnsupportedCertVersion"), "{error}");
        let healthy = Config {
            listen: vec![server.address()],
            tls: Some(Tls::Files(files("rsa.pkcs8.key", "version1.crt"))),
            ..Config::in_memory()
        };
        assert_eq!(s3pail::healthcheck::ask(&healthy), Ok(()));
    }

    #[test]
    fn new_files_count_for_new_connections_and_bad_ones_not_at_all() {
        let folder = Folder::new();
        copy(&folder, "rsa.pkcs8.key", "key");
        copy(&folder, "rsa.crt", "cert");
        let paths = TlsFiles { key: folder.0.join("key"), cert: folder.0.join("cert"), ca: None };
        let config = Config { tls: Some(Tls::Files(paths)), ..Config::in_memory() };
        let server = Server::start(config, Arc::new(Log::off())).unwrap();
        let address = server.addresses()[0];
        let root = client(&fixture("root.crt"), &both());
        let certificate = |name: &str| CertificateDer::from_pem_file(fixture(name)).unwrap();
        let mut old = try_connect(address, &root).unwrap();
        assert_eq!(first_certificate(&old), certificate("rsa.crt"));

        copy(&folder, "ed25519.crt", "cert");
        let error = server.certificates().unwrap().reload().unwrap_err();
        assert!(error.contains("the private key is another one's"), "{error}");
        assert_eq!(first_certificate(&try_connect(address, &root).unwrap()), certificate("rsa.crt"));

        copy(&folder, "ed25519.key", "key");
        server.certificates().unwrap().reload().unwrap();
        // A client of its own: another would come back to its session.
        let root = client(&fixture("root.crt"), &both());
        assert_eq!(first_certificate(&try_connect(address, &root).unwrap()), certificate("ed25519.crt"));
        assert_eq!(ask(&mut old, LIVE).status, 200, "who is connected stays so");
        server.stop(crate::harness::DEADLINE).unwrap();
    }

    #[test]
    fn clients_that_trust_the_written_ca_are_served() {
        let folder = Folder::new();
        let tls = Some(Tls::SelfSigned(self_signed(&folder.0, &["localhost", "*.example.com"])));
        let server = Server::start(Config { tls, ..Config::in_memory() }, Arc::new(Log::off())).unwrap();
        let trusting = client(&folder.0.join(self_signed::CA_CERTIFICATE), &both());
        let mut stream = try_connect(server.addresses()[0], &trusting).unwrap();
        assert_eq!(ask(&mut stream, LIVE).status, 200);
        let strangers = client(&fixture("root.crt"), &both());
        assert!(try_connect(server.addresses()[0], &strangers).is_err());
        assert!(server.service().config.start_line(server.addresses()).contains("https://127.0.0.1:"));
        server.stop(crate::harness::DEADLINE).unwrap();
    }
}
