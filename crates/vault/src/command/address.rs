//! The addresses that a guest should have on each side. Who gives them to it is its hosts' matter.

use std::net::IpAddr;

use farshore_control::CardAddress;
use farshore_types::MachineId;

use crate::{Answer, Core, Finding, Problem, Severity, rows::ProtectionRow};

/// Most cards of a machine that can have addresses.
const CARDS_MAX: usize = 64;

impl Core {
    /// Says which address a network card should have on each side; none on both: nothing is said
    /// of it any more.
    pub(super) fn set_address(
        &mut self,
        machine: MachineId,
        card: &str,
        home: Option<IpAddr>,
        away: Option<IpAddr>,
    ) -> Result<Answer, Problem> {
        let card = card_of(card)?;
        let row = self.tables.protections.get(&machine).filter(|row| row.is_live());
        let row = row.ok_or_else(|| Problem::unknown("protection", format_args!("of machine {machine}")))?;
        if home.is_some() || away.is_some() {
            self.has_card(row, &card)?;
        }
        for address in [home, away].into_iter().flatten() {
            check_address(address)?;
            let taken = |own: &CardAddress| own.card != card && [own.home, own.away].contains(&Some(address));
            if row.addresses.iter().any(taken) {
                let what = format!("another card of machine '{}' is to have address {address}", row.name);
                return Err(Problem::conflict("address-taken", what, "give each card one of its own"));
            }
        }
        let mut addresses = row.addresses.clone();
        addresses.retain(|known| known.card != card);
        if home.is_some() || away.is_some() {
            if addresses.len() >= CARDS_MAX {
                let what = format!("{CARDS_MAX} cards of machine '{}' have addresses already", row.name);
                return Err(Problem::refused("too-many-cards", what, "clear one that is not needed"));
            }
            addresses.push(CardAddress { card, home, away });
        }
        addresses.sort_by(|one, other| one.card.cmp(&other.card));
        let says = home.is_some() || away.is_some();
        let warnings = self.has_no_cards(row).filter(|_| says).into_iter().collect();
        let changed = self.tables.protections.change(&machine, |row| row.addresses = addresses);
        Ok(Answer { warnings, ..Answer::changed(changed) })
    }

    /// That its host shows the machine without any card. An agent of before tells of the networks
    /// of cards and not of the cards.
    fn has_no_cards(&self, row: &ProtectionRow) -> Option<Finding> {
        let shown = self.tables.machines.get(&(row.source(), row.machine))?;
        let none = shown.facts.cards.is_empty() && shown.facts.networks.is_empty();
        none.then(|| Finding {
            severity: Severity::Warning,
            code: "card-unknown".to_owned(),
            machine: Some(row.machine),
            what: format!("machine '{}' has no network card on '{}'", row.name, self.host_name(row.source())),
            advice: "the address is kept, and reserved once the machine has that card".to_owned(),
        })
    }

    /// That the machine has the card, where its host says which it has: an address that was meant
    /// for it, and is written for none, is missed after a failover only.
    fn has_card(&self, row: &ProtectionRow, card: &str) -> Result<(), Problem> {
        let shown = self.tables.machines.get(&(row.source(), row.machine));
        let Some(shown) = shown.filter(|shown| !shown.facts.cards.is_empty()) else { return Ok(()) };
        if shown.facts.cards.iter().any(|known| known == card) {
            return Ok(());
        }
        let what = format!("machine '{}' has no network card {card}", row.name);
        let there = shown.facts.cards.join(", ");
        Err(Problem::refused("card-unknown", what, &format!("it has: {there}")))
    }
}

/// A hardware address as definitions have it.
fn card_of(text: &str) -> Result<String, Problem> {
    let text = text.trim().to_lowercase().replace('-', ":");
    let bytes: Vec<&str> = text.split(':').collect();
    let hex = |byte: &&str| byte.len() == 2 && byte.bytes().all(|b| b.is_ascii_hexdigit());
    if bytes.len() != 6 || !bytes.iter().all(hex) {
        let what = format!("'{text}' is no hardware address of a network card");
        return Err(Problem::invalid("card", what, "write it as 52:54:00:12:34:56; the definition has it"));
    }
    Ok(text)
}

fn check_address(address: IpAddr) -> Result<(), Problem> {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() || broadcast {
        let what = format!("{address} cannot be the address of a guest");
        return Err(Problem::invalid("address", what, "use one of the network that the card is in"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_told_by_hardware_addresses_however_they_are_written() {
        assert_eq!(card_of("52:54:00:AB:cd:0f").unwrap(), "52:54:00:ab:cd:0f");
        assert_eq!(card_of(" 52-54-00-ab-cd-0f ").unwrap(), "52:54:00:ab:cd:0f");
        for wrong in ["", "eth0", "52:54:00:ab:cd", "52:54:00:ab:cd:0", "52:54:00:ab:cd:0g", "::::::"] {
            assert_eq!(card_of(wrong).unwrap_err().code, "card", "{wrong}");
        }
    }

    #[test]
    fn what_no_guest_can_have_is_refused() {
        for wrong in ["0.0.0.0", "255.255.255.255", "224.0.0.1", "127.0.0.1", "::", "ff02::1"] {
            assert!(check_address(wrong.parse().unwrap()).is_err(), "{wrong}");
        }
        check_address("10.1.0.5".parse().unwrap()).unwrap();
        check_address("fd00::5".parse().unwrap()).unwrap();
    }
}
