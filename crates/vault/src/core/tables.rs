//! All tables, and what is done with each of them alike.

use super::LoadError;
use crate::{
    Change,
    rows::*,
    table::{Row, Table},
};

macro_rules! tables {
    (kept { $($kept:ident: $kept_row:ident,)* } in_memory { $($fleeting:ident: $fleeting_row:ident,)* }) => {
        /// All rows.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub(crate) struct Tables {
            $(pub(crate) $kept: Table<$kept_row>,)*
            $(pub(crate) $fleeting: Table<$fleeting_row>,)*
        }

        /// A place in the open transaction.
        pub(crate) struct Mark {
            $($kept: usize,)*
            $($fleeting: usize,)*
        }

        impl Tables {
            pub(crate) fn changes(&self) -> Vec<Change> {
                let mut changes = Vec::new();
                $(self.$kept.changes(&mut changes);)*
                changes
            }

            pub(crate) fn commit(&mut self) {
                $(self.$kept.commit();)*
                $(self.$fleeting.commit();)*
            }

            /// How often anything that is kept was touched in the open transaction.
            pub(crate) fn mark_of_kept(&self) -> usize {
                0 $(+ self.$kept.mark())*
            }

            /// The same of that from which documents are made: all but the jobs.
            pub(crate) fn mark_of_published(&self) -> usize {
                self.mark_of_kept() - self.jobs.mark()
            }

            /// Whether the open transaction has touched anything that is kept.
            pub(crate) fn has_kept_changes(&self) -> bool {
                self.mark_of_kept() > 0
            }

            pub(crate) fn mark(&self) -> Mark {
                Mark { $($kept: self.$kept.mark(),)* $($fleeting: self.$fleeting.mark(),)* }
            }

            pub(crate) fn roll_back(&mut self, mark: Mark) {
                $(self.$kept.roll_back(mark.$kept);)*
                $(self.$fleeting.roll_back(mark.$fleeting);)*
            }

            pub(crate) fn roll_back_all(&mut self) {
                self.roll_back(Mark { $($kept: 0,)* $($fleeting: 0,)* });
            }

            pub(crate) fn load(&mut self, kind: &str, key: &str, body: &[u8]) -> Result<(), LoadError> {
                let loaded = match kind {
                    $(<$kept_row as Row>::KIND => self.$kept.load(body),)*
                    _ => return Err(LoadError::Newer { kind: kind.to_owned() }),
                };
                let (kind, key) = (kind.to_owned(), key.to_owned());
                loaded.map_err(|why| LoadError::Damaged { kind, key, why })
            }
        }
    };
}

tables! {
    kept {
        head: HeadRow,
        trust: TrustRow,
        sites: SiteRow,
        clouds: CloudRow,
        hosts: HostRow,
        machines: MachineRow,
        policies: PolicyRow,
        associations: AssociationRow,
        networks: NetworkMapRow,
        storage: StorageMapRow,
        protections: ProtectionRow,
        epochs: EpochRow,
        requests: RequestRow,
        jobs: JobRow,
        documents: DocumentRow,
        tokens: TokenRow,
        operations: OperationRow,
        alerts: AlertRow,
        notices: NoticeRow,
    }
    in_memory {
        learning: LearningRow,
        observed: ObservedRow,
        suspects: SuspectRow,
    }
}
