//! What HTTPS is served with: keys and certificates, where they come from, and their exchange while the
//! server runs. The encrypted connection itself is [`crate::http`]'s business.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::config::Tls;

mod der;
mod files;
pub mod self_signed;

/// The certificate that new connections get. Those that are open keep theirs.
pub struct Certificates {
    source: Tls,
    /// Guards nothing but the exchange of one pair for another.
    current: RwLock<Arc<CertifiedKey>>,
}

impl Certificates {
    /// Reads or makes what the configuration asks for.
    ///
    /// # Errors
    /// One sentence with the setting, the file and what is allowed.
    pub fn load(source: Tls) -> Result<Arc<Certificates>, String> {
        let current = RwLock::new(read(&source)?);
        Ok(Arc::new(Certificates { source, current }))
    }

    /// Reads the same files again. Nothing changes unless all of them are good.
    ///
    /// # Errors
    /// As [`Certificates::load`].
    pub fn reload(&self) -> Result<(), String> {
        let fresh = read(&self.source)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// Where they come from, for the log.
    pub fn source(&self) -> String {
        match &self.source {
            Tls::Files(files) => files.cert.display().to_string(),
            Tls::SelfSigned(wanted) => wanted.folder.display().to_string(),
        }
    }

    /// The settings of connections: TLS 1.2 and 1.3, no client certificates.
    ///
    /// # Errors
    /// When the cryptography cannot do that, which no configuration brings about.
    pub fn server_config(self: &Arc<Certificates>) -> Result<Arc<ServerConfig>, String> {
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| format!("cannot serve HTTPS: {error}"))?;
        Ok(Arc::new(builder.with_no_client_auth().with_cert_resolver(self.clone())))
    }
}

fn read(source: &Tls) -> Result<Arc<CertifiedKey>, String> {
    let certified = match source {
        Tls::Files(files) => files::load(files)?,
        Tls::SelfSigned(wanted) => self_signed::load(wanted)?,
    };
    Ok(Arc::new(certified))
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// Holds a private key, so that only its source is shown.
impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("source", &self.source).finish_non_exhaustive()
    }
}
