//! Resource limits of one attempt: a handler requests, the operator caps.
//!
//! [`Limits::FIELDS`] is the only list of them. The configuration keys, the commands that
//! print limits and the tables of README and docs/limits.md come from it.

use std::time::Duration;

use pgtq_contract::LimitRequest;

use super::limit_unit::{LimitUnit, Quantity};

/// One row of [`Limits::FIELDS`].
#[derive(Debug, Clone, Copy)]
pub struct LimitField {
    /// The name of the field and, in the sections `[limits]` and `[caps]`, of the key.
    pub name: &'static str,
    /// How its value is written.
    pub unit: LimitUnit,
    /// The largest value that the field can hold.
    pub maximum: u64,
    /// How many times the default a handler may request unless the operator sets a cap; 1 for
    /// a limit that handlers cannot request.
    pub cap_factor: u64,
    /// What is limited, per attempt.
    pub what: &'static str,
    /// What happens when the limit is reached; a word in backticks is the error kind.
    pub reached: &'static str,
    /// The file below `runner/` that enforces it.
    pub enforced_in: &'static str,
    get: fn(&Limits) -> u64,
    set: fn(&mut Limits, u64),
}

impl LimitField {
    /// The value in `limits`; milliseconds for a duration.
    pub fn of(&self, limits: &Limits) -> u64 {
        (self.get)(limits)
    }

    /// Sets the value in `limits`. A number above `maximum` becomes `maximum`.
    pub fn set(&self, limits: &mut Limits, number: u64) {
        (self.set)(limits, number);
    }

    /// The value in `limits` as the configuration writes it: `64MiB`.
    pub fn text(&self, limits: &Limits) -> String {
        self.unit.text(self.of(limits))
    }
}

const MIB: u64 = 1 << 20;

/// One limit per row: field, type, default, unit, how many times the default a handler may
/// request, what it limits, what happens when it is reached, where that is enforced.
macro_rules! limits {
    ($($name:ident: $type:ty = $default:expr, $unit:expr, cap x $factor:literal,
        $what:literal, $reached:literal, $enforced:literal;)*) => {
        /// The budget of one attempt. Every resource that a guest can consume has a limit here.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Limits {
            $(#[doc = concat!($what, ".")] pub $name: $type,)*
        }

        impl Default for Limits {
            fn default() -> Self {
                Limits { $($name: $default,)* }
            }
        }

        impl Limits {
            /// Every limit, in the order of the configuration and of the documents.
            pub const FIELDS: &[LimitField] = &[$(LimitField {
                name: stringify!($name),
                unit: $unit,
                maximum: <$type as Quantity>::MAX,
                cap_factor: $factor,
                what: $what,
                reached: $reached,
                enforced_in: $enforced,
                get: |limits| limits.$name.to_number(),
                set: |limits, number| limits.$name = Quantity::of_number(number),
            },)*];
        }
    };
}

limits! {
    fuel: u64 = 10_000_000_000, LimitUnit::Count, cap x 4,
        "WebAssembly instructions, about one unit each; bulk memory operations cost one per byte",
        "the attempt fails: `fuel`", "sandbox/src/attempt/store.rs";
    timeout: Duration = Duration::from_secs(30), LimitUnit::Time, cap x 4,
        "wall-clock time, including host calls",
        "the attempt fails: `timeout`", "sandbox/src/run/supervise.rs";
    memory: u64 = 64 * MIB, LimitUnit::Memory, cap x 4,
        "bytes of linear memory, in total",
        "the attempt fails: `memory`", "sandbox/src/attempt/limiter.rs";
    table_elements: u64 = 20_000, LimitUnit::Count, cap x 1,
        "elements of all tables of the instance",
        "the attempt fails: `table`", "sandbox/src/attempt/limiter.rs";
    host_bytes: u64 = 16 * MIB, LimitUnit::BytesFrom(MIB), cap x 1,
        "bytes that the host allocates for the attempt (log lines, child tasks, headers, buffers); they count into its peak memory",
        "the attempt fails: `memory`", "sandbox/src/attempt/state.rs";
    call_bytes: u64 = 4 * MIB, LimitUnit::Bytes, cap x 1,
        "bytes that one host call may copy out of the guest",
        "the attempt fails: `call_size`", "sandbox/src/attempt/host_call.rs";
    result_bytes: u64 = MIB, LimitUnit::Bytes, cap x 1,
        "bytes of the result, or of an error's message and details",
        "the attempt fails: `result_size`", "sandbox/src/run/outcome.rs";
    log_lines: u32 = 1_000, LimitUnit::Count, cap x 1,
        "log lines kept, the first half and the last half",
        "lines are dropped; ten times as many fail the attempt: `logs`", "sandbox/src/attempt/logs.rs";
    log_bytes: u64 = MIB, LimitUnit::Bytes, cap x 1,
        "bytes of log kept, the first half and the last half",
        "lines are dropped", "sandbox/src/attempt/logs.rs";
    pushes: u32 = 1_000, LimitUnit::Count, cap x 1,
        "child tasks",
        "the push returns an error", "sandbox/src/capability/push/children.rs";
    lanes: u32 = 100, LimitUnit::Count, cap x 1,
        "distinct lanes (queue, handler and priority) of the child tasks, including lanes that exist already",
        "the push returns an error", "sandbox/src/capability/push/children.rs";
    http_requests: u32 = 100, LimitUnit::Count, cap x 1,
        "HTTP requests",
        "the request returns an error", "sandbox/src/capability/http/budget.rs";
    http_bytes: u64 = 64 * MIB, LimitUnit::Bytes, cap x 1,
        "bytes of HTTP headers and bodies, both directions",
        "the request returns an error", "sandbox/src/capability/http/budget.rs";
    tcp_connections: u32 = 20, LimitUnit::Count, cap x 1,
        "TCP connections opened",
        "connecting returns an error", "sandbox/src/capability/tcp/sockets.rs";
    tcp_bytes: u64 = 64 * MIB, LimitUnit::Bytes, cap x 1,
        "bytes over TCP, both directions",
        "reading or writing returns an error", "sandbox/src/capability/tcp/context.rs";
    sql_statements: u32 = 10_000, LimitUnit::Count, cap x 1,
        "SQL statements",
        "the statement returns an error", "sandbox/src/capability/sql/mod.rs";
    sql_rows: u32 = 10_000, LimitUnit::Count, cap x 1,
        "rows of one SQL result",
        "the statement returns an error", "store/src/handler_sql/answer.rs";
    sql_bytes: u64 = 4 * MIB, LimitUnit::Bytes, cap x 1,
        "bytes of one SQL result",
        "the statement returns an error", "store/src/handler_sql/answer.rs";
    state_bytes: u64 = MIB, LimitUnit::Bytes, cap x 1,
        "bytes saved for later attempts, all values of the task together",
        "saving returns an error", "sandbox/src/capability/state/mod.rs";
    file_bytes: u64 = 64 * MIB, LimitUnit::Bytes, cap x 1,
        "bytes written to files",
        "writing returns an error", "sandbox/src/capability/files/context.rs";
}

impl Limits {
    /// The limits of an attempt: what the handler requests, otherwise the default (`self`),
    /// never above `cap`.
    pub fn granted(&self, asked: &LimitRequest, cap: &Limits) -> Limits {
        let mut granted = self.with(asked);
        for field in Limits::FIELDS {
            let number = field.of(&granted).min(field.of(cap));
            field.set(&mut granted, number);
        }
        granted
    }

    /// The default caps for these defaults: four times the fuel, time and memory, and everything
    /// else unchanged.
    pub fn cap(&self) -> Limits {
        let mut cap = self.clone();
        for field in Limits::FIELDS {
            field.set(&mut cap, field.of(self).saturating_mul(field.cap_factor));
        }
        cap
    }

    /// The caps of a development runner: a year of time, and all the fuel and memory that
    /// WebAssembly supports.
    pub fn uncapped(&self) -> Limits {
        Limits {
            fuel: u64::MAX,
            timeout: Duration::from_secs(365 * 24 * 3_600),
            memory: 4 << 30,
            ..self.clone()
        }
    }

    /// These limits, with the fields set in `by` replaced.
    pub fn with(&self, by: &LimitRequest) -> Limits {
        Limits {
            fuel: by.fuel.unwrap_or(self.fuel),
            timeout: by.timeout_ms.map_or(self.timeout, Duration::from_millis),
            memory: by.memory.unwrap_or(self.memory),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_gets_its_request_up_to_the_cap() {
        let default = Limits::default();
        let cap = Limits {
            memory: 100 * MIB,
            ..default.cap()
        };
        let asked = LimitRequest {
            memory: Some(500 * MIB),
            timeout_ms: Some(5),
            ..Default::default()
        };
        let granted = default.granted(&asked, &cap);
        assert_eq!(granted.memory, 100 * MIB);
        assert_eq!(granted.timeout, Duration::from_millis(5));
        assert_eq!(granted.fuel, default.fuel);
    }

    #[test]
    fn a_cap_below_the_default_wins_over_it() {
        let cap = Limits {
            fuel: 7,
            ..Limits::default().cap()
        };
        let granted = Limits::default().granted(&LimitRequest::default(), &cap);
        assert_eq!(granted.fuel, 7);
    }

    #[test]
    fn a_handler_may_ask_for_four_times_the_defaults_and_no_more() {
        let default = Limits::default();
        let cap = default.cap();
        assert_eq!(cap.fuel, 40_000_000_000);
        assert_eq!(cap.timeout, Duration::from_secs(120));
        assert_eq!(cap.memory, 256 * MIB);
        let same = Limits {
            fuel: default.fuel,
            timeout: default.timeout,
            memory: default.memory,
            ..cap
        };
        assert_eq!(same, default);
    }
}
