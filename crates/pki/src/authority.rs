//! The authority: makes itself once, then signs certificates of hosts.

use std::{
    net::IpAddr,
    path::Path,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use time::OffsetDateTime;

use crate::{
    Applicant, CA_CERT, CA_KEY, Facts, Fingerprint, HOST_CERT, HOST_KEY, Identity, Lifetime, PkiError,
    Serial, certificate, store,
};

/// How long an authority's own certificate holds: longer than any agent's installation.
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(20 * 365 * 24 * 3600);

/// A certificate authority with its private key.
pub struct Authority {
    cert_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// A certificate with its key, ready to be carried to its host.
pub struct Issued {
    /// The host's certificate, PEM.
    pub cert_pem: String,
    /// The host's private key, PEM; a secret.
    pub key_pem: String,
    /// The authority's certificate, PEM.
    pub ca_pem: String,
}

impl Authority {
    /// A new authority of this name.
    ///
    /// # Errors
    /// [`PkiError::Unissuable`] for a name that no certificate can carry.
    pub fn create(name: &str) -> Result<Authority, PkiError> {
        let wrong = unissuable(name);
        let mut params = CertificateParams::new(Vec::new()).map_err(&wrong)?;
        params.distinguished_name = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_lifetime(&mut params, Lifetime::starting_now(AUTHORITY_LIFETIME));
        let key = KeyPair::generate().map_err(&wrong)?;
        let cert_pem = params.self_signed(&key).map_err(&wrong)?.pem();
        Ok(Authority { cert_pem, issuer: Issuer::new(params, key) })
    }

    /// The authority of a certificate and its key, both PEM.
    pub(crate) fn of_parts(cert_pem: String, key: KeyPair) -> Result<Authority, PkiError> {
        let name = || "the authority".to_owned();
        let issuer = Issuer::from_ca_cert_pem(&cert_pem, key)
            .map_err(|e| PkiError::Unissuable { name: name(), why: e.to_string() })?;
        Ok(Authority { cert_pem, issuer })
    }

    pub(crate) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    pub(crate) fn cert_der(&self) -> Result<Vec<u8>, PkiError> {
        let found = certificate::all_of("CERTIFICATE", &self.cert_pem).unwrap_or_default();
        found.into_iter().next().ok_or(PkiError::Nameless)
    }

    /// Reads `ca.pem` and `ca.key` of a directory.
    ///
    /// # Errors
    /// Files missing, unreadable, malformed, or not a pair.
    pub fn load(dir: &Path) -> Result<Authority, PkiError> {
        let (cert_path, key_path) = (dir.join(CA_CERT), dir.join(CA_KEY));
        let (cert_pem, key_pem) = (store::read(&cert_path)?, store::read(&key_path)?);
        let key = certificate::parse_key(&key_path, &key_pem)?;
        let facts = certificate::parse_file(&cert_path, &cert_pem)?;
        if facts.public_key != key.public_key_raw() {
            return Err(PkiError::KeyMismatch { cert: cert_path, key: key_path });
        }
        facts.check_time(SystemTime::now())?;
        let issuer = Issuer::from_ca_cert_pem(&cert_pem, key).map_err(unissuable(&facts.name))?;
        Ok(Authority { cert_pem, issuer })
    }

    /// Writes `ca.pem` and `ca.key` (mode 0600) into a directory, once.
    ///
    /// # Errors
    /// [`PkiError::Exists`] where an authority is there already; files that cannot be written.
    pub fn save(&self, dir: &Path) -> Result<(), PkiError> {
        let (cert_path, key_path) = (dir.join(CA_CERT), dir.join(CA_KEY));
        if let Some(path) = [&key_path, &cert_path].into_iter().find(|path| path.exists()) {
            return Err(PkiError::Exists { path: path.clone() });
        }
        store::write_secret(&key_path, &self.issuer.key().serialize_pem())?;
        store::write_public(&cert_path, &self.cert_pem)
    }

    /// The authority's certificate, PEM.
    #[must_use]
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// The fingerprint of the authority's certificate.
    ///
    /// # Errors
    /// [`PkiError::Nameless`] where it cannot be read, which `create` and `load` rule out.
    pub fn fingerprint(&self) -> Result<Fingerprint, PkiError> {
        Ok(Fingerprint::of(&self.cert_der()?))
    }

    /// Issues a certificate for a host, for use as client and as server, by which it is
    /// known as `host_name` and reached at `addresses` (IP addresses or more names).
    ///
    /// # Errors
    /// [`PkiError::Unissuable`].
    pub fn issue(&self, host_name: &str, addresses: &[&str], lifetime: Lifetime) -> Result<Issued, PkiError> {
        let key = KeyPair::generate().map_err(unissuable(host_name))?;
        let cert = self.certify(&key, &Holder { name: host_name, uri: None, addresses }, lifetime)?;
        Ok(self.issued(&cert, &key))
    }

    /// Issues a certificate with a new key for a member of the vault's, as
    /// [`Authority::issue`] does for a host.
    ///
    /// # Errors
    /// [`PkiError::Unissuable`].
    pub fn issue_to(
        &self,
        identity: &Identity,
        addresses: &[&str],
        lifetime: Lifetime,
    ) -> Result<Issued, PkiError> {
        let key = KeyPair::generate().map_err(unissuable(&identity.name))?;
        let cert = self.certify(&key, &Holder::member(identity, addresses), lifetime)?;
        Ok(self.issued(&cert, &key))
    }

    /// Signs the key of a request. Who its holder is decides the caller alone: of the
    /// request nothing but the public key is taken.
    ///
    /// # Errors
    /// [`PkiError::Unissuable`].
    pub fn sign(
        &self,
        applicant: &Applicant,
        identity: &Identity,
        addresses: &[&str],
        lifetime: Lifetime,
    ) -> Result<Signed, PkiError> {
        let holder = Holder::member(identity, addresses);
        let cert = self.certify(applicant.public_key(), &holder, lifetime)?;
        Ok(Signed { cert_pem: cert.pem(), facts: Facts::of(cert.der())? })
    }

    fn issued(&self, cert: &Certificate, key: &KeyPair) -> Issued {
        Issued { cert_pem: cert.pem(), key_pem: key.serialize_pem(), ca_pem: self.cert_pem.clone() }
    }

    fn certify(
        &self,
        key: &impl PublicKeyData,
        holder: &Holder<'_>,
        lifetime: Lifetime,
    ) -> Result<Certificate, PkiError> {
        let wrong = unissuable(holder.name);
        if holder.name.is_empty() || holder.name.parse::<IpAddr>().is_ok() {
            let (name, why) =
                (holder.name.to_owned(), "a host needs a name other than an address".to_owned());
            return Err(PkiError::Unissuable { name, why });
        }
        let mut params = CertificateParams::new(vec![holder.name.to_owned()]).map_err(&wrong)?;
        for address in holder.addresses {
            params.subject_alt_names.push(match address.parse::<IpAddr>() {
                Ok(ip) => SanType::IpAddress(ip),
                Err(_) => SanType::DnsName((*address).try_into().map_err(&wrong)?),
            });
        }
        if let Some(uri) = &holder.uri {
            params.subject_alt_names.push(SanType::URI(uri.as_str().try_into().map_err(&wrong)?));
        }
        params.distinguished_name = named(holder.name);
        // Otherwise it is made of the public key, and a renewed certificate of the same key
        // would be revoked with the old one.
        params.serial_number = Some(SerialNumber::from_slice(Serial::random().bytes()));
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        set_lifetime(&mut params, lifetime);
        params.signed_by(key, &self.issuer).map_err(&wrong)
    }
}

/// What a certificate is to say of its holder.
struct Holder<'a> {
    name: &'a str,
    uri: Option<String>,
    addresses: &'a [&'a str],
}

impl<'a> Holder<'a> {
    fn member(identity: &'a Identity, addresses: &'a [&'a str]) -> Holder<'a> {
        Holder { name: &identity.name, uri: Some(identity.uri()), addresses }
    }
}

/// A certificate for a key that its holder made.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The certificate, PEM.
    pub cert_pem: String,
    /// What it says; its number is needed to revoke it.
    pub facts: Facts,
}

impl Issued {
    /// Writes `ca.pem`, `host.pem` and `host.key` (mode 0600) into a host's directory,
    /// replacing what is there.
    ///
    /// # Errors
    /// Files that cannot be written.
    pub fn save(&self, dir: &Path) -> Result<(), PkiError> {
        store::write_secret(&dir.join(HOST_KEY), &self.key_pem)?;
        store::write_public(&dir.join(HOST_CERT), &self.cert_pem)?;
        store::write_public(&dir.join(CA_CERT), &self.ca_pem)
    }
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").field("cert_pem", &self.cert_pem).finish_non_exhaustive()
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut dn = DistinguishedName::new();
    dn.push(DnType::CommonName, name);
    dn
}

fn set_lifetime(params: &mut CertificateParams, lifetime: Lifetime) {
    params.not_before = OffsetDateTime::from(lifetime.from);
    params.not_after = OffsetDateTime::from(lifetime.until);
}

fn unissuable(name: &str) -> impl Fn(rcgen::Error) -> PkiError + '_ {
    move |e| PkiError::Unissuable { name: name.to_owned(), why: e.to_string() }
}
