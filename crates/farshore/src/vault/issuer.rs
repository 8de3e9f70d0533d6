//! Who is let in, and by which certificate. What is decided is durable before it is signed
//! for; the same request asked again gets the same id. This module must never give out the
//! authority's key.

mod hosts;
mod once;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::SystemTime};

use async_trait::async_trait;
use axum::http::StatusCode;
use farshore_channel::{ChannelError, Enroller, Keyring, Peer, Refusal, Signing, admit};
use farshore_control::{
    TrustDocument,
    enrolment::{Enrolled, Enrolment, Introduction, Renewal, Renewed},
    report::Problem as Told,
};
use farshore_pki::{
    Applicant, Authority, Bundle, Facts, Fingerprint, Identity, Lifetime, PkiError, REGISTRATION_LIFETIME,
    Registration, RegistrationError, RegistrationKey, Role,
};
use farshore_types::{HostId, SiteId};
use farshore_vault::{Command, Problem, ProblemKind};

use super::{
    config::VaultConfig,
    desk::{Books, Desk},
    own,
    papers::{Done, IssuedRow},
    revocations::unite,
    standing::Standing,
};
use once::Once;

/// Port at which an agent takes replication where it does not say.
const REPLICATION_PORT: u16 = 7411;

/// Signs for the vault.
#[derive(Clone)]
pub(crate) struct Issuer {
    desk: Desk,
    authority: Arc<Authority>,
    /// Who the vault is.
    vault: Identity,
    /// Where site servers reach it, `host:port`.
    address: String,
    fingerprint: Fingerprint,
    /// The vault's own trust, and where it is kept: it follows what others are told.
    keyring: Keyring,
    dir: PathBuf,
    standing: Standing,
}

impl Issuer {
    pub(crate) fn new(
        desk: Desk,
        authority: Authority,
        keyring: Keyring,
        config: &VaultConfig,
    ) -> Result<Issuer, PkiError> {
        Ok(Issuer {
            desk,
            fingerprint: authority.fingerprint()?,
            authority: Arc::new(authority),
            vault: keyring.identity(),
            address: config.public_address(),
            keyring,
            dir: config.data_dir.clone(),
            standing: Standing::default(),
        })
    }

    /// How the vault and its site servers stand.
    pub(crate) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// What the vault's own files know of revocations counts, too: they may be newer than a
    /// store that was restored.
    pub(crate) async fn learn_own(&self) -> Result<(), Problem> {
        let Ok(Bundle { authority_pem, revoked_pem, .. }) = Bundle::load(&self.dir) else { return Ok(()) };
        let revoked_number = self.keyring.revoked_number();
        self.unite(TrustDocument { authority_pem, revoked_pem, revoked_number }).await
    }

    /// Unites what somebody holds of revocations with what is known here.
    pub(crate) async fn unite(&self, held: TrustDocument) -> Result<(), Problem> {
        let authority = Arc::clone(&self.authority);
        self.desk.change(move |books| unite(books, &authority, &held)).await?;
        self.follow_trust().await
    }

    /// What the core has learned of revocations from hosts, the papers have to know, too.
    pub(crate) async fn settle(&self) -> Result<(), Problem> {
        let told = self.desk.look(|core, papers, _| {
            let noted = papers.authority().map(|row| row.revoked_number);
            core.trust().filter(|told| noted != Some(told.revoked_number))
        });
        match told.await? {
            Some(told) => self.unite(told).await,
            None => Ok(()),
        }
    }

    /// Signs the vault's own certificate anew.
    pub(crate) async fn renew_own(&self, config: &VaultConfig) -> Result<Bundle, Told> {
        let told = |code: &str, what: String, advice: &str| Told {
            code: code.to_owned(),
            what,
            advice: advice.to_owned(),
        };
        let trust = self.desk.change(trust_of).await.map_err(|e| told(&e.code, e.what, &e.advice))?;
        let (bundle, row) = own::certify(config, &self.authority, self.vault.id, &trust.revoked_pem)
            .map_err(|e| {
                told("unissuable", e.to_string(), "look at the vault's address in its configuration")
            })?;
        let note = move |books: &mut Books<'_>| {
            books.papers.put_issued(&row);
            Ok(())
        };
        self.desk.change(note).await.map_err(|e| told(&e.code, e.what, &e.advice))?;
        Ok(bundle)
    }

    /// The vault trusts whom it tells others to trust, from now on.
    pub(crate) async fn follow_trust(&self) -> Result<(), Problem> {
        let Some(trust) = self.desk.look(|core, _, _| core.trust()).await? else { return Ok(()) };
        let stored = self.keyring.store_trust(&self.dir, &trust.authority_pem, &trust.revoked_pem);
        match stored {
            // The vault's own files know of more than a store that was restored: see `learn_own`.
            Ok(_) | Err(ChannelError::Own(PkiError::OlderList { .. })) => Ok(()),
            Err(e) => {
                let advice = "look into the vault's data directory";
                Err(problem(ProblemKind::Unavailable, "trust", e.to_string(), advice))
            }
        }
    }

    /// Makes a registration key for the server of a site.
    ///
    /// # Errors
    /// An unknown site; a store that cannot be written.
    pub(crate) async fn register_site(
        &self,
        site: SiteId,
        key: Option<String>,
    ) -> Result<RegistrationKey, Problem> {
        let once = Once::new(key, format!("register site {site}"));
        let (vault, address, fingerprint) = (self.vault.clone(), self.address.clone(), self.fingerprint);
        self.desk
            .change(move |books| {
                if books.core.site(site).is_none() {
                    return Err(problem(
                        ProblemKind::NotFound,
                        "site-unknown",
                        format!("there is no site {site}"),
                        "list the sites",
                    ));
                }
                once.withdraw(books)?;
                let now = books.at.wall_ms;
                let (key, registration) =
                    Registration::make(Role::Site, &vault, &address, fingerprint, now, REGISTRATION_LIFETIME);
                books.papers.forget_old(now);
                books.papers.put_registration(&registration, site.0);
                once.note(books, Done::Registered(registration.id));
                Ok(key)
            })
            .await
    }

    /// Lets a host in that its site server answers for.
    ///
    /// # Errors
    /// A refusal that says why.
    pub(crate) async fn introduce(&self, site: SiteId, asked: Introduction) -> Result<Enrolled, Refusal> {
        asked.reach.check().map_err(|error| Refusal::bad_request(error.to_string()))?;
        let applicant = Applicant::parse(&asked.csr_pem).map_err(|e| Refusal::bad_request(e.to_string()))?;
        let identity = Identity { role: Role::Host, id: asked.id.0, name: asked.reach.name.clone() };
        let known = asked.clone();
        let change = move |books: &mut Books<'_>| {
            know_host(books, site, &known)?;
            trust_of(books)
        };
        let trust = self.desk.change(change).await.map_err(refused)?;
        let addresses: Vec<&str> = asked.reach.addresses.iter().map(String::as_str).collect();
        let lifetime = Lifetime::of_member(SystemTime::now());
        let signed = self
            .authority
            .sign(&applicant, &identity, &addresses, lifetime)
            .map_err(|e| Refusal::bad_request(e.to_string()))?;
        self.note(&signed.facts).await?;
        let clock_ms = super::wall_ms();
        Ok(Enrolled { id: asked.id.0, chain_pem: signed.cert_pem, trust, clock_ms })
    }

    /// Renews a site server's certificate.
    ///
    /// # Errors
    /// A refusal that says why.
    pub(crate) async fn renew(&self, peer: &Peer, asked: &Renewal) -> Result<Renewed, Refusal> {
        let trust = self.desk.change(trust_of).await.map_err(refused)?;
        let signing = Signing { authority: &self.authority, trust: &trust };
        let (renewed, facts) = signing.renew(peer, asked, SystemTime::now())?;
        self.note(&facts).await?;
        Ok(renewed)
    }

    /// Revokes every certificate of a member; says how many there were.
    ///
    /// # Errors
    /// A store that cannot be written; a list that cannot be signed.
    pub(crate) async fn revoke(
        &self,
        role: Role,
        holder: uuid::Uuid,
        key: Option<String>,
    ) -> Result<usize, Problem> {
        let authority = Arc::clone(&self.authority);
        let once = Once::new(key, format!("revoke {role} {holder}"));
        let count = self
            .desk
            .change(move |books| {
                if let Some(Done::Revoked(count)) = once.before(books)? {
                    return Ok(count);
                }
                let now = i64::try_from(books.at.wall_ms / 1000).unwrap_or(i64::MAX);
                let mut count = 0;
                for mut row in books.papers.issued(now) {
                    if row.role == role && row.holder == holder && row.revoked.is_none() {
                        row.revoked = Some(now);
                        books.papers.put_issued(&row);
                        count += 1;
                    }
                }
                if count > 0 {
                    publish_trust(books, &authority)?;
                }
                once.note(books, Done::Revoked(count));
                Ok(count)
            })
            .await?;
        self.follow_trust().await?;
        Ok(count)
    }

    async fn note(&self, facts: &Facts) -> Result<(), Refusal> {
        let identity = facts.identity().map_err(|e| Refusal::bad_request(e.to_string()))?.clone();
        let row = IssuedRow {
            serial: facts.serial.clone(),
            role: identity.role,
            holder: identity.id,
            name: identity.name,
            until: facts.not_after,
            revoked: None,
        };
        self.desk
            .change(move |books| {
                books.papers.put_issued(&row);
                Ok(())
            })
            .await
            .map_err(refused)
    }
}

#[async_trait]
impl Enroller for Issuer {
    async fn enrol(&self, request: Enrolment, from: SocketAddr) -> Result<Enrolled, Refusal> {
        let asked = request.clone();
        let decide = move |books: &mut Books<'_>| {
            let Some((mut registration, site)) = books.papers.registration(asked.registration) else {
                return Ok(Err(RegistrationError::Unknown.into()));
            };
            if registration.role != Role::Site {
                // A host's key is used at its site's server, which answers for the host.
                let (wanted, found) = (registration.role.to_string(), "site server".to_owned());
                return Ok(Err(RegistrationError::WrongRole { wanted, found }.into()));
            }
            let member = match admit(&registration, &asked, site, SystemTime::now()) {
                Ok(member) => member,
                Err(refusal) => return Ok(Err(refusal)),
            };
            if !member.again {
                registration.mark_used(member.used.clone());
                books.papers.put_registration(&registration, site);
            }
            Ok(Ok((member, trust_of(books)?)))
        };
        let (member, trust) = self.desk.change(decide).await.map_err(refused)??;
        let signing = Signing { authority: &self.authority, trust: &trust };
        let (enrolled, facts) = signing.enrol(&member, SystemTime::now())?;
        self.note(&facts).await?;
        tracing::info!(site = %member.identity.name, %from, "a site server was enrolled");
        Ok(enrolled)
    }
}

/// Makes a host known, or says why it cannot be.
fn know_host(books: &mut Books<'_>, site: SiteId, asked: &Introduction) -> Result<(), Problem> {
    match books.core.host(asked.id) {
        Some(host) if host.removed => {
            let what = format!("host '{}' was removed from the vault", host.name);
            Err(problem(
                ProblemKind::Refused,
                "host-removed",
                what,
                "enrol it anew with a new registration key",
            ))
        }
        Some(host) if host.site != site => {
            let what = format!("host '{}' belongs to another site", host.name);
            Err(problem(
                ProblemKind::Refused,
                "host-of-another-site",
                what,
                "enrol it at its own site's server",
            ))
        }
        Some(_) => Ok(()),
        None if asked.renewal => {
            let what = format!("host {} is not known to this vault", asked.id);
            Err(problem(ProblemKind::NotFound, "host-unknown", what, "enrol it with a registration key"))
        }
        None => add_host(books, site, asked),
    }
}

fn add_host(books: &mut Books<'_>, site: SiteId, asked: &Introduction) -> Result<(), Problem> {
    let Some(cloud) = books.core.clouds().find(|cloud| cloud.site == site).map(|cloud| cloud.id) else {
        let advice = "add one: farshore cloud add --site SITE NAME";
        return Err(problem(
            ProblemKind::Conflict,
            "no-cloud",
            "the site has no cloud for the host".to_owned(),
            advice,
        ));
    };
    let reach = &asked.reach;
    let address = reach.replication.clone().unwrap_or_else(|| format!("{}:{REPLICATION_PORT}", reach.name));
    let (id, name, principal) = (Some(HostId(asked.id.0)), reach.name.clone(), reach.principal.clone());
    let at = books.at;
    books.core.run(&Command::AddHost { id, cloud, name, address, principal }, None, &at).map(drop)
}

/// Whom members are to trust now.
fn trust_of(books: &mut Books<'_>) -> Result<TrustDocument, Problem> {
    let trust = books.core.trust();
    trust.ok_or_else(|| {
        problem(
            ProblemKind::Unavailable,
            "no-authority",
            "this vault has no authority yet".to_owned(),
            "make one with: farshore vault init",
        )
    })
}

/// Signs the list of revoked certificates anew and has it told to everybody.
pub(crate) fn publish_trust(books: &mut Books<'_>, authority: &Authority) -> Result<(), Problem> {
    let Some(mut row) = books.papers.authority() else { return Ok(()) };
    // Above every number that anybody is known to hold.
    row.revoked_number = row.revoked_number.max(books.core.trust().map_or(0, |told| told.revoked_number)) + 1;
    let now = i64::try_from(books.at.wall_ms / 1000).unwrap_or(i64::MAX);
    let list = authority
        .revocation_list(row.revoked_number, &books.papers.revoked(now), SystemTime::now())
        .map_err(|e| {
        problem(ProblemKind::Unavailable, "unsignable", e.to_string(), "report this as a fault")
    })?;
    let command = Command::SetTrust {
        authority_pem: row.cert_pem.clone(),
        revoked_pem: list,
        revoked_number: row.revoked_number,
    };
    books.papers.put_authority(&row);
    let at = books.at;
    books.core.run(&command, None, &at).map(drop)
}

pub(crate) fn problem(kind: ProblemKind, code: &str, what: String, advice: &str) -> Problem {
    Problem { kind, code: code.to_owned(), what, advice: advice.to_owned(), details: Vec::new() }
}

/// A problem as an answer over HTTP.
pub(crate) fn refused(problem: Problem) -> Refusal {
    let status = match problem.kind {
        ProblemKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        ProblemKind::NotFound => StatusCode::NOT_FOUND,
        ProblemKind::Conflict => StatusCode::CONFLICT,
        ProblemKind::Refused => StatusCode::FORBIDDEN,
        ProblemKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    };
    let findings = problem.details.iter().filter_map(|finding| serde_json::to_value(finding).ok()).collect();
    Refusal { findings, ..Refusal::new(status, &problem.code, problem.what, problem.advice) }
}
