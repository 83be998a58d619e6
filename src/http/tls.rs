//! TLS: the server's certificate, and for our own commands the one certificate that they trust.
//!
//! A command that asks a process beside it has the same settings, so it knows the process's certificate: exactly that
//! one is right, whoever signed it and whatever names it has.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme};

use crate::config::HttpSettings;
use crate::error::{Error, Result};

/// What the server shows; `None` without TLS.
///
/// # Errors
/// A configuration error: a file cannot be read, or the key is not that of the certificate.
pub(super) fn server(settings: &HttpSettings) -> Result<Option<Arc<ServerConfig>>> {
    let (Some(cert_file), Some(key_file)) = (&settings.tls_cert_file, &settings.tls_key_file) else { return Ok(None) };
    let certificates = certificates(cert_file)?;
    let key = PrivateKeyDer::from_pem_file(key_file).map_err(|error| wrong("tls_key_file", key_file, &error))?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, key))
        .map_err(|error| wrong("tls_cert_file", cert_file, &error))?;
    Ok(Some(Arc::new(config)))
}

/// How our own commands speak to such a server; `None` without TLS.
///
/// # Errors
/// A configuration error: the certificate cannot be read.
pub(super) fn client(settings: &HttpSettings) -> Result<Option<Arc<ClientConfig>>> {
    let Some(cert_file) = &settings.tls_cert_file else { return Ok(None) };
    let only = certificates(cert_file)?.swap_remove(0);
    let verifier = Arc::new(Only { certificate: only, provider: provider() });
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong("tls_cert_file", cert_file, &error))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(Some(Arc::new(config)))
}

/// Two providers are linked in; this one is meant.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// At least one.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(file).and_then(|found| found.collect::<Result<Vec<_>, _>>());
    let read = read.map_err(|error| wrong("tls_cert_file", file, &error))?;
    if read.is_empty() { Err(wrong("tls_cert_file", file, &"no certificate is in it")) } else { Ok(read) }
}

fn wrong(key: &str, file: &Path, what: &dyn std::fmt::Display) -> Error {
    Error::configuration(format!(
        "http.{key} `{}`: {what}; name a PEM file with a certificate and its key",
        file.display()
    ))
}

/// Trusts one certificate.
#[derive(Debug)]
struct Only {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Only {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match *end_entity == self.certificate {
            true => Ok(ServerCertVerified::assertion()),
            false => {
                Err(rustls::Error::General("the process shows another certificate than http.tls_cert_file".into()))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
