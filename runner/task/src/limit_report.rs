//! Compares the limits that handlers request with what they may have.

use pgtq_contract::LimitRequest;

use crate::grant_report::toml_key;
use crate::limit_unit::LimitUnit;
use crate::limits::Limits;

/// Limits that handlers of one plugin request and do not get.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LimitCut {
    /// The requested limits.
    pub asked: LimitRequest,
    /// The limits they get instead, for the same fields.
    pub allowed: LimitRequest,
    /// The value of `[grants.NAME.limits]`; it takes precedence over `[caps]`.
    pub granted: LimitRequest,
}

impl LimitCut {
    /// What is requested above `caps` and above what the plugin is granted. A limit that the
    /// operator sets for the handler itself (`decided`) no longer counts as requested.
    pub fn of(
        requested: &LimitRequest,
        decided: &LimitRequest,
        caps: &Limits,
        granted: &LimitRequest,
    ) -> LimitCut {
        let cap = caps.with(granted);
        let above = |asked: Option<u64>, decided: Option<u64>, cap: u64| {
            asked.filter(|asked| decided.is_none() && *asked > cap)
        };
        let cap_ms = u64::try_from(cap.timeout.as_millis()).unwrap_or(u64::MAX);
        let asked = LimitRequest {
            fuel: above(requested.fuel, decided.fuel, cap.fuel),
            timeout_ms: above(requested.timeout_ms, decided.timeout_ms, cap_ms),
            memory: above(requested.memory, decided.memory, cap.memory),
        };
        LimitCut {
            allowed: LimitRequest {
                fuel: asked.fuel.map(|_| cap.fuel),
                timeout_ms: asked.timeout_ms.map(|_| cap_ms),
                memory: asked.memory.map(|_| cap.memory),
            },
            asked,
            granted: *granted,
        }
    }

    /// Whether every handler gets the limits it requests.
    pub fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    /// Merges the cuts of two handlers of one plugin: the larger request of both.
    pub fn max(&self, other: &LimitCut) -> LimitCut {
        LimitCut {
            asked: self.asked.max(&other.asked),
            allowed: self.allowed.max(&other.allowed),
            granted: self.granted.max(&other.granted),
        }
    }

    /// For each limit: the requested value, the allowed value and the setting that determines
    /// it: `memory = "512MiB" (allowed: "256MiB" by [caps])`.
    pub fn reasons(&self, plugin: &str) -> Vec<String> {
        let grants = format!("[grants.{}.limits]", toml_key(plugin));
        let asked = toml_limits(&self.asked).into_iter();
        let fields = asked
            .zip(toml_limits(&self.allowed))
            .map(|(asked, allowed)| {
                let (key, allowed) = allowed.split_once(" = ").unwrap_or(("", &allowed));
                let granted = match key {
                    "fuel" => self.granted.fuel.is_some(),
                    "timeout" => self.granted.timeout_ms.is_some(),
                    _ => self.granted.memory.is_some(),
                };
                let by = if granted { grants.as_str() } else { "[caps]" };
                format!("{asked} (allowed: {allowed} by {by})")
            });
        fields.collect()
    }

    /// The lines of `pgtq.toml` that allow the cut limits, together with the limits that the
    /// plugin is granted already. Empty if nothing was cut.
    pub fn toml(&self, plugin: &str) -> String {
        if self.is_empty() {
            return String::new();
        }
        let fields = toml_limits(&self.granted.max(&self.asked)).join("\n");
        format!("[grants.{}.limits]\n{fields}\n", toml_key(plugin))
    }
}

/// The requested limits in the syntax of `pgtq.toml`: `memory = "512MiB"`.
pub fn toml_limits(limits: &LimitRequest) -> Vec<String> {
    let text = |unit: LimitUnit, number: Option<u64>| Some(unit.text(number?));
    let fields = [
        ("fuel", text(LimitUnit::Count, limits.fuel)),
        ("timeout", text(LimitUnit::Time, limits.timeout_ms)),
        ("memory", text(LimitUnit::Memory, limits.memory)),
    ];
    let field = |(key, text): (&str, Option<String>)| Some(format!("{key} = \"{}\"", text?));
    fields.into_iter().filter_map(field).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_names_the_request_the_limit_and_its_setting() {
        let caps = Limits::default().cap();
        let asked = LimitRequest {
            fuel: Some(caps.fuel),
            timeout_ms: Some(5_400_000),
            memory: Some(512 << 20),
        };
        let nothing = LimitRequest::default();
        let cut = LimitCut::of(&asked, &nothing, &caps, &nothing);
        assert_eq!(
            cut.reasons("a.b"),
            [
                r#"timeout = "90m" (allowed: "2m" by [caps])"#,
                r#"memory = "512MiB" (allowed: "256MiB" by [caps])"#
            ]
        );
        let granted = LimitRequest {
            memory: Some(300 << 20),
            ..nothing
        };
        let cut = LimitCut::of(&asked, &nothing, &caps, &granted);
        assert_eq!(
            cut.reasons("a.b")[1],
            r#"memory = "512MiB" (allowed: "300MiB" by [grants."a.b".limits])"#
        );
        let decided = LimitRequest {
            memory: Some(1),
            ..nothing
        };
        let left = LimitCut::of(&asked, &decided, &caps, &nothing);
        assert_eq!(toml_limits(&left.asked), [r#"timeout = "90m""#]);
        assert!(LimitCut::of(&asked, &nothing, &caps, &asked).is_empty());
    }

    #[test]
    fn the_lines_to_paste_keep_the_granted_limits() {
        let cut = LimitCut {
            asked: LimitRequest {
                memory: Some((1 << 30) + 1),
                timeout_ms: Some(1_500),
                ..LimitRequest::default()
            },
            allowed: LimitRequest::default(),
            granted: LimitRequest {
                fuel: Some(1_500_000),
                memory: Some(300 << 20),
                ..LimitRequest::default()
            },
        };
        assert_eq!(
            cut.toml("a.b"),
            "[grants.\"a.b\".limits]\nfuel = \"1500k\"\ntimeout = \"1500ms\"\nmemory = \"1073741825B\"\n"
        );
        assert_eq!(LimitCut::default().toml("a"), "");
    }
}
