//! What operators order, a noun and a verb at a time. Names become ids here; whatever is
//! refused, the vault refuses.

mod nouns;
mod protect;

use std::path::PathBuf;

use clap::Subcommand;

use super::jobs::Waiting;

pub(crate) use nouns::{cloud, host, machines, map, policy, site, token};
pub(crate) use protect::{pause, protect, resync, unprotect};

#[derive(Debug, Subcommand)]
pub(crate) enum SiteCommand {
    /// Lists the sites.
    List,
    /// Adds a site with a cloud of the same name, and shows a registration key for its server.
    ///
    /// Example: farshore site add east
    Add {
        /// Its name.
        name: String,
        /// Minutes that its clocks are ahead of UTC, for windows of time in policies.
        #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
        ahead_minutes: i16,
    },
    /// Shows a new registration key for a site's server; valid for five days, for one use.
    Key {
        /// The site.
        site: String,
    },
    /// Revokes the certificates of a site's server: it is refused within a minute.
    Revoke {
        /// The site.
        site: String,
    },
    /// Removes a site without clouds and hosts.
    Remove {
        /// The site.
        site: String,
    },
    /// Enrols this machine as the server of a site.
    Enrol(EnrolArgs),
    /// Runs the site server.
    Serve {
        /// The configuration.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Shows how the site server on this machine stands, also while the vault is away.
    Status {
        /// The site server's configuration.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Tells the server of this machine's site where the vault is now; the vault proves that it
    /// is the same one.
    ///
    /// Example: farshore site follow vault2.example:7400
    Follow(FollowArgs),
    /// Shows a registration key for a host of this site; asked of the site server itself.
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

#[derive(Debug, Subcommand)]
pub(crate) enum CloudCommand {
    /// Lists the clouds.
    List,
    /// Adds a cloud to a site.
    Add {
        /// The site.
        #[arg(long)]
        site: String,
        /// Its name.
        name: String,
    },
    /// Pairs two clouds: machines of the first are protected by replicas in the second.
    ///
    /// Example: farshore cloud pair east west
    Pair {
        /// Where machines run.
        source: String,
        /// Where their replicas are kept.
        target: String,
    },
    /// Lets a policy hold for a cloud.
    ///
    /// Example: farshore cloud associate east --policy gold
    Associate {
        /// The cloud.
        cloud: String,
        /// The policy; none ends the association.
        #[arg(long)]
        policy: Option<String>,
        #[command(flatten)]
        waiting: Waiting,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum HostCommand {
    /// Lists the hosts.
    List,
    /// Shows a registration key for a host of a site; valid for five days, for one use.
    ///
    /// Example: farshore host key east
    Key {
        /// The site.
        site: String,
    },
    /// Puts a host into a cloud of its site.
    Move {
        /// The host.
        host: String,
        /// The cloud.
        #[arg(long)]
        cloud: String,
    },
    /// Lets a host take no new role, or ends that.
    Maintenance {
        /// The host.
        host: String,
        /// Ends it.
        #[arg(long)]
        end: bool,
    },
    /// Says where a host takes replication.
    Address {
        /// The host.
        host: String,
        /// HOST:PORT.
        address: String,
        /// Its Kerberos principal; "" takes it away, left out leaves it as it is.
        #[arg(long, value_name = "SERVICE/HOST@REALM")]
        principal: Option<String>,
    },
    /// Revokes a host's certificates and removes it.
    Remove {
        /// The host.
        host: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Lists the policies.
    List,
    /// Lists all settings with unit, default and range.
    Settings,
    /// Shows what a policy says.
    Show {
        /// The policy.
        policy: String,
    },
    /// Adds a policy of the defaults and these settings.
    ///
    /// Example: farshore policy add gold copy-frequency=2s
    Add {
        /// Its name.
        name: String,
        /// SETTING=VALUE
        settings: Vec<String>,
    },
    /// Changes settings; running protections take them without a new first copy.
    Set {
        /// The policy.
        policy: String,
        /// SETTING=VALUE; SETTING= takes it back to its default.
        #[arg(required = true)]
        settings: Vec<String>,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Removes a policy that nothing follows.
    Remove {
        /// The policy.
        policy: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Makes a token, shown once.
    Add {
        /// Its name.
        name: String,
    },
    /// Lets a token that came out of a backup hold again.
    Confirm {
        /// Its name.
        name: String,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct MapArgs {
    /// What: a network or a storage class.
    #[arg(value_enum)]
    pub(crate) what: Mapped,
    /// Site where machines come from, and the name there: SITE/NAME.
    pub(crate) from: String,
    /// Site where replicas are, and the name there: SITE/NAME; SITE/ ends the mapping.
    pub(crate) to: String,
}

/// What can be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mapped {
    /// A network.
    Network,
    /// A storage class.
    Storage,
}

/// One machine.
#[derive(Debug, clap::Args)]
pub(crate) struct MachineArgs {
    /// Name or UUID.
    pub(crate) machine: String,
}

/// One machine that is compared.
#[derive(Debug, clap::Args)]
pub(crate) struct ResyncArgs {
    /// Name or UUID.
    pub(crate) machine: String,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

/// Protects machines.
///
/// Everything that stands against it is told at once, before anything changes.
///
/// Examples:
///   farshore protect web1
///   farshore protect web1 db1 --target hostb --exclude vdb
///   farshore protect --all --check
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ProtectArgs {
    /// Names or UUIDs.
    #[arg(required_unless_present = "all")]
    pub(crate) machines: Vec<String>,
    /// All machines of clouds with a policy that are not protected.
    #[arg(long, conflicts_with = "machines")]
    pub(crate) all: bool,
    /// The host for the replicas; by room where left out.
    #[arg(long)]
    pub(crate) target: Option<String>,
    /// A disk that is left out; may be repeated.
    #[arg(long, value_name = "DISK")]
    pub(crate) exclude: Vec<farshore_types::DiskKey>,
    /// Only tells what stands against it.
    #[arg(long)]
    pub(crate) check: bool,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

/// Ends the protection of a machine.
#[derive(Debug, clap::Args)]
pub(crate) struct UnprotectArgs {
    /// Name or UUID.
    pub(crate) machine: String,
    /// Deletes the replica with all its points.
    #[arg(long, conflicts_with = "keep_replica")]
    pub(crate) delete_replica: bool,
    /// Keeps the replica.
    #[arg(long)]
    pub(crate) keep_replica: bool,
    /// Deletes a replica that may be the only good copy.
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}
