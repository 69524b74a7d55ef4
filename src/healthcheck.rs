//! `s3pail healthcheck`: asks a running server whether it is well (`/live`; a data daemon for its room), so
//! that an image without a shell or curl can say so.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::config::{Config, Listen, Role};

/// How long the whole question may take.
const ANSWER_DEADLINE: Duration = Duration::from_secs(3);
/// The status line is all that is read of the answer: `HTTP/1.1 200`.
const STATUS_LINE_BYTES: usize = 12;

/// Asks the first address of `config`. `Ok` when the server answered with a 2xx status, otherwise why
/// not. Over TLS any certificate will do: it may be for names that this process does not know itself by, and
/// nothing secret is said. With a metadata daemon only the connection is tried.
pub fn ask(config: &Config) -> Result<(), String> {
    let of_daemon = |listen: &Option<Listen>| listen.as_ref().map(|listen| listen.addresses.clone());
    let (addresses, path) = match config.role {
        Role::S3 => (Some(config.listen.clone()), "/live"),
        Role::Data => (of_daemon(&config.data_daemon), "/DataFile?diskUsage"),
        Role::Metadata => (of_daemon(&config.metadata_daemon), ""),
    };
    let Some(address) = addresses.and_then(|addresses| addresses.first().copied()).map(reachable) else {
        return Err("there is no address to ask".to_owned());
    };
    let over_tls = config.serves_https();
    let scheme = if over_tls { "https" } else { "http" };
    let failed = |error: io::Error| format!("{scheme}://{address}{path}: {error}");
    if path.is_empty() {
        return TcpStream::connect_timeout(&address, ANSWER_DEADLINE).map(drop).map_err(failed);
    }
    let status = ask_one(address, path, over_tls).map_err(failed)?;
    match &status {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', _, b' ', b'2', _, _] => Ok(()),
        _ => Err(format!("{scheme}://{address}{path}: answered {:?}", String::from_utf8_lossy(&status))),
    }
}

fn ask_one(address: SocketAddr, path: &str, over_tls: bool) -> io::Result<[u8; STATUS_LINE_BYTES]> {
    let deadline = Instant::now() + ANSWER_DEADLINE;
    let stream = TcpStream::connect_timeout(&address, ANSWER_DEADLINE)?;
    let mut patient = Patient { stream, deadline };
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    if !over_tls {
        patient.write_all(request.as_bytes())?;
        return read_status(&mut patient);
    }
    let mut tls = client::connection(address.ip()).map_err(io::Error::other)?;
    let mut stream = rustls::Stream::new(&mut tls, &mut patient);
    stream.write_all(request.as_bytes())?;
    read_status(&mut stream)
}

/// A socket with one deadline for everything.
struct Patient {
    stream: TcpStream,
    deadline: Instant,
}

impl Patient {
    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

impl Read for Patient {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(target)
    }
}

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A TLS client that does not care who answers.
mod client {
    use std::net::IpAddr;
    use std::sync::Arc;

    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::{CryptoProvider, ring::default_provider};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};

    /// A connection that has not begun.
    pub fn connection(address: IpAddr) -> Result<ClientConnection, Error> {
        let provider = Arc::new(default_provider());
        let config =
            ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let config = config.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)));
        ClientConnection::new(Arc::new(config.with_no_client_auth()), address.into())
    }

    #[derive(Debug)]
    struct Anybody(Arc<CryptoProvider>);

    impl ServerCertVerifier for Anybody {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}

/// The address to ask when the server listens on all of them.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

fn read_status(stream: &mut impl Read) -> io::Result<[u8; STATUS_LINE_BYTES]> {
    let mut status = [0; STATUS_LINE_BYTES];
    let mut filled = 0;
    while filled < status.len() {
        match stream.read(&mut status[filled..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => filled += count,
        }
    }
    Ok(status)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn check(answer: &'static str) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let config = Config { listen: vec![listener.local_addr().unwrap()], ..Config::in_memory() };
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 9];
            stream.read_exact(&mut request).unwrap();
            assert_eq!(&request, b"GET /live");
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let result = ask(&config);
        server.join().unwrap();
        result
    }

    #[test]
    fn only_a_2xx_answer_is_healthy() {
        assert_eq!(check("HTTP/1.1 200 OK\r\n\r\n"), Ok(()));
        for answer in ["HTTP/1.1 503 Slow Down\r\n\r\n", "SSH-2.0-x 200 OK", "HTTP/1.1 2", ""] {
            assert!(check(answer).is_err(), "{answer}");
        }
    }

    #[test]
    fn nobody_listening_is_not_healthy() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let config = Config { listen: vec![listener.local_addr().unwrap()], ..Config::in_memory() };
        drop(listener);
        assert!(ask(&config).is_err());
    }

    #[test]
    fn a_server_on_all_addresses_is_asked_on_loopback() {
        assert_eq!(reachable("0.0.0.0:1".parse().unwrap()).to_string(), "127.0.0.1:1");
        assert_eq!(reachable("[::]:1".parse().unwrap()).to_string(), "[::1]:1");
        assert_eq!(reachable("10.0.0.1:1".parse().unwrap()).to_string(), "10.0.0.1:1");
    }
}
