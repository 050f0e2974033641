//! Terminates TLS in front of a server, as a proxy does, with a certificate of its own authority.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Accepts TLS on a port of its own and forwards the contents.
pub struct TlsFront {
    pub port: u16,
    /// The certificate of its authority, in PEM.
    pub authority: String,
    served: Arc<AtomicUsize>,
}

impl TlsFront {
    /// Starts a proxy for `localhost` and `127.0.0.1` in front of the server at `address`.
    pub async fn before(address: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (config, authority) = certified();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let served = Arc::new(AtomicUsize::new(0));
        let (counted, address) = (Arc::clone(&served), address.to_owned());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, counted) = (acceptor.clone(), Arc::clone(&counted));
                let address = address.clone();
                tokio::spawn(async move {
                    // A client that does not trust the certificate disconnects.
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    counted.fetch_add(1, Ordering::Relaxed);
                    let mut server = TcpStream::connect(address).await.unwrap();
                    // Either side may disconnect at any time.
                    drop(copy_bidirectional(&mut stream, &mut server).await);
                });
            }
        });
        Self {
            port,
            authority,
            served,
        }
    }

    /// The number of encrypted connections.
    pub fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }
}

fn certified() -> (ServerConfig, String) {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (config, authority.pem())
}
