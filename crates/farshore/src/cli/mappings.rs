//! Mappings of networks and storage classes.

use axum::http::Method;
use clap::Subcommand;

use super::{
    operator::{ListArgs, Operator, Query},
    show,
};
use crate::{
    ProgramError,
    views::{Mapped, MappingView},
};

#[derive(Debug, Subcommand)]
pub(crate) enum MappingCommand {
    /// Lists the mappings.
    #[command(after_help = "Examples:\n  farshore mapping list\n  farshore mapping list --of network")]
    List {
        /// Only those of this.
        #[arg(long, value_enum)]
        of: Option<Mapped>,
        /// Only those from or to this site.
        #[arg(long)]
        site: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Says what a network or a storage class of one site is at another.
    #[command(after_help = "Example:\n  farshore mapping set network east/production west/production-dr")]
    Set(MapArgs),
    /// Ends a mapping.
    #[command(after_help = "Example:\n  farshore mapping remove network east/production west")]
    Remove {
        /// What: a network or a storage class.
        #[arg(value_enum)]
        of: Mapped,
        /// Site where machines come from, and the name there: SITE/NAME.
        from: String,
        /// Site where replicas are.
        to: String,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct MapArgs {
    /// What: a network or a storage class.
    #[arg(value_enum)]
    of: Mapped,
    /// Site where machines come from, and the name there: SITE/NAME.
    from: String,
    /// Site where replicas are, and the name there: SITE/NAME; SITE/ ends the mapping.
    to: String,
}

pub(super) async fn run(operator: &Operator, command: MappingCommand) -> Result<(), ProgramError> {
    match command {
        MappingCommand::List { of, site, list } => {
            let query = Query::default().with("of", of.map(Mapped::word)).with("site", site);
            let mappings: Vec<MappingView> = operator.list("mappings", &list, query).await?;
            show::list(operator.output, &mappings, &["of", "from", "to"], |one| {
                let (from, to) =
                    (format!("{}/{}", one.from_site, one.from), format!("{}/{}", one.to_site, one.to));
                vec![one.of.word().to_owned(), from, to]
            });
            Ok(())
        }
        MappingCommand::Set(args) => set(operator, args).await,
        MappingCommand::Remove { of, from, to } => {
            let (from_site, from) = parts(&from)?;
            remove(operator, of, from_site, from, &to).await
        }
    }
}

pub(super) async fn set(operator: &Operator, args: MapArgs) -> Result<(), ProgramError> {
    let ((from_site, from), (to_site, to)) = (parts(&args.from)?, parts(&args.to)?);
    if to.is_empty() {
        return remove(operator, args.of, from_site, from, to_site).await;
    }
    let [from_site, from, to_site, to] = [from_site, from, to_site, to].map(str::to_owned);
    let mapping = MappingView { of: args.of, from_site, from, to_site, to };
    let done = operator.order(Method::PUT, "mappings", Some(&mapping)).await?;
    operator.told(&done, &format!("{} is {} there", args.from, args.to));
    Ok(())
}

async fn remove(
    operator: &Operator,
    of: Mapped,
    from_site: &str,
    from: &str,
    to_site: &str,
) -> Result<(), ProgramError> {
    let query = Query::default()
        .with("of", Some(of.word()))
        .with("from_site", Some(from_site))
        .with("from", Some(from))
        .with("to_site", Some(to_site));
    let done = operator.order_bare(Method::DELETE, &format!("mappings{query}")).await?;
    operator.told(&done, &format!("{from_site}/{from} is mapped to nothing at '{to_site}'"));
    Ok(())
}

fn parts(text: &str) -> Result<(&str, &str), ProgramError> {
    text.split_once('/').ok_or_else(|| {
        ProgramError::usage(format!("'{text}' is not of the form SITE/NAME"), "such as east/production")
    })
}
