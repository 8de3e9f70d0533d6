//! The authority's private key as it is kept and copied: encrypted, so that whoever takes a
//! vault's database, a backup or a site's warm copy of it does not have the authority.
//!
//! The same key may be sealed several times: for the [`RecoveryKey`] that people keep, and
//! for an [`UnlockKey`], a file of one machine that is in no copy and lets its vault start
//! by itself.

use std::{fs, io, path::Path};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Salt},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rcgen::KeyPair;
use zeroize::Zeroizing;

use crate::{Authority, Fingerprint, PkiError, RecoveryKey, certificate, random, store};

/// What a sealed key's text begins with; the digit is the version of the format.
const PREFIX: &str = "fsseal1.";
const SALT_LEN: usize = 16;
const KEY_LEN: usize = 32;
/// Most bytes of a sealed key's text: a private key has some hundred.
const TEXT_MAX: usize = 16 * 1024;

/// What a key can be sealed for.
pub trait SealingKey {
    /// The secret itself, at least 128 bits of randomness: no guessing has to be slowed
    /// down by what is derived from it.
    fn secret(&self) -> &[u8];
    /// A word that keeps kinds of keys apart.
    fn kind(&self) -> &'static str;
}

/// A secret file of one machine, by which its vault opens the authority's key at start.
pub struct UnlockKey(Zeroizing<[u8; KEY_LEN]>);

impl UnlockKey {
    /// Reads the file, or makes it (mode 0600) with a new secret.
    ///
    /// # Errors
    /// The file cannot be read or written, or is not one of ours.
    pub fn load_or_create(path: &Path) -> Result<UnlockKey, PkiError> {
        match fs::symlink_metadata(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let key = Zeroizing::new(random::bytes::<KEY_LEN>());
                store::write_secret(path, &random::to_hex(&*key))?;
                Ok(UnlockKey(key))
            }
            _ => UnlockKey::load(path),
        }
    }

    /// Reads the file.
    ///
    /// # Errors
    /// The file is missing, cannot be read, or is not one of ours.
    pub fn load(path: &Path) -> Result<UnlockKey, PkiError> {
        let text = Zeroizing::new(store::read(path)?);
        let key = random::from_hex(text.trim()).and_then(|bytes| <[u8; KEY_LEN]>::try_from(bytes).ok());
        key.map(|key| UnlockKey(Zeroizing::new(key))).ok_or_else(|| PkiError::Malformed {
            path: path.to_owned(),
            what: "unlock key",
            why: format!("expected {} hexadecimal digits", 2 * KEY_LEN),
        })
    }
}

impl SealingKey for UnlockKey {
    fn secret(&self) -> &[u8] {
        &*self.0
    }

    fn kind(&self) -> &'static str {
        "unlock"
    }
}

impl SealingKey for RecoveryKey {
    fn secret(&self) -> &[u8] {
        self.bytes()
    }

    fn kind(&self) -> &'static str {
        "recovery"
    }
}

impl Authority {
    /// The private key, encrypted: a text without line breaks, to be kept anywhere.
    ///
    /// # Errors
    /// [`PkiError::UnsoundSeal`] where encryption fails, which has no known cause.
    pub fn seal(&self, key: &impl SealingKey) -> Result<String, PkiError> {
        let (salt, nonce) = (random::bytes::<SALT_LEN>(), random::bytes::<NONCE_LEN>());
        let fingerprint = self.fingerprint()?;
        let cipher = cipher(key, &salt)?;
        let mut text = self.issuer().key().serialize_der();
        cipher
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(fingerprint.0),
                &mut text,
            )
            .map_err(|_| unsound("it cannot be encrypted"))?;
        let whole = [salt.as_slice(), &nonce, &text].concat();
        Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(whole)))
    }

    /// The authority of a certificate (PEM) and its sealed key.
    ///
    /// # Errors
    /// [`PkiError::UnsoundSeal`] for a damaged text, [`PkiError::WrongSealingKey`].
    pub fn unseal(cert_pem: &str, sealed: &str, key: &impl SealingKey) -> Result<Authority, PkiError> {
        let whole = sealed.trim().strip_prefix(PREFIX).filter(|text| text.len() <= TEXT_MAX);
        let whole = whole.ok_or_else(|| unsound("it does not begin as a sealed key does"))?;
        let whole = URL_SAFE_NO_PAD.decode(whole).map_err(|e| unsound(&e.to_string()))?;
        let parts = whole.split_first_chunk::<SALT_LEN>();
        let parts = parts.and_then(|(salt, rest)| Some((salt, rest.split_first_chunk::<NONCE_LEN>()?)));
        let (salt, (nonce, text)) = parts.ok_or_else(|| unsound("it is too short"))?;
        let cert_der = certificate::all_of("CERTIFICATE", cert_pem).unwrap_or_default();
        let cert_der = cert_der.first().ok_or(PkiError::Nameless)?;
        let facts = crate::Facts::of(cert_der)?;
        let mut text = Zeroizing::new(text.to_vec());
        let opened = cipher(key, salt)?.open_in_place(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(Fingerprint::of(cert_der).0),
            &mut text,
        );
        let wrong = || PkiError::WrongSealingKey { authority: facts.name.clone() };
        let opened = opened.map_err(|_| wrong())?;
        let key = KeyPair::try_from(&*opened).map_err(|e| unsound(&e.to_string()))?;
        if facts.public_key != key.public_key_raw() {
            return Err(wrong());
        }
        Authority::of_parts(cert_pem.to_owned(), key)
    }
}

fn cipher(key: &impl SealingKey, salt: &[u8]) -> Result<LessSafeKey, PkiError> {
    let derived = Salt::new(HKDF_SHA256, salt).extract(key.secret());
    let info = [b"farshore authority key", key.kind().as_bytes()];
    let mut bytes = Zeroizing::new([0; KEY_LEN]);
    let filled = derived.expand(&info, HKDF_SHA256).and_then(|okm| okm.fill(&mut *bytes));
    let made = filled.and_then(|()| UnboundKey::new(&AES_256_GCM, &*bytes));
    made.map(LessSafeKey::new).map_err(|_| unsound("no key can be derived"))
}

fn unsound(why: &str) -> PkiError {
    PkiError::UnsoundSeal { why: why.to_owned() }
}
