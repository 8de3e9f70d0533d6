//! The vault's own certificate, which it signs for itself: made with it, made again where a
//! restore, a second machine or a long sleep left it without one that holds, and renewed
//! while it runs. This module must never sign for anybody else.

use std::{path::Path, time::SystemTime};

use async_trait::async_trait;
use farshore_channel::{Keyring, Renewer};
use farshore_control::report::Problem as Told;
use farshore_pki::{Authority, Bundle, Credentials, Identity, Lifetime, PkiError, Role};
use uuid::Uuid;

use super::{
    config::VaultConfig,
    desk::Desk,
    issuer::Issuer,
    papers::{IssuedRow, Papers},
};
use crate::ProgramError;

/// A certificate for a new key, for this host's name and the addresses where the vault is
/// reached; and the row that has to be kept of it.
pub(super) fn certify(
    config: &VaultConfig,
    authority: &Authority,
    id: Uuid,
    revoked_pem: &str,
) -> Result<(Bundle, IssuedRow), PkiError> {
    let identity = Identity { role: Role::Vault, id, name: crate::settings::host_name() };
    let public = config.public_address();
    let host = |one: &str| {
        let one = one.trim();
        one.rsplit_once(':').map_or(one, |(host, _)| host).trim_matches(['[', ']']).to_owned()
    };
    let hosts: Vec<String> = public.split(',').map(host).collect();
    let mut addresses: Vec<&str> = hosts.iter().map(String::as_str).collect();
    addresses.extend(["localhost", "127.0.0.1"]);
    let issued = authority.issue_to(&identity, &addresses, Lifetime::of_member(SystemTime::now()))?;
    let bundle = Bundle {
        key_pem: issued.key_pem,
        cert_pem: issued.cert_pem,
        authority_pem: issued.ca_pem,
        revoked_pem: revoked_pem.to_owned(),
    };
    let facts = bundle.check(SystemTime::now())?.facts;
    let row = IssuedRow {
        serial: facts.serial,
        role: Role::Vault,
        holder: id,
        name: identity.name,
        until: facts.not_after,
        revoked: None,
    };
    Ok((bundle, row))
}

/// What the directory has, if it is this vault's and holds.
pub(super) fn held(dir: &Path, authority: &Authority, papers: &Papers) -> Option<Credentials> {
    let credentials = Credentials::load(dir).ok()?;
    let identity = credentials.facts.identity().ok()?;
    let of_vault = identity.role == Role::Vault && papers.vault_id().is_none_or(|id| id == identity.id);
    let of_authority = authority.fingerprint().is_ok_and(|print| credentials.trust.has(&print));
    let holds = credentials.trust.judge(&credentials.cert_der, SystemTime::now());
    match holds {
        Ok(_) if of_vault && of_authority => Some(credentials),
        Ok(_) => None,
        Err(error) => {
            tracing::warn!(%error, "the vault's own certificate does not hold; it gets another one");
            None
        }
    }
}

/// The vault's keyring: of what its directory has, or of a certificate that is made now.
pub(super) async fn keyring(
    config: &VaultConfig,
    authority: &Authority,
    papers: &Papers,
    desk: &Desk,
) -> Result<Keyring, ProgramError> {
    let dir = &config.data_dir;
    if let Some(credentials) = held(dir, authority, papers) {
        return Ok(Keyring::new(credentials)?);
    }
    let (bundle, row) = certify(config, authority, papers.vault_id().unwrap_or_else(Uuid::new_v4), "")?;
    let note = move |books: &mut super::desk::Books<'_>| {
        if let Some(mut authority) = books.papers.authority() {
            authority.vault = Some(row.holder);
            books.papers.put_authority(&authority);
        }
        books.papers.put_issued(&row);
        Ok(())
    };
    desk.change(note).await?;
    bundle.save(dir)?;
    tracing::info!(dir = %dir.display(), "the vault has a new certificate of its own");
    Ok(Keyring::new(Credentials::load(dir)?)?)
}

/// Renews the certificate of the vault that runs.
pub(super) struct Own {
    pub(super) issuer: Issuer,
    pub(super) config: VaultConfig,
}

#[async_trait]
impl Renewer for Own {
    async fn renewed(&self) -> Result<Bundle, Told> {
        self.issuer.renew_own(&self.config).await
    }
}
