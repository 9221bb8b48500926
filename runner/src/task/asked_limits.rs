//! Limits that handlers ask for, held against what they may have.

use std::time::Duration;

use super::asked::toml_key;
use super::limits::{LimitRequest, Limits};

impl LimitRequest {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == LimitRequest::default()
    }

    /// The larger of both, field by field.
    pub fn max(&self, other: &LimitRequest) -> LimitRequest {
        LimitRequest {
            fuel: self.fuel.max(other.fuel),
            timeout_ms: self.timeout_ms.max(other.timeout_ms),
            memory: self.memory.max(other.memory),
        }
    }

    /// What is asked for above a cap. What the operator decided for the handler itself
    /// (`decided`) is not asked for any more.
    pub fn cut(&self, decided: &LimitRequest, cap: &Limits) -> LimitRequest {
        let above = |asked: Option<u64>, decided: Option<u64>, cap: u64| {
            asked.filter(|asked| decided.is_none() && *asked > cap)
        };
        let cap_ms = u64::try_from(cap.timeout.as_millis()).unwrap_or(u64::MAX);
        LimitRequest {
            fuel: above(self.fuel, decided.fuel, cap.fuel),
            timeout_ms: above(self.timeout_ms, decided.timeout_ms, cap_ms),
            memory: above(self.memory, decided.memory, cap.memory),
        }
    }

    /// What is asked for, as `pgtq.toml` has it: `memory = "512MiB"`.
    pub fn toml_fields(&self) -> Vec<String> {
        let time = self.timeout_ms.map(Duration::from_millis);
        let units = [
            (1 << 30, "GiB"),
            (1 << 20, "MiB"),
            (1 << 10, "KiB"),
            (1, "B"),
        ];
        let thousands = [
            (1_000_000_000, "G"),
            (1_000_000, "M"),
            (1_000, "k"),
            (1, ""),
        ];
        let memory = self.memory.map(|bytes| in_units(bytes, &units));
        let fuel = self.fuel.map(|fuel| in_units(fuel, &thousands));
        let fields = [
            ("fuel", fuel),
            ("timeout", time.map(in_time)),
            ("memory", memory),
        ];
        let field = |(key, text): (&str, Option<String>)| Some(format!("{key} = \"{}\"", text?));
        fields.into_iter().filter_map(field).collect()
    }
}

/// In the largest unit that it is a whole number of.
fn in_units(number: u64, units: &[(u64, &str)]) -> String {
    let fits = |(size, _): &&(u64, &str)| number.is_multiple_of(*size);
    let (size, unit) = units.iter().find(fits).copied().unwrap_or((1, ""));
    format!("{}{unit}", number / size)
}

fn in_time(time: Duration) -> String {
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    in_units(
        ms,
        &[(3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")],
    )
}

/// The lines of `pgtq.toml` that let a plugin have what was cut, beside the limits
/// that it is granted already. Empty if nothing was cut.
pub fn limits_toml(plugin: &str, granted: &LimitRequest, cut: &LimitRequest) -> String {
    if cut.is_empty() {
        return String::new();
    }
    let fields = granted.max(cut).toml_fields().join("\n");
    format!("[grants.{}.limits]\n{fields}\n", toml_key(plugin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_is_what_nobody_allowed() {
        let cap = Limits::default().cap();
        let asked = LimitRequest {
            fuel: Some(cap.fuel),
            timeout_ms: Some(5_400_000),
            memory: Some(512 << 20),
        };
        let cut = asked.cut(&LimitRequest::default(), &cap);
        assert_eq!(
            cut.toml_fields(),
            ["timeout = \"90m\"", "memory = \"512MiB\""]
        );
        let decided = LimitRequest {
            memory: Some(1),
            ..LimitRequest::default()
        };
        assert_eq!(
            asked.cut(&decided, &cap).toml_fields(),
            ["timeout = \"90m\""]
        );
        let wider = cap.with(&cut);
        assert!(asked.cut(&LimitRequest::default(), &wider).is_empty());
    }

    #[test]
    fn the_lines_to_paste_keep_the_limits_that_are_granted() {
        let granted = LimitRequest {
            fuel: Some(1_500_000),
            memory: Some(300 << 20),
            ..LimitRequest::default()
        };
        let cut = LimitRequest {
            memory: Some((1 << 30) + 1),
            timeout_ms: Some(1_500),
            ..LimitRequest::default()
        };
        assert_eq!(
            limits_toml("a.b", &granted, &cut),
            "[grants.\"a.b\".limits]\nfuel = \"1500k\"\ntimeout = \"1500ms\"\nmemory = \"1073741825B\"\n"
        );
        assert_eq!(limits_toml("a", &granted, &LimitRequest::default()), "");
    }
}
