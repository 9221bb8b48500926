//! Which certificates are taken under which mode: each in a handshake of its own, with
//! a server that shows it and a client that knows a list.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{CertificateError, Error, ServerConfig, SupportedProtocolVersion};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

/// A certificate with a key that may be its own.
#[derive(Debug, Clone)]
struct Shown {
    certificate: CertificateDer<'static>,
    params: CertificateParams,
    key: Arc<KeyPair>,
}

impl Shown {
    /// Signed by itself, an authority at once, as `openssl req -x509` makes it.
    fn itself(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let signed = params.self_signed(&key).expect("a certificate");
        Shown {
            certificate: signed.der().clone(),
            params,
            key: Arc::new(key),
        }
    }

    /// Signed by this one.
    fn by(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let issuer = Issuer::from_params(&self.params, &*self.key);
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &issuer).expect("a certificate");
        Shown {
            certificate: signed.der().clone(),
            params,
            key: Arc::new(key),
        }
    }

    fn with_key_of(&self, other: &Shown) -> Self {
        Shown {
            key: Arc::clone(&other.key),
            ..self.clone()
        }
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let key = PrivateKeyDer::Pkcs8(self.key.serialize_der().into());
        let key = ring::sign::any_supported_type(&key).expect("a key");
        // Unlike a server's ordinary way, which looks whether the two are a pair.
        Some(Arc::new(CertifiedKey::new(
            vec![self.certificate.clone()],
            key,
        )))
    }
}

fn as_is(_: &mut CertificateParams) {}

/// What a client says of `shown` that reached it as `name` and lists `known`.
async fn verdict(
    mode: &str,
    name: &str,
    known: &[&Shown],
    shown: &Shown,
    version: &'static SupportedProtocolVersion,
) -> Result<(), Error> {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("root.pem");
    let list: String = known.iter().map(|known| pem(&known.certificate)).collect();
    std::fs::write(&file, list).expect("written");
    let parameters = format!("sslmode={mode}&sslrootcert={}", file.display());
    handshake(&parameters, name, shown, version).await
}

/// What a client with these parameters says of `shown` that it reached as `name`.
async fn handshake(
    parameters: &str,
    name: &str,
    shown: &Shown,
    version: &'static SupportedProtocolVersion,
) -> Result<(), Error> {
    let url = format!("postgres://{name}/?{parameters}");
    let config = DatabaseConfig::parse(&url).expect("an address");
    let connector = TlsConnector::from(Arc::new(client(&config).expect("a list")));
    let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(shown.clone()));
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let (connected, _) = tokio::join!(connector.connect(name, ours), acceptor.accept(theirs));
    connected.map(drop).map_err(|error| {
        let inner = error.into_inner().expect("one of rustls");
        *inner.downcast().expect("one of rustls")
    })
}

fn pem(certificate: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

/// The verdict of both modes, which has to be one.
async fn both(name: &str, known: &[&Shown], shown: &Shown) -> Result<(), Error> {
    let ca = verdict("verify-ca", name, known, shown, &TLS13).await;
    let full = verdict("verify-full", name, known, shown, &TLS13).await;
    assert_eq!(format!("{ca:?}"), format!("{full:?}"));
    full
}

fn refused(verdict: Result<(), Error>) -> CertificateError {
    match verdict {
        Err(Error::InvalidCertificate(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_certificate_that_signed_itself_and_is_listed_is_taken() {
    let stranger = Shown::itself("db.example", as_is);
    for is_ca in [
        IsCa::Ca(BasicConstraints::Unconstrained),
        IsCa::ExplicitNoCa,
        IsCa::NoCa,
    ] {
        let shown = Shown::itself("db.example", |params| params.is_ca = is_ca);
        for version in [&TLS12, &TLS13] {
            for mode in ["verify-ca", "verify-full"] {
                let known = [&stranger, &shown];
                let verdict = verdict(mode, "db.example", &known, &shown, version).await;
                assert_eq!(verdict, Ok(()), "{mode}");
            }
        }
        // Nobody else is known by it.
        let unknown = refused(both("db.example", &[&stranger], &shown).await);
        assert!(
            matches!(
                unknown,
                CertificateError::UnknownIssuer | CertificateError::BadSignature
            ),
            "{unknown:?}"
        );
    }
}

#[tokio::test]
async fn one_that_signed_itself_and_is_not_listed_is_signed_by_nobody_known() {
    let shown = Shown::itself("db.example", as_is);
    let other = Shown::itself("other.example", as_is);
    let error = refused(both("db.example", &[&other], &shown).await);
    assert_eq!(error, CertificateError::UnknownIssuer);
    // Nor if another is listed that says the same of itself.
    let twin = Shown::itself("db.example", as_is);
    let error = refused(both("db.example", &[&twin], &shown).await);
    assert_eq!(error, CertificateError::UnknownIssuer);
}

#[tokio::test]
async fn a_listed_certificate_has_to_be_for_the_name_under_verify_full() {
    let shown = Shown::itself("db.example", as_is);
    let known = [&shown];
    let verdict = |mode| verdict(mode, "other.example", &known, &shown, &TLS13);
    assert_eq!(verdict("verify-ca").await, Ok(()));
    let error = refused(verdict("verify-full").await);
    assert!(
        matches!(&error, CertificateError::NotValidForNameContext { presented, .. }
            if presented == &["DnsName(\"db.example\")"]),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_listed_certificate_has_to_be_in_its_time() {
    let early = Shown::itself("db.example", |params| {
        params.not_before = date_time_ymd(3001, 2, 3);
        params.not_after = date_time_ymd(3002, 3, 4);
    });
    let error = refused(both("db.example", &[&early], &early).await);
    assert!(
        matches!(error, CertificateError::NotValidYetContext { not_before, .. }
            if not_before.as_secs() == 32_538_067_200),
        "{error:?}"
    );
    let late = Shown::itself("db.example", |params| {
        params.not_before = date_time_ymd(2001, 2, 3);
        params.not_after = date_time_ymd(2002, 3, 4);
    });
    let error = refused(both("db.example", &[&late], &late).await);
    assert!(
        matches!(error, CertificateError::ExpiredContext { not_after, .. }
            if not_after.as_secs() == 1_015_200_000),
        "{error:?}"
    );
}

#[tokio::test]
async fn who_shows_a_listed_certificate_has_to_have_its_key() {
    let shown = Shown::itself("db.example", as_is);
    let thief = shown.with_key_of(&Shown::itself("db.example", as_is));
    for version in [&TLS12, &TLS13] {
        for mode in ["verify-ca", "verify-full"] {
            let verdict = verdict(mode, "db.example", &[&shown], &thief, version).await;
            assert_eq!(refused(verdict), CertificateError::BadSignature, "{mode}");
        }
    }
}

#[tokio::test]
async fn a_listed_certificate_has_to_be_one_for_servers() {
    let shown = Shown::itself("db.example", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let error = refused(both("db.example", &[&shown], &shown).await);
    assert_eq!(error, CertificateError::InvalidPurpose);
    let shown = Shown::itself("db.example", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    assert_eq!(both("db.example", &[&shown], &shown).await, Ok(()));
}

#[tokio::test]
async fn a_listed_certificate_that_another_signed_is_no_authority_of_its_own() {
    let authority = Shown::itself("authority.example", as_is);
    for is_ca in [IsCa::NoCa, IsCa::Ca(BasicConstraints::Unconstrained)] {
        let shown = authority.by("db.example", |params| params.is_ca = is_ca);
        assert!(both("db.example", &[&shown], &shown).await.is_err());
    }
    let shown = authority.by("db.example", as_is);
    assert_eq!(both("db.example", &[&authority], &shown).await, Ok(()));
}

#[tokio::test]
async fn the_common_name_counts_where_there_is_no_other() {
    let nameless = |params: &mut CertificateParams| {
        params.subject_alt_names.clear();
        params
            .distinguished_name
            .push(DnType::CommonName, "DB.example");
    };
    let authority = Shown::itself("authority.example", as_is);
    let itself = Shown::itself("db.example", nameless);
    for (known, shown) in [
        (&itself, &itself),
        (&authority, &authority.by("db.example", nameless)),
    ] {
        assert_eq!(both("db.example", &[known], shown).await, Ok(()));
        let verdict = verdict("verify-full", "other.example", &[known], shown, &TLS13).await;
        let error = refused(verdict);
        assert!(
            matches!(&error, CertificateError::NotValidForNameContext { presented, .. }
                if presented == &["DB.example"]),
            "{error:?}"
        );
    }
    // Where there is, it does not.
    let shown = Shown::itself("other.example", |params| {
        params
            .distinguished_name
            .push(DnType::CommonName, "db.example");
    });
    let verdict = verdict("verify-full", "db.example", &[&shown], &shown, &TLS13).await;
    assert!(matches!(
        refused(verdict),
        CertificateError::NotValidForNameContext { .. }
    ),);
}

#[tokio::test]
async fn require_with_a_list_is_verify_ca_and_without_one_asks_nobody() {
    let authority = Shown::itself("authority.example", as_is);
    let stranger = Shown::itself("stranger.example", as_is);
    let shown = authority.by("db.example", as_is);
    let with = async |known: &Shown, name| verdict("require", name, &[known], &shown, &TLS13).await;
    assert_eq!(with(&authority, "db.example").await, Ok(()));
    // Names are not looked at.
    assert_eq!(with(&authority, "other.example").await, Ok(()));
    let error = refused(with(&stranger, "db.example").await);
    assert_eq!(error, CertificateError::UnknownIssuer);
    let unlisted = handshake("sslmode=require", "db.example", &shown, &TLS13).await;
    assert_eq!(unlisted, Ok(()));
    // `prefer` would go on without TLS, so it checks nothing.
    let preferred = verdict("prefer", "db.example", &[&stranger], &shown, &TLS13).await;
    assert_eq!(preferred, Ok(()));
}

#[test]
fn require_with_a_list_that_is_not_there_is_refused() {
    let config = DatabaseConfig::parse("postgres://h/d?sslmode=require&sslrootcert=/no/such.pem");
    let error = client(&config.expect("an address")).expect_err("there is no list");
    let said = error.to_string();
    assert!(said.contains("/no/such.pem"), "{said}");
}
