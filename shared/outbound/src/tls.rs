//! How TLS is spoken: with the system's root certificates, and the operator's.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::error::SetupError;

/// Reads the system's root certificates, and those of `more` in PEM.
pub(crate) fn connector(more: &[u8]) -> Result<TlsConnector, SetupError> {
    let mut roots = RootCertStore::empty();
    // A certificate of the system that can't be read is one that is not trusted.
    let (_taken, _left) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if !more.is_empty() {
        let mut found = false;
        for certificate in CertificateDer::pem_slice_iter(more) {
            let certificate = certificate.map_err(|error| SetupError::Roots(Some(Box::new(error))))?;
            roots
                .add(certificate)
                .map_err(|error| SetupError::Roots(Some(Box::new(error))))?;
            found = true;
        }
        if !found {
            return Err(SetupError::Roots(None));
        }
    }
    if roots.is_empty() {
        return Err(SetupError::NoRoots);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(SetupError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}
