//! The form of some types in a manifest.

use std::fmt;

use serde::de::Error;

use crate::host::{HostRule, TcpRule};
use crate::http::HttpRule;
use crate::name::Name;
use crate::push::PushRule;
use crate::retry::Retries;

/// One text: written by `Display`, read by `FromStr`.
macro_rules! as_text {
    ($($type:ty),*) => {$(
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(Error::custom)
            }
        }
    )*};
}
as_text!(Name, HostRule, HttpRule, TcpRule, PushRule);

impl serde::Serialize for Retries {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Retries::Limited(n) => serializer.serialize_u32(*n),
            Retries::Forever => serializer.serialize_str("forever"),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Retries {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RetriesVisitor)
    }
}

/// Accepts a count or a keyword, and buffers nothing for any other input.
struct RetriesVisitor;

impl serde::de::Visitor<'_> for RetriesVisitor {
    type Value = Retries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a count or \"forever\"")
    }

    fn visit_u64<E: serde::de::Error>(self, n: u64) -> Result<Retries, E> {
        let count = u32::try_from(n).map_err(|_| E::custom("retries is above 4294967295"))?;
        Ok(Retries::Limited(count))
    }

    fn visit_i64<E: serde::de::Error>(self, n: i64) -> Result<Retries, E> {
        let count = u64::try_from(n).map_err(|_| E::custom("retries is a count, not negative"))?;
        self.visit_u64(count)
    }

    fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Retries, E> {
        match word {
            "forever" => Ok(Retries::Forever),
            _ => Err(E::custom("retries is a count or \"forever\"")),
        }
    }
}
