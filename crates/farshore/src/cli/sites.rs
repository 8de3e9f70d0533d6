//! Sites: added, enrolled, and their servers run.

use std::path::PathBuf;

use axum::http::Method;
use clap::Subcommand;

use super::{
    operator::{ListArgs, Operator, Query, path},
    protections::{ForgetArgs, forget},
    show,
};
use crate::{
    ProgramError,
    views::{AddCloud, AddSite, KeyView, Rename, Revoked, SiteView},
};

#[derive(Debug, Subcommand)]
pub(crate) enum SiteCommand {
    /// Lists the sites.
    #[command(after_help = "Examples:\n  farshore site list\n  farshore site list --output json")]
    List(ListArgs),
    /// Shows a site.
    #[command(after_help = "Example:\n  farshore site show east")]
    Show {
        /// Name or id.
        site: String,
    },
    /// Adds a site with a cloud of the same name, and shows a registration key for its server.
    #[command(
        after_help = "Examples:\n  farshore site add east\n  farshore site add west --ahead-minutes 60"
    )]
    Add {
        /// Its name.
        name: String,
        /// Minutes that its clocks are ahead of UTC, for windows of time in policies.
        #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
        ahead_minutes: i16,
    },
    /// Gives a site another name.
    #[command(after_help = "Example:\n  farshore site rename east north")]
    Rename {
        /// Name or id.
        site: String,
        /// Its new name.
        name: String,
    },
    /// Shows a new registration key for a site's server; valid for five days, for one use.
    #[command(after_help = "Example:\n  farshore site key east")]
    Key {
        /// Name or id.
        site: String,
    },
    /// Revokes the certificates of a site's server: it is refused within a minute.
    #[command(after_help = "Example:\n  farshore site revoke east")]
    Revoke {
        /// Name or id.
        site: String,
    },
    /// Removes a site without clouds and hosts.
    #[command(after_help = "Example:\n  farshore site remove east")]
    Remove {
        /// Name or id.
        site: String,
    },
    /// Forgets a site that is gone for good, with its clouds, its hosts and their protections.
    ///
    /// Nothing is deleted, and all its certificates are revoked.
    #[command(after_help = "Example:\n  farshore site forget west")]
    Forget(ForgetArgs),
    /// Enrols this machine as the server of a site.
    #[command(
        after_help = "Examples:\n  farshore site enrol --key KEY\n  farshore site enrol --key KEY --config /etc/farshore/site.toml"
    )]
    Enrol(EnrolArgs),
    /// Runs the site server.
    #[command(after_help = "Example:\n  farshore site serve")]
    Serve {
        /// The configuration.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Shows how the site server on this machine stands, also while the vault is away.
    #[command(after_help = "Example:\n  farshore site status")]
    Status {
        /// The site server's configuration.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Tells the server of this machine's site where the vault is now; the vault proves that it
    /// is the same one.
    #[command(after_help = "Example:\n  farshore site follow vault2.example:7400")]
    Follow(FollowArgs),
    /// Writes a commented sample of the site server's configuration.
    #[command(after_help = "Example:\n  farshore site sample")]
    Sample,
    /// Shows a registration key for a host of this site; asked of the site server itself.
    #[command(after_help = "Example:\n  farshore site host-key")]
    HostKey {
        /// The site server's configuration.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct FollowArgs {
    /// HOST:PORT; several with commas between, where another vault may take over.
    pub(crate) address: String,
    /// Does not ask before whether the vault is there.
    #[arg(long)]
    pub(crate) unseen: bool,
    /// The site server's configuration.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct EnrolArgs {
    /// The registration key that the vault showed.
    #[arg(long, env = "FARSHORE_KEY", hide_env_values = true)]
    pub(crate) key: String,
    /// The site server's configuration.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

pub(super) async fn run(operator: &Operator, command: SiteCommand) -> Result<(), ProgramError> {
    match command {
        SiteCommand::List(args) => {
            let sites: Vec<SiteView> = operator.list("sites", &args, Query::default()).await?;
            show::list(operator.output, &sites, &HEADS, row);
        }
        SiteCommand::Show { site } => {
            let site: SiteView = operator.get(&path(&["sites", &site])).await?;
            show::record(operator.output, &site, &HEADS, row(&site));
        }
        SiteCommand::Add { name, ahead_minutes } => add(operator, name, ahead_minutes).await?,
        SiteCommand::Rename { site, name } => {
            let body = Rename { name: name.clone() };
            let done = operator.order(Method::PUT, &path(&["sites", &site, "name"]), Some(&body)).await?;
            operator.told(&done, &format!("site '{site}' is '{name}'"));
        }
        SiteCommand::Key { site } => show_key(operator, &site, &site).await?,
        SiteCommand::Revoke { site } => {
            let path = path(&["sites", &site, "revocation"]);
            let revoked: Revoked = operator.once(Method::POST, &path, None::<&()>).await?;
            let certificates = show::count(revoked.certificates, "certificate");
            let text = format!("revoked: {certificates} of site '{site}'");
            show::one(operator.output, &revoked, &text);
        }
        SiteCommand::Remove { site } => {
            let done = operator.order_bare(Method::DELETE, &path(&["sites", &site])).await?;
            operator.told(&done, &format!("site '{site}' is removed"));
        }
        SiteCommand::Forget(args) => forget(operator, "sites", args, "site").await?,
        SiteCommand::Enrol(_)
        | SiteCommand::Follow(_)
        | SiteCommand::Serve { .. }
        | SiteCommand::Status { .. }
        | SiteCommand::Sample
        | SiteCommand::HostKey { .. } => {}
    }
    Ok(())
}

const HEADS: [&str; 3] = ["site", "clouds", "hosts"];

fn row(site: &SiteView) -> Vec<String> {
    vec![site.name.clone(), site.clouds.join(", "), site.hosts.to_string()]
}

async fn add(operator: &Operator, name: String, ahead_minutes: i16) -> Result<(), ProgramError> {
    let site = AddSite { name: name.clone(), ahead_minutes };
    let made = operator.order(Method::POST, "sites", Some(&site)).await?;
    let site = made.id.unwrap_or_default().to_string();
    let cloud = AddCloud { site: site.clone(), name: name.clone() };
    operator.order(Method::POST, "clouds", Some(&cloud)).await?;
    show_key(operator, &site, &name).await
}

async fn show_key(operator: &Operator, site: &str, name: &str) -> Result<(), ProgramError> {
    let key: KeyView =
        operator.once(Method::POST, &path(&["sites", site, "registration"]), None::<&()>).await?;
    let text = format!(
        "site '{name}': on its server, run\n  farshore site enrol --key {}\nthe key is for one use, within five days",
        key.key
    );
    show::one(operator.output, &key, &text);
    Ok(())
}
