//! Everything by which a managed agent decides, without anything that it does: what is held
//! ([`Ledger`]), what is wanted of this host, who may write here, when a request is begun,
//! whom to ask. The whole-system simulation runs these, not a model of them. This module must
//! never hold anything that touches a file, a clock or the network.

pub use super::{
    admission::{Admission, halted, judge},
    age::Aged,
    contact::Contact,
    fencing::{Fence, fence, is_meant, wanted_here},
    kept::{Kept, KeptRequest},
    ledger::{Ledger, Taken},
    pace::{Step, step},
    wanted::{Pruning, Role, Wanted, is_target, pruning, source},
};
