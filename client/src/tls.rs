//! TLS to a server, or to the proxy in front of it.
//!
//! Promise: a certificate is always checked, against the system's authorities and those of `--ca`.
//! Limit: only HTTP/1.1 is offered, as without TLS; client certificates are not supported.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::error::ClientError;

/// A configuration that also trusts the authorities in the PEM file `ca`.
///
/// # Errors
/// [`ClientError::Authorities`] when the file cannot be used, or no authority is trusted.
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
            "the system has no trusted certificate authorities; name a PEM file with --ca",
        );
        let source = of_system.errors.into_iter().next();
        let source = source.map_or_else(|| nothing.into(), Into::into);
        return Err(unusable(Path::new("the system"), source));
    }
    with_roots(roots)
}

/// A configuration that trusts no authority: for addresses without TLS.
///
/// # Errors
/// The same as for [`trusting`].
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
        let nothing = std::io::Error::other("the file contains no PEM certificate");
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
    fn unusable_authorities_file_is_named_in_the_error() {
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
