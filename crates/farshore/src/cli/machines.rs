//! Machines, as hosts report them.

use clap::Subcommand;

use super::{
    operator::{ListArgs, Operator, Query, path},
    show,
};
use crate::{ProgramError, views::MachineView};

#[derive(Debug, Subcommand)]
pub(crate) enum MachineCommand {
    /// Lists the machines of all hosts.
    #[command(
        after_help = "Examples:\n  farshore machine list\n  farshore machine list --cloud east --unprotected"
    )]
    List(MachinesArgs),
    /// Shows a machine.
    #[command(after_help = "Example:\n  farshore machine show web1")]
    Show {
        /// Name or UUID.
        machine: String,
    },
}

/// Which machines.
#[derive(Debug, clap::Args)]
pub(crate) struct MachinesArgs {
    /// Only those on hosts of this site.
    #[arg(long)]
    site: Option<String>,
    /// Only those on hosts of this cloud.
    #[arg(long)]
    cloud: Option<String>,
    /// Only those on this host.
    #[arg(long)]
    host: Option<String>,
    /// Only those that are protected.
    #[arg(long)]
    protected: bool,
    /// Only those that are not.
    #[arg(long, conflicts_with = "protected")]
    unprotected: bool,
    #[command(flatten)]
    list: ListArgs,
}

pub(super) async fn run(operator: &Operator, command: MachineCommand) -> Result<(), ProgramError> {
    match command {
        MachineCommand::List(args) => list(operator, args).await,
        MachineCommand::Show { machine } => {
            let machine: MachineView = operator.get(&path(&["machines", &machine])).await?;
            show::record(operator.output, &machine, &HEADS, row(&machine));
            Ok(())
        }
    }
}

pub(super) async fn list(operator: &Operator, args: MachinesArgs) -> Result<(), ProgramError> {
    let protected = (args.protected || args.unprotected).then(|| args.protected.to_string());
    let query = Query::default()
        .with("site", args.site)
        .with("cloud", args.cloud)
        .with("host", args.host)
        .with("protected", protected);
    let machines: Vec<MachineView> = operator.list("machines", &args.list, query).await?;
    show::list(operator.output, &machines, &HEADS, row);
    Ok(())
}

const HEADS: [&str; 7] = ["machine", "host", "site", "power", "disks", "size", "protection"];

fn row(machine: &MachineView) -> Vec<String> {
    let (disks, size) = (machine.disks.join(", "), show::size(machine.size));
    let (name, host, site) = (machine.name.clone(), machine.host.clone(), machine.site.clone());
    vec![name, host, site, machine.power.clone(), disks, size, show::or_dash(&machine.protection)]
}
