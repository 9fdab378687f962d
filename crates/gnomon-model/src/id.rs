//! Names of things: product, device, envelope, call.
//!
//! Invariants: a value of these types has passed its grammar; nothing downstream checks it again.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why a text is not a name of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind}: {rule}")]
pub struct NameError {
    kind: &'static str,
    text: String,
    rule: &'static str,
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $valid:path, $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses the name.
            ///
            /// # Errors
            /// The text breaks the grammar; the error says which rule.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                if $valid(text) {
                    return Ok(Self(Arc::from(text)));
                }
                let text = text.chars().take(80).collect::<String>();
                Err(NameError { kind: $kind, text: text.escape_debug().to_string(), rule: $rule })
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

name_type!(
    /// Key of a product, which has a thing model: 1 to 32 of `A-Z a-z 0-9 _ -`.
    ///
    /// Alibaba issues 11 letters and digits (`wire/alibaba.md` 1); people choose words.
    ProductKey, "product key", valid_product, "use 1 to 32 of A-Z a-z 0-9 _ -"
);

name_type!(
    /// Name of a device, unique in its product: 1 to 64 characters, none of `/ + # &`, no white
    /// space, no control character, not `.` or `..`, not starting with `$` (`wire/alibaba.md` 1).
    DeviceName, "device name", valid_device,
    "use 1 to 64 characters without / + # &, white space or control characters, not . or .., not starting with $"
);

name_type!(
    /// Id of an envelope, unique in a deployment: 1 to 64 of `A-Z a-z 0-9 _ -`. Made at the edge.
    EnvelopeId, "envelope id", valid_envelope, "use 1 to 64 of A-Z a-z 0-9 _ -"
);

fn word(text: &str, length_max: usize) -> bool {
    (1..=length_max).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn valid_product(text: &str) -> bool {
    word(text, 32)
}

fn valid_envelope(text: &str) -> bool {
    word(text, 64)
}

fn valid_device(text: &str) -> bool {
    let length = text.chars().take(65).count();
    (1..=64).contains(&length)
        && !text.starts_with('$')
        && text != "."
        && text != ".."
        && !text
            .chars()
            .any(|c| matches!(c, '/' | '+' | '#' | '&') || c.is_whitespace() || c.is_control())
}

/// A device of a product. Written `product/device`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeviceKey {
    /// The product.
    pub product: ProductKey,
    /// The device in it.
    pub device: DeviceName,
}

impl DeviceKey {
    /// Parses both names.
    ///
    /// # Errors
    /// One of the two breaks its grammar.
    pub fn parse(product: &str, device: &str) -> Result<Self, NameError> {
        Ok(Self { product: ProductKey::parse(product)?, device: DeviceName::parse(device)? })
    }

    /// Partition of this device among `count` partitions, the same on every platform for ever
    /// (FNV-1a over `product/device`, modulo `count`).
    ///
    /// # Panics
    /// `count` is zero.
    #[must_use]
    pub fn partition(&self, count: u16) -> u16 {
        let hash = fnv1a(&[self.product.as_str(), "/", self.device.as_str()]);
        u16::try_from(hash % u64::from(count)).expect("a remainder is below its u16 divisor")
    }
}

impl fmt::Display for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.product, self.device)
    }
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Id of a call to a device: decimal digits of a 32-bit number, since Alink firmware parses it as
/// one (`wire/alibaba.md` 4.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CallId(pub u32);

impl CallId {
    /// Derives the id of the `index`-th call that the step of `envelope` makes.
    #[must_use]
    pub fn derive(envelope: &EnvelopeId, index: usize) -> Self {
        let hash = fnv1a(&[envelope.as_str(), "#", &index.to_string()]);
        Self((hash ^ (hash >> 32)) as u32)
    }

    /// Parses decimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }
}

impl TryFrom<String> for CallId {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("`{text}` is not a call id: use decimal digits"))
    }
}

impl From<CallId> for String {
    fn from(id: CallId) -> String {
        id.to_string()
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// 64-bit FNV-1a over the parts in order, as if they were one text.
#[must_use]
pub fn fnv1a(parts: &[&str]) -> u64 {
    parts.iter().flat_map(|part| part.bytes()).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names_of_the_wild_are_sorted_right() {
        for name in ["lamp-01", "a.b:c@d_e", "设备", "A1:B2:C3:D4:E5:F6", &"x".repeat(64)] {
            assert!(DeviceName::parse(name).is_ok(), "{name}");
        }
        let long = "x".repeat(65);
        for name in ["", "a/b", "+", "#", "a&b", "a b", "\0", "..", ".", "$SYS", "a\n", &long] {
            assert!(DeviceName::parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_partition_never_moves() {
        let key = DeviceKey::parse("coldroom", "room-1").unwrap();
        assert_eq!(key.partition(1), 0);
        assert_eq!(key.partition(64), 44);
    }

    #[test]
    fn an_error_shows_the_text_escaped() {
        let error = ProductKey::parse("a\u{1b}[31m").unwrap_err().to_string();
        assert!(error.contains(r"a\u{1b}[31m"), "{error}");
    }
}
