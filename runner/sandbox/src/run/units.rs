//! Numbers as they are shown in messages.

/// Bytes in the largest unit that is exact.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 30 && b % (1 << 30) == 0 => format!("{} GiB", b >> 30),
        b if b >= 1 << 20 && b % (1 << 20) == 0 => format!("{} MiB", b >> 20),
        b if b >= 1 << 10 && b % (1 << 10) == 0 => format!("{} KiB", b >> 10),
        b => format!("{} bytes", grouped(b)),
    }
}

/// 10000000 as `10,000,000`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_counts_are_readable() {
        assert_eq!(size(64 << 20), "64 MiB");
        assert_eq!(size(1 << 10), "1 KiB");
        assert_eq!(size(1_500), "1,500 bytes");
        assert_eq!(grouped(10_000_000_000), "10,000,000,000");
        assert_eq!(grouped(7), "7");
    }
}
