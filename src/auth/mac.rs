//! HMAC, over ring's. What is here beside it is the comparison in constant time of a state that has no key
//! any more.

use ring::hmac::{Algorithm, Context, HMAC_SHA1_FOR_LEGACY_USE_ONLY, HMAC_SHA256, Key, Tag};
use subtle::ConstantTimeEq;

/// An HMAC that waits for its text, or for more of it.
#[derive(Clone)]
pub struct Mac(Context);

impl Mac {
    /// HMAC-SHA256 with a key of any length.
    pub fn sha256(key: &[u8]) -> Mac {
        Mac::new(HMAC_SHA256, key)
    }

    /// HMAC-SHA1, for signatures of version 2.
    pub fn sha1(key: &[u8]) -> Mac {
        Mac::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, key)
    }

    fn new(algorithm: Algorithm, key: &[u8]) -> Mac {
        Mac(Context::with_key(&Key::new(algorithm, key)))
    }

    /// Adds text.
    pub fn update(&mut self, text: &[u8]) {
        self.0.update(text);
    }

    /// Adds text, and passes on.
    pub fn chain_update(mut self, text: impl AsRef<[u8]>) -> Mac {
        self.update(text.as_ref());
        self
    }

    /// The code of the text.
    pub fn finalize(self) -> Tag {
        self.0.sign()
    }

    /// Whether this is the code of the text. Takes the same time wherever they differ.
    pub fn verifies(self, provided: &[u8]) -> bool {
        self.finalize().as_ref().ct_eq(provided).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::hex;

    #[test]
    fn the_codes_are_those_of_the_rfcs() {
        // RFC 4231 and RFC 2202, test cases 2 and (a key longer than a block) 6.
        let code = |mac: Mac, text: &str| hex(mac.chain_update(text).finalize().as_ref());
        let (text, long) =
            ("what do ya want for nothing?", "Test Using Larger Than Block-Size Key - Hash Key First");
        assert_eq!(
            code(Mac::sha256(b"Jefe"), text),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(code(Mac::sha1(b"Jefe"), text), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
        assert_eq!(
            code(Mac::sha256(&[0xaa; 131]), long),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
        assert_eq!(code(Mac::sha1(&[0xaa; 80]), long), "aa4ae5e15272d00e95705637ce8a3b55ed402112");
    }

    #[test]
    fn only_the_whole_code_verifies() {
        let mac = Mac::sha256(b"key").chain_update("text");
        let code = mac.clone().finalize().as_ref().to_vec();
        assert!(mac.clone().verifies(&code));
        for at in 0..code.len() {
            let mut other = code.clone();
            other[at] ^= 1;
            assert!(!mac.clone().verifies(&other) && !mac.clone().verifies(&code[..at]), "{at}");
        }
        assert!(!mac.verifies(&[&code[..], &[0]].concat()));
    }
}
