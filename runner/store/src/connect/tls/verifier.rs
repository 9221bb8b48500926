//! How much of a server's certificate is checked, as libpq does it.
//!
//! rustls accepts only certificates that a CA signed, and none that is a CA itself. libpq
//! also accepts a self-signed certificate that is in the list, which is what
//! `openssl req -x509` creates, and uses the common name of one without alternative names.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::oid::db::rfc4519::CN;
use x509_cert::der::oid::db::rfc5280::{ANY_EXTENDED_KEY_USAGE, ID_KP_SERVER_AUTH};
use x509_cert::ext::pkix::{ExtendedKeyUsage, SubjectAltName};

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Checks {
    Nothing,
    Authority,
    AuthorityAndName,
}

/// Whom to trust.
#[derive(Debug)]
pub(super) struct TrustedCertificates {
    /// Takes what they signed.
    pub(super) authorities: Arc<WebPkiServerVerifier>,
    /// They themselves.
    pub(super) listed: Vec<CertificateDer<'static>>,
}

/// Checks as much of the server's certificate as the mode asks for; the
/// handshake's signature always.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) known: Option<TrustedCertificates>,
    pub(super) checks: Checks,
}

impl TrustedCertificates {
    /// Looks at the name last, so that a wrong name means that all else is right.
    fn check(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<(), Error> {
        let parsed = Certificate::from_der(shown).ok();
        let signed_itself = parsed.filter(|one| {
            let content = &one.tbs_certificate;
            content.issuer == content.subject
        });
        match signed_itself {
            Some(content) if self.listed.contains(shown) => {
                // Its bytes are those that are listed: what is left to check is the time,
                // the purpose and, in the handshake, that the server has its key.
                check_time(&content, now)?;
                check_purpose(&content)?;
                verify_server_name(&ParsedCertificate::try_from(shown)?, name)
            }
            signed_itself => {
                let checked =
                    self.authorities
                        .verify_server_cert(shown, intermediates, name, ocsp, now);
                match checked {
                    // That it could sign others is not what is wrong with it.
                    Err(Error::InvalidCertificate(CertificateError::Other(_)))
                        if signed_itself.is_some() =>
                    {
                        Err(CertificateError::UnknownIssuer.into())
                    }
                    other => other.map(drop),
                }
            }
        }
    }
}

fn check_time(certificate: &Certificate, now: UnixTime) -> Result<(), Error> {
    let validity = &certificate.tbs_certificate.validity;
    let begins = validity.not_before.to_unix_duration();
    let ends = validity.not_after.to_unix_duration();
    let at = Duration::from_secs(now.as_secs());
    if at < begins {
        return Err(CertificateError::NotValidYetContext {
            time: now,
            not_before: UnixTime::since_unix_epoch(begins),
        }
        .into());
    }
    if at > ends {
        return Err(CertificateError::ExpiredContext {
            time: now,
            not_after: UnixTime::since_unix_epoch(ends),
        }
        .into());
    }
    Ok(())
}

/// One that says what it is for has to be for servers.
fn check_purpose(certificate: &Certificate) -> Result<(), Error> {
    let serves = |usage: &ExtendedKeyUsage| {
        let mut usages = usage.0.iter();
        usages.any(|one| [ID_KP_SERVER_AUTH, ANY_EXTENDED_KEY_USAGE].contains(one))
    };
    match certificate.tbs_certificate.get::<ExtendedKeyUsage>() {
        Ok(None) => Ok(()),
        Ok(Some((_, usage))) if serves(&usage) => Ok(()),
        _ => Err(CertificateError::InvalidPurpose.into()),
    }
}

/// The common name of a certificate that has no alternative names.
fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let content = Certificate::from_der(certificate).ok()?.tbs_certificate;
    if content.get::<SubjectAltName>().ok()?.is_some() {
        return None;
    }
    let mut parts = content.subject.0.iter().flat_map(|part| part.0.iter());
    let name = parts.find(|part| part.oid == CN)?;
    String::from_utf8(name.value.value().to_vec()).ok()
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let taken = Ok(ServerCertVerified::assertion());
        let Some(known) = &self.known else {
            return taken;
        };
        let checked = known.check(end_entity, intermediates, server_name, ocsp, now);
        let Err(Error::InvalidCertificate(CertificateError::NotValidForNameContext {
            expected,
            mut presented,
        })) = checked
        else {
            return checked.and(taken);
        };
        if self.checks == Checks::Authority {
            return taken;
        }
        if let Some(name) = common_name(end_entity) {
            if name.eq_ignore_ascii_case(&server_name.to_str()) {
                return taken;
            }
            presented.push(name);
        }
        Err(CertificateError::NotValidForNameContext {
            expected,
            presented,
        }
        .into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
