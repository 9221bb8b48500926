//! Parsers of values such as `30s`, `64MiB` and `media=4,default=8,*`, for the command
//! line, the environment and `pgtq.toml`.

use std::time::Duration;

use pgtq_task::Name;

use super::QueueSlots;

/// Parses `30s`, `5m`, `1h30m` or `2 days`. A day is 24 hours.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!(
            "{text:?} is not a duration: write a number with a unit, such as `30s`, `5m` or `1h30m`"
        )
    };
    if text.trim().parse::<f64>().is_ok() {
        return Err(format!(
            "{text:?} has no unit: write `{}s` for seconds",
            text.trim()
        ));
    }
    let span: jiff::Span = text.trim().parse().map_err(|_| wrong())?;
    let signed = span
        .to_duration(jiff::SpanRelativeTo::days_are_24_hours())
        .map_err(|_| {
            format!("{text:?} has no fixed length: use weeks, days, hours, minutes or seconds")
        })?;
    Duration::try_from(signed).map_err(|_| format!("{text:?} is negative"))
}

/// Parses `64MiB`, `64MB`, `1GiB`, `512k` (1024), or a number of bytes.
pub fn size(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!(
            "{text:?} is not a size: write a number of bytes, or a number with KiB, MiB, GiB, kB, MB or GB"
        )
    };
    let text_trimmed = text.trim();
    let split = text_trimmed
        .find(|c: char| !c.is_ascii_digit() && c != '_')
        .unwrap_or(text_trimmed.len());
    let (digits, unit) = text_trimmed.split_at(split);
    let number: u64 = digits.replace('_', "").parse().map_err(|_| wrong())?;
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(factor)
        .ok_or_else(|| format!("{text:?} is too large"))
}

/// Parses the size of a WebAssembly memory: from one page (64 KiB) to 4 GiB.
pub fn memory(text: &str) -> Result<u64, String> {
    match size(text)? {
        bytes if bytes < 64 << 10 => Err(format!(
            "{text:?} is {bytes} bytes, less than one page of WebAssembly memory (64KiB); write a unit, such as `512MiB`"
        )),
        bytes if bytes > 4 << 30 => Err(format!(
            "{text:?} exceeds the maximum size of a WebAssembly memory (4GiB)"
        )),
        bytes => Ok(bytes),
    }
}

/// Parses a limit on crashes.
pub fn crashes(text: &str) -> Result<u32, String> {
    match count(text)? {
        n @ 1..=1000 => Ok(n as u32),
        n => Err(format!(
            "{n} is out of range: write a number from 1 to 1000"
        )),
    }
}

/// Parses a whole number, with `_` between digits and the decimal suffixes `k`, `M` and
/// `G`, as in `10G` for fuel.
pub fn count(text: &str) -> Result<u64, String> {
    let plain = text.trim().replace('_', "");
    let (digits, factor) = match plain.chars().last() {
        Some('k') => (&plain[..plain.len() - 1], 1_000),
        Some('M') => (&plain[..plain.len() - 1], 1_000_000),
        Some('G') => (&plain[..plain.len() - 1], 1_000_000_000),
        _ => (plain.as_str(), 1),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| format!("{text:?} is not a whole number"))
}

/// Parses `true`, `false`, `1`, `0`, `yes`, `no`, `on` or `off`.
pub fn flag(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" | "" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

/// Parses queues and their slots: `media=4,default=8,*`. `*` is every other queue. A queue
/// without a number has `None`, the concurrency of the runner.
pub fn queues(text: &str) -> Result<Vec<QueueSlots>, String> {
    let mut specs: Vec<QueueSlots> = Vec::new();
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let (name, slots) = match part.split_once('=') {
            None => (part, None),
            Some((name, slots)) => {
                let slots = slots.trim().parse::<u32>().ok().filter(|n| *n > 0);
                let slots = slots.ok_or_else(|| {
                    format!("{part:?}: the number of slots must be a whole number of at least 1")
                })?;
                (name.trim(), Some(slots))
            }
        };
        let queue = match name {
            "*" => None,
            name => Some(Name::new(name).map_err(|error| error.to_string())?),
        };
        if specs.iter().any(|spec| spec.queue == queue) {
            return Err(format!("queue `{name}` is listed twice"));
        }
        specs.push(QueueSlots { queue, slots });
    }
    if specs.is_empty() {
        return Err("no queue is given: write `default`, `media=4,*` or `*`".to_owned());
    }
    Ok(specs)
}
