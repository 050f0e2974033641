//! TLS towards a server, or the proxy in front of it.
//!
//! Promise: a certificate is checked against the authorities that the system trusts and those of
//! `--ca`, and never left unchecked. Limit: HTTP/1.1 alone is offered, as without TLS; there are no
//! client certificates.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::error::ClientError;

/// How to speak TLS where the authorities in the PEM file `ca` are trusted as well.
///
/// # Errors
/// [`ClientError::Authorities`] when the file cannot be used, or nothing is trusted at all.
pub(super) fn trusting(ca: Option<&Path>) -> Result<Arc<ClientConfig>, ClientError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca {
        for certificate in read(path)? {
            roots
                .add(certificate)
                .map_err(|error| unusable(path, error.into()))?;
        }
    }
    let of_system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(of_system.certs);
    if roots.is_empty() {
        let nothing = std::io::Error::other(
            "the system trusts no certificate authority; name a file of them with --ca",
        );
        let source = of_system.errors.into_iter().next();
        let source = source.map_or_else(|| nothing.into(), Into::into);
        return Err(unusable(Path::new("the system"), source));
    }
    with_roots(roots)
}

/// Trusts no authority: for addresses without TLS.
///
/// # Errors
/// As [`trusting`].
pub(super) fn none() -> Result<Arc<ClientConfig>, ClientError> {
    with_roots(RootCertStore::empty())
}

fn with_roots(roots: RootCertStore) -> Result<Arc<ClientConfig>, ClientError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(Path::new("TLS"), error.into()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unusable(path, error.into()))?;
    if certificates.is_empty() {
        let nothing = std::io::Error::other("it has no PEM certificate");
        return Err(unusable(path, nothing.into()));
    }
    Ok(certificates)
}

fn unusable(path: &Path, source: Box<dyn std::error::Error + Send + Sync>) -> ClientError {
    ClientError::Authorities {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let refused = |path: &Path| trusting(Some(path)).unwrap_err().to_string();
        assert!(refused(&path).contains("ca.pem"));
        for text in [
            "",
            "no certificate",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\n%\n-----END CERTIFICATE-----\n",
        ] {
            std::fs::write(&path, text).unwrap();
            assert!(refused(&path).contains("ca.pem"), "{text}");
        }
    }
}
