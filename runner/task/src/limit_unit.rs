//! The unit of a limit, and how its value is written.

use std::time::Duration;

/// How the value of a limit is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitUnit {
    /// A whole number: `20k`.
    Count,
    /// Bytes: `4MiB`.
    Bytes,
    /// Bytes, not less than this many.
    BytesFrom(u64),
    /// Bytes of a WebAssembly memory: one page (64 KiB) to 4 GiB.
    Memory,
    /// A duration, stored in milliseconds: `30s`.
    Time,
}

impl LimitUnit {
    /// `number` in the largest unit that divides it, in the syntax of the configuration.
    pub fn text(self, number: u64) -> String {
        let units: &[(u64, &str)] = match self {
            LimitUnit::Count => &[(1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")],
            LimitUnit::Time => &[(3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")],
            _ => &[
                (1 << 30, "GiB"),
                (1 << 20, "MiB"),
                (1 << 10, "KiB"),
                (1, "B"),
            ],
        };
        let fits = |(size, _): &&(u64, &str)| number != 0 && number.is_multiple_of(*size);
        match units.iter().find(fits) {
            Some((size, unit)) => format!("{}{unit}", number / size),
            None if self == LimitUnit::Time => format!("{number}ms"),
            None => number.to_string(),
        }
    }
}

/// A type of a field of [`Limits`].
pub(crate) trait Quantity {
    const MAX: u64;
    fn to_number(&self) -> u64;
    fn of_number(number: u64) -> Self;
}

impl Quantity for u64 {
    const MAX: u64 = u64::MAX;
    fn to_number(&self) -> u64 {
        *self
    }
    fn of_number(number: u64) -> Self {
        number
    }
}

impl Quantity for u32 {
    const MAX: u64 = u32::MAX as u64;
    fn to_number(&self) -> u64 {
        u64::from(*self)
    }
    fn of_number(number: u64) -> Self {
        u32::try_from(number).unwrap_or(u32::MAX)
    }
}

/// In milliseconds, rounded up: a shorter time is not 0.
impl Quantity for Duration {
    const MAX: u64 = u64::MAX;
    fn to_number(&self) -> u64 {
        u64::try_from(self.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)
    }
    fn of_number(number: u64) -> Self {
        Duration::from_millis(number)
    }
}
