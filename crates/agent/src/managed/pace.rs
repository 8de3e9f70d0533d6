//! When a request is begun (rule R7): one that deletes anything only while the vault answers,
//! and by the vault's clock. Pure: this module must never do a request's work, nor look at a
//! clock.

use farshore_control::request::{Ending, Request};

/// What is to be done about a request now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Its work begins, or begins again.
    Work,
    /// It ends like this, without any work.
    End(Ending),
    /// The vault has to answer first.
    Wait,
}

/// By what the vault's clock says now, where it was asked since the request came.
#[must_use]
pub fn step(request: &Request, begun: bool, vault_ms: Option<u64>) -> Step {
    if !request.action.is_drastic() {
        // What changes nothing that matters may as well be late.
        return match vault_ms {
            Some(now) if !begun && request.is_expired(now) => Step::End(Ending::Expired),
            _ => Step::Work,
        };
    }
    if request.expires_ms.is_none() {
        let what = "a request that deletes something must expire, and this one does not".to_owned();
        let advice = "report this as a fault of the vault".to_owned();
        return Step::End(Ending::Failed { what, advice });
    }
    match vault_ms {
        // It may have been done in part: half a thing is to be finished, whatever the time.
        _ if begun => Step::Work,
        None => Step::Wait,
        Some(now) if request.is_expired(now) => Step::End(Ending::Expired),
        Some(_) => Step::Work,
    }
}

#[cfg(test)]
mod tests {
    use farshore_control::request::Action;
    use farshore_types::{Epoch, MachineId, RequestId};
    use uuid::Uuid;

    use super::*;

    fn request(action: Action, expires_ms: Option<u64>) -> Request {
        Request { id: RequestId(Uuid::nil()), expires_ms, action }
    }

    fn deletion(expires_ms: Option<u64>) -> Request {
        let machine = MachineId(Uuid::nil());
        request(Action::DeleteReplica { machine, epoch: Epoch { number: 1, token: 1 } }, expires_ms)
    }

    #[test]
    fn a_deletion_waits_for_the_vaults_word_and_expires_by_its_clock() {
        assert_eq!(step(&deletion(Some(1000)), false, None), Step::Wait);
        assert_eq!(step(&deletion(Some(1000)), false, Some(1000)), Step::Work);
        assert_eq!(step(&deletion(Some(1000)), false, Some(1001)), Step::End(Ending::Expired));
        assert!(matches!(step(&deletion(None), false, Some(1)), Step::End(Ending::Failed { .. })));
    }

    #[test]
    fn half_a_deletion_is_finished_whatever_the_time() {
        assert_eq!(step(&deletion(Some(1000)), true, None), Step::Work);
        assert_eq!(step(&deletion(Some(1000)), true, Some(5000)), Step::Work);
    }

    #[test]
    fn what_changes_nothing_needs_nobodys_word() {
        let definition = Action::Definition { machine: MachineId(Uuid::nil()) };
        assert_eq!(step(&request(definition.clone(), None), false, None), Step::Work);
        assert_eq!(step(&request(definition, Some(5)), false, Some(6)), Step::End(Ending::Expired));
    }
}
