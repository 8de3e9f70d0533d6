//! Sites, clouds, hosts, machines, policies, mappings, tokens.

use farshore_policy::{PolicyPatch, SETTINGS, setting};
use farshore_types::HostId;
use farshore_vault::{Command as Order, MapTo};

use super::{CloudCommand, HostCommand, MapArgs, Mapped, PolicyCommand, SiteCommand, TokenCommand};
use crate::{
    ProgramError,
    cli::{context::Operator, jobs::wait_for, names::find, show},
    vault::Ordered,
    views::*,
};

pub(crate) async fn site(operator: &Operator, command: SiteCommand) -> Result<(), ProgramError> {
    let sites: Vec<SiteView> = operator.get("sites").await?;
    let named = |name: &str| find("site", name, &sites, |s| s.id.0, |s| &s.name).map(|s| s.id);
    match command {
        SiteCommand::List => show::list(operator.output, &sites, &["site", "clouds", "hosts"], |s| {
            vec![s.name.clone(), s.clouds.join(", "), s.hosts.to_string()]
        }),
        SiteCommand::Add { name, ahead_minutes } => {
            let made = operator.order(&Order::AddSite { name: name.clone(), ahead_minutes }).await?;
            let site = farshore_types::SiteId(made.answer.id.unwrap_or_default());
            operator.order(&Order::AddCloud { site, name: name.clone() }).await?;
            show_key(operator, site, &name).await?;
        }
        SiteCommand::Key { site } => show_key(operator, named(&site)?, &site).await?,
        SiteCommand::Revoke { site } => {
            let count: usize = operator.post(&format!("sites/{}/revocation", named(&site)?.0), &()).await?;
            show::one(operator.output, &count, &format!("{count} certificates of site '{site}' are revoked"));
        }
        SiteCommand::Remove { site } => {
            let done = operator.order(&Order::RemoveSite { site: named(&site)? }).await?;
            told(operator, &done, &format!("site '{site}' is removed"));
        }
        SiteCommand::Enrol(_)
        | SiteCommand::Follow(_)
        | SiteCommand::Serve { .. }
        | SiteCommand::Status { .. }
        | SiteCommand::HostKey { .. } => {}
    }
    Ok(())
}

async fn show_key(operator: &Operator, site: farshore_types::SiteId, name: &str) -> Result<(), ProgramError> {
    let key: KeyView = operator.post(&format!("sites/{}/registration", site.0), &()).await?;
    let text = format!(
        "site '{name}': on its server, run\n  farshore site enrol --key {}\nthe key is for one use, within five days",
        key.key
    );
    show::one(operator.output, &key, &text);
    Ok(())
}

pub(crate) async fn cloud(operator: &Operator, command: CloudCommand) -> Result<(), ProgramError> {
    let clouds: Vec<CloudView> = operator.get("clouds").await?;
    let named = |name: &str| find("cloud", name, &clouds, |c| c.id.0, |c| &c.name).map(|c| c.id);
    match command {
        CloudCommand::List => {
            let heads = ["cloud", "site", "pair", "role", "policy", "hosts"];
            show::list(operator.output, &clouds, &heads, |c| {
                let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
                let (pair, role, policy) = (or_none(&c.paired_with), or_none(&c.role), or_none(&c.policy));
                vec![c.name.clone(), c.site.clone(), pair, role, policy, c.hosts.to_string()]
            });
        }
        CloudCommand::Add { site, name } => {
            let sites: Vec<SiteView> = operator.get("sites").await?;
            let site = find("site", &site, &sites, |s| s.id.0, |s| &s.name)?.id;
            let done = operator.order(&Order::AddCloud { site, name: name.clone() }).await?;
            told(operator, &done, &format!("cloud '{name}' is there"));
        }
        CloudCommand::Pair { source, target } => {
            let order = Order::PairClouds { source: named(&source)?, target: named(&target)? };
            let done = operator.order(&order).await?;
            told(operator, &done, &format!("machines of '{source}' can be protected in '{target}'"));
        }
        CloudCommand::Associate { cloud, policy, waiting } => {
            let id = match &policy {
                Some(name) => Some(policy_named(operator, name).await?.id),
                None => None,
            };
            let done = operator.order(&Order::Associate { cloud: named(&cloud)?, policy: id }).await?;
            let text = policy.map_or_else(
                || format!("no policy holds for '{cloud}' any more"),
                |policy| format!("policy '{policy}' holds for '{cloud}'"),
            );
            told(operator, &done, &text);
            wait_for(operator, &done, waiting).await?;
        }
    }
    Ok(())
}

pub(crate) async fn host(operator: &Operator, command: HostCommand) -> Result<(), ProgramError> {
    if let HostCommand::Key { site } = &command {
        return host_key(operator, site).await;
    }
    let hosts: Vec<HostView> = operator.get("hosts").await?;
    let named = |name: &str| find("host", name, &hosts, |h| h.id.0, |h| &h.name).map(|h| h.id);
    let (order, text) = match command {
        HostCommand::List => {
            let heads = ["host", "site", "cloud", "address", "machines", "heard", "health"];
            show::list(operator.output, &hosts, &heads, |h| {
                let heard = h.heard_secs.map_or_else(|| "never".to_owned(), |s| format!("{s} s ago"));
                let cloud = h.cloud.clone().unwrap_or_else(|| "-".to_owned());
                let health = crate::cli::watch::health(&h.health);
                vec![
                    h.name.clone(),
                    h.site.clone(),
                    cloud,
                    h.address.clone(),
                    h.machines.to_string(),
                    heard,
                    health,
                ]
            });
            return Ok(());
        }
        HostCommand::Key { .. } => return Ok(()),
        HostCommand::Remove { host } => return remove_host(operator, named(&host)?, &host).await,
        HostCommand::Move { host, cloud } => {
            let clouds: Vec<CloudView> = operator.get("clouds").await?;
            let to = find("cloud", &cloud, &clouds, |c| c.id.0, |c| &c.name)?.id;
            (
                Order::SetHostCloud { host: named(&host)?, cloud: to },
                format!("host '{host}' belongs to '{cloud}'"),
            )
        }
        HostCommand::Maintenance { host, end } => {
            let text = if end { "takes roles again" } else { "takes no new role" };
            (Order::SetMaintenance { host: named(&host)?, on: !end }, format!("host '{host}' {text}"))
        }
        HostCommand::Address { host, address, principal } => {
            let text = format!("host '{host}' takes replication at {address}");
            (Order::SetHostAddress { host: named(&host)?, address, principal }, text)
        }
    };
    let done = operator.order(&order).await?;
    told(operator, &done, &text);
    Ok(())
}

async fn remove_host(operator: &Operator, id: HostId, name: &str) -> Result<(), ProgramError> {
    // First what can be refused: a host that still has a role stays as it is.
    let done = operator.order(&Order::RemoveHost { host: id }).await?;
    let count: usize = operator.post(&format!("hosts/{}/revocation", id.0), &()).await?;
    told(operator, &done, &format!("host '{name}' is removed, {count} certificates are revoked"));
    Ok(())
}

pub(crate) async fn machines(operator: &Operator) -> Result<(), ProgramError> {
    let machines: Vec<MachineView> = operator.get("machines").await?;
    let heads = ["machine", "host", "site", "power", "disks", "size", "protection"];
    show::list(operator.output, &machines, &heads, |m| {
        let protection = m.protection.clone().unwrap_or_else(|| "-".to_owned());
        let (disks, size) = (m.disks.join(", "), show::size(m.size));
        vec![m.name.clone(), m.host.clone(), m.site.clone(), m.power.clone(), disks, size, protection]
    });
    Ok(())
}

async fn policy_named(operator: &Operator, name: &str) -> Result<PolicyView, ProgramError> {
    let policies: Vec<PolicyView> = operator.get("policies").await?;
    find("policy", name, &policies, |p| p.id.0, |p| &p.name).cloned()
}

pub(crate) async fn policy(operator: &Operator, command: PolicyCommand) -> Result<(), ProgramError> {
    match command {
        PolicyCommand::List => {
            let policies: Vec<PolicyView> = operator.get("policies").await?;
            show::list(operator.output, &policies, &["policy", "clouds", "every"], |p| {
                let every = format!("{} s", p.policy.copy_frequency_secs);
                vec![p.name.clone(), p.clouds.join(", "), every]
            });
        }
        PolicyCommand::Settings => {
            let rows = SETTINGS.iter().map(|s| {
                vec![s.flag.to_owned(), s.default.to_owned(), s.range.to_owned(), s.help.to_owned()]
            });
            show::print(&show::table(&["setting", "default", "range", "what it does"], rows));
        }
        PolicyCommand::Show { policy } => {
            let policy = policy_named(operator, &policy).await?;
            let rows = SETTINGS.iter().map(|s| vec![s.flag.to_owned(), s.get(&policy.policy)]);
            let text = show::table(&["setting", "value"], rows);
            show::one(operator.output, &policy, text.trim_end());
        }
        PolicyCommand::Add { name, settings } => {
            let order = Order::AddPolicy { name: name.clone(), settings: patch(&settings)? };
            let done = operator.order(&order).await?;
            told(operator, &done, &format!("policy '{name}' is there"));
        }
        PolicyCommand::Set { policy, settings, waiting } => {
            let id = policy_named(operator, &policy).await?.id;
            let done =
                operator.order(&Order::ChangePolicy { policy: id, settings: patch(&settings)? }).await?;
            told(operator, &done, &format!("policy '{policy}' is changed"));
            wait_for(operator, &done, waiting).await?;
        }
        PolicyCommand::Remove { policy } => {
            let id = policy_named(operator, &policy).await?.id;
            let done = operator.order(&Order::RemovePolicy { policy: id }).await?;
            told(operator, &done, &format!("policy '{policy}' is removed"));
        }
    }
    Ok(())
}

/// SETTING=VALUE, several of them; everything that is wrong is told at once.
fn patch(settings: &[String]) -> Result<PolicyPatch, ProgramError> {
    let (mut patch, mut wrong) = (PolicyPatch::default(), Vec::new());
    for text in settings {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let result = match (setting(name), text.contains('=')) {
            (_, false) => Err(format!("'{text}' is not of the form SETTING=VALUE")),
            (Err(unknown), _) => Err(unknown.to_string()),
            (Ok(known), true) if value.is_empty() => {
                known.clear(&mut patch);
                Ok(())
            }
            (Ok(known), true) => known.set(&mut patch, value),
        };
        wrong.extend(result.err());
    }
    match wrong.is_empty() {
        true => Ok(patch),
        false => Err(ProgramError::usage(wrong.join("; "), "`farshore policy settings` lists them all")),
    }
}

pub(crate) async fn map(operator: &Operator, args: MapArgs) -> Result<(), ProgramError> {
    let sites: Vec<SiteView> = operator.get("sites").await?;
    let parts = |text: &str| {
        let (site, name) = text.split_once('/').ok_or_else(|| {
            ProgramError::usage(format!("'{text}' is not of the form SITE/NAME"), "such as east/production")
        })?;
        Ok::<_, ProgramError>((find("site", site, &sites, |s| s.id.0, |s| &s.name)?.id, name.to_owned()))
    };
    let ((from_site, from), (to_site, to)) = (parts(&args.from)?, parts(&args.to)?);
    let map = MapTo { from_site, to_site, from, to: Some(to).filter(|to| !to.is_empty()) };
    let order = match args.what {
        Mapped::Network => Order::MapNetwork(map),
        Mapped::Storage => Order::MapStorage(map),
    };
    let done = operator.order(&order).await?;
    told(operator, &done, &format!("{} is {} there", args.from, args.to));
    Ok(())
}

pub(crate) async fn token(operator: &Operator, command: TokenCommand) -> Result<(), ProgramError> {
    let name = match command {
        TokenCommand::Add { name } => name,
        TokenCommand::Confirm { name } => {
            let text = format!("token '{name}' holds again");
            let done = operator.order(&Order::ConfirmToken { name }).await?;
            told(operator, &done, &text);
            return Ok(());
        }
    };
    let done = operator.order(&Order::AddToken { name, expires_ms: None }).await?;
    let text = done.token.clone().unwrap_or_default();
    show::one(operator.output, &done, &text);
    Ok(())
}

async fn host_key(operator: &Operator, site: &str) -> Result<(), ProgramError> {
    let sites: Vec<SiteView> = operator.get("sites").await?;
    let id = find("site", site, &sites, |s| s.id.0, |s| &s.name)?.id;
    let key: KeyView = operator.post(&format!("sites/{id}/host-registration"), &()).await?;
    let text = format!(
        "on the host, run\n  farshore-agent enrol --key {}\nthe key is for one use, within five days",
        key.key
    );
    show::one(operator.output, &key, &text);
    Ok(())
}

/// Says that something was done, and what people should know of it.
pub(crate) fn told(operator: &Operator, done: &Ordered, text: &str) {
    let text = if done.answer.changed { text.to_owned() } else { format!("{text}, as before") };
    show::one(operator.output, done, &text);
    show::findings(&done.answer.warnings);
}
