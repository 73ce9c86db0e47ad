//! The process-wide choice of a cryptography provider.

/// Makes aws-lc-rs the process-wide provider of rustls, unless one is set already.
///
/// With more than one provider compiled in, rustls cannot choose one by itself and every TLS connection of a library that
/// relies on the default would fail. [`crate::Forge::new`] calls this; a program without a forge may call it first thing.
pub fn init_tls() {
    if rustls::crypto::CryptoProvider::get_default().is_none()
        && rustls::crypto::aws_lc_rs::default_provider()
            .install_default()
            .is_err()
    {
        // Somebody else was faster, which is just as good.
        tracing::debug!("a TLS provider was installed at the same time");
    }
}
