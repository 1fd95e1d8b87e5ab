//! Shared secret of machines that work together: without it no connection comes about.

use std::fmt;

use libp2p::pnet::PreSharedKey;
use sha2::{Digest, Sha256};

use super::MachinesError;

/// Characters of a secret, at least. The first bytes of a connection are known, so a recorded connection lets secrets be
/// tried in any number: only a random one of 128 bits or more withstands, which as hexadecimal digits has this length.
const LEAST: usize = 32;
/// What the key is for; another use of the same secret then has another key.
const DOMAIN: &[u8] = b"heartstream machines 1\n";

/// A secret that every machine of a group has. Only the key that is made of it is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SharedSecret([u8; 32]);

impl SharedSecret {
    /// The secret, without white space around it.
    ///
    /// # Errors
    /// When it is shorter than 32 characters.
    pub fn new(secret: &str) -> Result<Self, MachinesError> {
        let secret = secret.trim();
        let found = secret.chars().count();
        if found < LEAST {
            return Err(MachinesError::Token { least: LEAST, found });
        }
        Ok(Self(Sha256::new().chain_update(DOMAIN).chain_update(secret).finalize().into()))
    }

    pub(super) fn key(self) -> PreSharedKey {
        PreSharedKey::new(self.0)
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_the_same_with_white_space_around_it_and_another_one_is_not() {
        let secret = "0123456789abcdef0123456789abcdef";
        let token = SharedSecret::new(secret).expect("a secret");
        assert_eq!(SharedSecret::new(&format!("\n{secret} \n")).expect("a secret"), token);
        assert_ne!(SharedSecret::new(&secret.replace('f', "0")).expect("a secret"), token);
        assert_eq!(format!("{token:?}"), "SharedSecret(…)");
    }

    #[test]
    fn a_secret_that_can_be_tried_out_is_refused() {
        let error = SharedSecret::new(&"x".repeat(31)).expect_err("too short").to_string();
        assert!(error.contains("31 characters") && error.contains("at least 32"), "{error}");
    }
}
