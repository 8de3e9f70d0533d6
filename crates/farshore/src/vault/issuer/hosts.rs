//! Registration keys for hosts that the vault makes: carried to the site's server, which
//! passes the host's request on. The record, and that it is used once, stay with the vault.

use std::time::SystemTime;

use farshore_channel::{Refusal, Signing, admit};
use farshore_control::{
    enrolment::{Enrolled, Enrolment, Introduction},
    hello::{ADDRESS_BYTES_MAX, HelloReply, SiteHello},
};
use farshore_pki::{Identity, REGISTRATION_LIFETIME, Registration, RegistrationError, RegistrationKey, Role};
use farshore_types::{HostId, SiteId};
use farshore_vault::{Core, Moment, Problem, ProblemKind};
use uuid::Uuid;

use super::{Books, Done, Issuer, Once, know_host, problem, refused, trust_of};
use crate::vault::papers::Papers;

impl Issuer {
    /// Makes a registration key for a host of a site.
    ///
    /// # Errors
    /// An unknown site; one whose server has not said yet where hosts reach it; a store that
    /// cannot be written.
    pub(crate) async fn register_host(
        &self,
        site: SiteId,
        key: Option<String>,
    ) -> Result<RegistrationKey, Problem> {
        let once = Once::new(key, format!("register a host of site {site}"));
        let fingerprint = self.fingerprint;
        let make = move |books: &mut Books<'_>| {
            let Some(row) = books.core.site(site) else {
                let what = format!("there is no site {site}");
                return Err(problem(ProblemKind::NotFound, "site-unknown", what, "list the sites"));
            };
            let name = row.name.clone();
            let Some(address) = books.papers.place_of(site) else {
                let what = format!("the server of site '{name}' has not said yet where hosts reach it");
                let advice = "enrol it and start it: farshore site serve; it says so by itself then";
                return Err(problem(ProblemKind::Conflict, "site-unseen", what, advice));
            };
            once.withdraw(books)?;
            let issuer = Identity { role: Role::Site, id: site.0, name };
            let now = books.at.wall_ms;
            let (key, registration) =
                Registration::make(Role::Host, &issuer, &address, fingerprint, now, REGISTRATION_LIFETIME);
            books.papers.forget_old(now);
            books.papers.put_registration(&registration, site.0);
            once.note(books, Done::Registered(registration.id));
            Ok(key)
        };
        self.desk.change(make).await
    }

    /// Lets a host in by a key that the vault made, as its site's server asks.
    ///
    /// # Errors
    /// A refusal that says why not.
    pub(crate) async fn enrol_host(&self, site: SiteId, asked: Enrolment) -> Result<Enrolled, Refusal> {
        let decide = move |books: &mut Books<'_>| {
            let held = books.papers.registration(asked.registration);
            // Another site's key is none here.
            let held = held.filter(|(held, of)| held.role == Role::Host && *of == site.0);
            let Some((mut registration, _)) = held else {
                return Ok(Err(RegistrationError::Unknown.into()));
            };
            let member = match admit(&registration, &asked, Uuid::new_v4(), SystemTime::now()) {
                Ok(member) => member,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let introduced = Introduction {
                id: HostId(member.identity.id),
                csr_pem: asked.csr_pem.clone(),
                reach: asked.reach.clone(),
                version: Some(asked.version.clone()),
                renewal: false,
            };
            // Before the key counts as used: where the host cannot be, it was not.
            know_host(books, site, &introduced)?;
            if !member.again {
                registration.mark_used(member.used.clone());
                books.papers.put_registration(&registration, site.0);
            }
            Ok(Ok((member, trust_of(books)?)))
        };
        let (member, trust) = self.desk.change(decide).await.map_err(refused)??;
        let signing = Signing { authority: &self.authority, trust: &trust };
        let (enrolled, facts) = signing.enrol(&member, SystemTime::now())?;
        self.note(&facts).await?;
        tracing::info!(host = %member.identity.name, %site, "a host was enrolled");
        Ok(enrolled)
    }

    /// Hears what a site server says of itself.
    ///
    /// # Errors
    /// A store that cannot be written; revocations that no authority of ours signed.
    pub(crate) async fn hello(&self, hello: SiteHello) -> Result<HelloReply, Refusal> {
        if hello.address.len() > ADDRESS_BYTES_MAX {
            return Err(Refusal::bad_request("the address is too long"));
        }
        let (site, address) = (hello.site, hello.address.clone());
        let keep = move |books: &mut Books<'_>| {
            if !address.is_empty() && books.papers.place_of(site).as_deref() != Some(&*address) {
                books.papers.put_place(site, &address);
            }
            Ok(())
        };
        self.desk.change(keep).await.map_err(refused)?;
        if let Some(held) = hello.trust.clone() {
            self.unite(held).await.map_err(refused)?;
        }
        let held = hello.revoked_number;
        self.standing.heard(hello);
        let answer = move |core: &Core, papers: &Papers, _: &Moment| {
            let told = core.trust().map_or(0, |told| told.revoked_number);
            let others = core.sites().filter(|other| other.id != site);
            let neighbours = others.filter_map(|other| Some((other.id, papers.place_of(other.id)?)));
            HelloReply { term: core.term(), wants_trust: held > told, neighbours: neighbours.collect() }
        };
        self.desk.look(answer).await.map_err(refused)
    }
}
