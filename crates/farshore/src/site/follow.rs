//! Where the vault is, told anew: it was restored on another machine, or a second one may take
//! over. Who it is does not change: it has to prove that, and nothing is written before.

use farshore_channel::{Call, ChannelError, Client, Expected, Keyring};
use farshore_pki::{Credentials, Role};

use super::{SiteConfig, place_of, save_place};
use crate::ProgramError;

/// What a site server follows from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    /// Where the vault was.
    pub before: String,
    /// Where it is.
    pub now: String,
}

/// Keeps another address of the vault, or several with commas between. With `unseen` it is not
/// asked before whether it is there.
///
/// # Errors
/// No vault answers there, or another one; files that cannot be written.
pub async fn follow(config: &SiteConfig, address: &str, unseen: bool) -> Result<Followed, ProgramError> {
    let place = place_of(&config.data_dir)?;
    if address
        .split(',')
        .any(|one| one.trim().rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()))
    {
        let what = format!("'{address}' is no address of a vault");
        return Err(ProgramError::usage(what, "write HOST:PORT, or several with commas between"));
    }
    if !unseen {
        let keyring = Keyring::new(Credentials::load(&config.data_dir)?)?;
        let expected = Expected { role: Role::Vault, id: Some(place.id) };
        prove(&Client::new(keyring, address, expected)).await?;
    }
    let now = place.moved(address);
    save_place(&config.data_dir, &now)?;
    Ok(Followed { before: place.address, now: now.address })
}

/// Any answer over a connection of the vault's proves who it is; which path was asked for is
/// all the same.
async fn prove(vault: &Client) -> Result<(), ProgramError> {
    match vault.get::<serde_json::Value>("/", Call::single()).await {
        Ok(_) | Err(ChannelError::Refused { .. } | ChannelError::Malformed { .. }) => Ok(()),
        Err(error) => {
            let advice = format!("{}; to keep the address unseen, add --unseen", error.advice());
            Err(ProgramError::usage(format!("no vault of this site was found: {error}"), advice))
        }
    }
}
