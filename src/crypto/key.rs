//! A 256-bit key, and the three things that are done with one: deriving, wrapping, sealing.

use crate::codec::{base64, random, unbase64};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};
use ring::hmac;
use std::fmt;

/// The length of every key in bytes.
pub const KEY_BYTES: usize = 32;
/// The length of every salt in bytes. Random salts of this length do not repeat.
pub const SALT_BYTES: usize = 16;
/// The length of an authentication tag in bytes.
pub const TAG_BYTES: usize = 16;

/// A 256-bit key. Is never shown, not even by `Debug`.
#[derive(Clone)]
pub struct Key([u8; KEY_BYTES]);

impl Key {
    /// A new random key.
    pub fn random() -> Key {
        Key(random())
    }

    /// A key that came from elsewhere; `None` unless it has [`KEY_BYTES`] bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Key> {
        Some(Key(bytes.try_into().ok()?))
    }

    /// The key itself, for the file that keeps it.
    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// The HMAC-SHA256 under this key of a purpose and what is particular to the case. Purposes are
    /// constants of this program, none of which is the beginning of another.
    pub fn mac(&self, purpose: &'static str, bytes: &[u8]) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let mut mac = hmac::Context::with_key(&key);
        mac.update(purpose.as_bytes());
        mac.update(&[0]);
        mac.update(bytes);
        mac.sign().as_ref().try_into().expect("HMAC-SHA256 has 32 bytes")
    }

    /// A key for one purpose, which tells nothing of this one.
    pub fn derive(&self, purpose: &'static str, salt: &[u8; SALT_BYTES]) -> Key {
        Key(self.mac(purpose, salt))
    }

    /// Wraps a key: base64 of salt, encrypted key and tag. The wrapping key is derived for this one
    /// use, so the nonce can be constant however often a master key is used.
    pub fn wrap(&self, key: &Key, context: &[u8]) -> String {
        let salt = random();
        let mut wrapped = key.0;
        let tag = self.derive(WRAP, &salt).seal(0, true, context, &mut wrapped);
        base64(&[salt.as_slice(), &wrapped, &tag].concat())
    }

    /// Unwraps a key that was wrapped by this one in the same context; `None` for anything else.
    pub fn unwrap_key(&self, wrapped: &str, context: &[u8]) -> Option<Key> {
        let bytes = unbase64(wrapped)?;
        let (salt, rest) = bytes.split_first_chunk::<SALT_BYTES>()?;
        let (wrapped, tag) = rest.split_first_chunk::<KEY_BYTES>()?;
        let mut key = *wrapped;
        let opened = self.derive(WRAP, salt).open(0, true, context, &mut key, tag);
        opened.then_some(Key(key))
    }

    /// Makes the cipher once for many chunks.
    pub fn cipher(&self) -> Cipher {
        let key = UnboundKey::new(&AES_256_GCM, &self.0).expect("the key has the length of AES-256");
        Cipher(LessSafeKey::new(key))
    }

    fn seal(&self, number: u32, last: bool, context: &[u8], bytes: &mut [u8]) -> [u8; TAG_BYTES] {
        self.cipher().seal(number, last, context, bytes)
    }

    fn open(&self, number: u32, last: bool, context: &[u8], bytes: &mut [u8], tag: &[u8]) -> bool {
        self.cipher().open(number, last, context, bytes, tag)
    }
}

const WRAP: &str = "s3pail wrap 1";

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Best effort: memory that held a key does not keep it for longer than the key lives.
impl Drop for Key {
    fn drop(&mut self) {
        self.0.fill(0);
        std::hint::black_box(&self.0);
    }
}

/// AES-256-GCM under one key, for messages with numbers.
pub struct Cipher(LessSafeKey);

impl Cipher {
    /// Encrypts in place and returns the tag. No number may be used twice under one key; `last` tells
    /// the end of a run of messages from its middle. `bytes` are far fewer than the 64 GiB that GCM
    /// takes.
    pub fn seal(&self, number: u32, last: bool, context: &[u8], bytes: &mut [u8]) -> [u8; TAG_BYTES] {
        let tag = self.0.seal_in_place_separate_tag(nonce(number, last), Aad::from(context), bytes);
        let tag = tag.expect("a chunk is shorter than what GCM can encrypt");
        tag.as_ref().try_into().expect("a tag of GCM has sixteen bytes")
    }

    /// Decrypts in place; `false` (and `bytes` are worthless) unless they are what was sealed.
    pub fn open(&self, number: u32, last: bool, context: &[u8], bytes: &mut [u8], tag: &[u8]) -> bool {
        let Ok(tag) = Tag::try_from(tag) else { return false };
        let context = Aad::from(context);
        self.0.open_in_place_separate_tag(nonce(number, last), context, tag, bytes, 0..).is_ok()
    }
}

fn nonce(number: u32, last: bool) -> Nonce {
    let mut nonce = [0; 12];
    nonce[7..11].copy_from_slice(&number.to_be_bytes());
    nonce[11] = u8::from(last);
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapped_key_opens_only_under_its_master_and_in_its_context() {
        let (master, key) = (Key::random(), Key::random());
        let wrapped = master.wrap(&key, b"here");
        assert_eq!(master.unwrap_key(&wrapped, b"here").expect("opens").0, key.0);
        assert!(master.unwrap_key(&wrapped, b"there").is_none());
        assert!(Key::random().unwrap_key(&wrapped, b"here").is_none());
        assert_ne!(wrapped, master.wrap(&key, b"here"), "a salt is used once");
        for at in 0..64 {
            let mut bytes = unbase64(&wrapped).expect("base64");
            bytes[at] ^= 1;
            assert!(master.unwrap_key(&base64(&bytes), b"here").is_none(), "byte {at}");
        }
        for wrapped in ["", "AAAA", "not base64!"] {
            assert!(master.unwrap_key(wrapped, b"here").is_none(), "{wrapped}");
        }
    }

    #[test]
    fn the_cipher_is_aes_256_gcm() {
        // GCM test case 13 of McGrew and Viega: a key and a nonce of zeros, no text.
        let cipher = Key([0; KEY_BYTES]).cipher();
        let tag = cipher.seal(0, false, b"", &mut []);
        assert_eq!(crate::codec::hex(&tag), "530f8afbc74536b9a963b4f1c4cb738b");
        // Test case 14: sixteen zero bytes.
        let mut bytes = [0; 16];
        let tag = cipher.seal(0, false, b"", &mut bytes);
        assert_eq!(crate::codec::hex(&bytes), "cea7403d4d606b6e074ec5d3baf39d18");
        assert_eq!(crate::codec::hex(&tag), "d0d1c8a799996bf0265b98b5d48ab919");
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(format!("{:?}", Key([7; KEY_BYTES])), "Key(..)");
        assert!(Key::from_bytes(&[0; 31]).is_none() && Key::from_bytes(&[0; 33]).is_none());
    }
}
