//! Hosts over TLS.

use std::sync::Arc;

use lockflight_outbound::{Address, Outbound, OutboundError, SetupError};
use lockflight_promotion::ErrorClass;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::support::{Names, allowing, head};

/// A server whose certificate is for one name; its port, and the certificate in PEM.
async fn server(name: &str) -> (JoinSet<()>, u16, String) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // One that does not trust us goes away.
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            head(&mut stream).await;
            drop(
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                    .await,
            );
            drop(stream.shutdown().await);
        }
    });
    (tasks, port, cert.pem())
}

async fn call(host: &str, port: u16, roots: &str) -> Result<u16, OutboundError> {
    let mut config = allowing(&[&format!("{host}:{port}")]);
    config.more_roots = roots.as_bytes().to_vec();
    let outbound = Outbound::with_resolver(config, Names::saying(&[&["127.0.0.1"]])).unwrap();
    let address = Address::parse(&format!("https://{host}:{port}/")).unwrap();
    Ok(outbound.get(&address).await?.status.as_u16())
}

#[tokio::test]
async fn a_host_is_trusted_by_the_certificates_that_the_operator_adds() {
    let (_tasks, port, pem) = server("gate.example.com").await;
    assert_eq!(call("gate.example.com", port, &pem).await.unwrap(), 200);
    // The dot of the root is none of a certificate's business.
    assert_eq!(call("gate.example.com.", port, &pem).await.unwrap(), 200);
}

#[tokio::test]
async fn a_certificate_of_another_name_or_of_nobody_is_refused() {
    let (_tasks, port, pem) = server("gate.example.com").await;
    let (_others, _, stranger) = server("gate.example.com").await;
    for (host, roots) in [("other.example.com", &pem), ("gate.example.com", &stranger)] {
        let refused = call(host, port, roots).await.unwrap_err();
        assert!(matches!(refused, OutboundError::Tls { .. }), "{refused}");
        assert!(refused.to_string().contains("[outbound] ca_file"), "{refused}");
        assert_eq!(refused.class(), ErrorClass::Retry);
    }
}

#[tokio::test]
async fn what_is_no_certificate_is_refused_at_the_start() {
    for bad in [
        "nonsense",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let mut config = allowing(&["gate.example.com"]);
        config.more_roots = bad.as_bytes().to_vec();
        let refused = Outbound::new(config).unwrap_err();
        assert!(matches!(refused, SetupError::Roots(_)), "{refused}");
    }
}
