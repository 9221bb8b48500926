//! Resource limits of one attempt. A handler requests, the operator caps.

use std::time::Duration;

use pgtq_contract::LimitRequest;

/// The budget of one attempt. Every resource that a guest can consume has a limit here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Wasm instructions, roughly; bulk memory operations cost one per byte.
    pub fuel: u64,
    /// Wall-clock time, host calls included.
    pub timeout: Duration,
    /// Bytes, summed over all linear memories of the instance.
    pub memory: u64,
    /// Elements, summed over all tables of the instance.
    pub table_elements: u64,
    /// Bytes that the host allocates for the attempt: log lines, child tasks, headers, buffers.
    /// Counted into peak memory, in addition to the guest's own.
    pub host_bytes: u64,
    /// Bytes that one host call may copy out of the guest.
    pub call_bytes: u64,
    /// Bytes of the result, and of an error's message and details together.
    pub result_bytes: u64,
    /// Log lines kept, the first half and the last half; ten times as many may be written before
    /// the attempt fails.
    pub log_lines: u32,
    /// Bytes of log kept, the first half and the last half.
    pub log_bytes: u64,
    /// Child tasks pushed.
    pub pushes: u32,
    /// Different lanes (queue, handler and priority) of the child tasks, including lanes that
    /// exist already: only the database knows which do.
    pub lanes: u32,
    /// HTTP requests.
    pub http_requests: u32,
    /// Bytes of HTTP bodies and headers, both ways together.
    pub http_bytes: u64,
    /// TCP connections opened.
    pub tcp_connections: u32,
    /// Bytes over TCP, both ways together.
    pub tcp_bytes: u64,
    /// SQL statements.
    pub sql_statements: u32,
    /// Rows of one SQL result.
    pub sql_rows: u32,
    /// Bytes of one SQL result.
    pub sql_bytes: u64,
    /// Bytes saved for later attempts, all values of the task together.
    pub state_bytes: u64,
    /// Bytes written to files.
    pub file_bytes: u64,
}

const MIB: u64 = 1 << 20;
/// How far above the default of fuel, time and memory a handler's request may go.
const CAP_FACTOR: u64 = 4;

impl Default for Limits {
    /// The defaults of DESIGN section 6, shown in README's limits table.
    fn default() -> Self {
        Limits {
            fuel: 10_000_000_000,
            timeout: Duration::from_secs(30),
            memory: 64 * MIB,
            table_elements: 20_000,
            host_bytes: 16 * MIB,
            call_bytes: 4 * MIB,
            result_bytes: MIB,
            log_lines: 1_000,
            log_bytes: MIB,
            pushes: 1_000,
            lanes: 100,
            http_requests: 100,
            http_bytes: 64 * MIB,
            tcp_connections: 20,
            tcp_bytes: 64 * MIB,
            sql_statements: 10_000,
            sql_rows: 10_000,
            sql_bytes: 4 * MIB,
            state_bytes: MIB,
            file_bytes: 64 * MIB,
        }
    }
}

impl Limits {
    /// The limits of an attempt: what the handler requests, otherwise the default (`self`),
    /// never above `cap`.
    pub fn granted(&self, asked: &LimitRequest, cap: &Limits) -> Limits {
        let timeout = asked.timeout_ms.map_or(self.timeout, Duration::from_millis);
        Limits {
            fuel: asked.fuel.unwrap_or(self.fuel).min(cap.fuel),
            timeout: timeout.min(cap.timeout),
            memory: asked.memory.unwrap_or(self.memory).min(cap.memory),
            table_elements: self.table_elements.min(cap.table_elements),
            host_bytes: self.host_bytes.min(cap.host_bytes),
            call_bytes: self.call_bytes.min(cap.call_bytes),
            result_bytes: self.result_bytes.min(cap.result_bytes),
            log_lines: self.log_lines.min(cap.log_lines),
            log_bytes: self.log_bytes.min(cap.log_bytes),
            pushes: self.pushes.min(cap.pushes),
            lanes: self.lanes.min(cap.lanes),
            http_requests: self.http_requests.min(cap.http_requests),
            http_bytes: self.http_bytes.min(cap.http_bytes),
            tcp_connections: self.tcp_connections.min(cap.tcp_connections),
            tcp_bytes: self.tcp_bytes.min(cap.tcp_bytes),
            sql_statements: self.sql_statements.min(cap.sql_statements),
            sql_rows: self.sql_rows.min(cap.sql_rows),
            sql_bytes: self.sql_bytes.min(cap.sql_bytes),
            state_bytes: self.state_bytes.min(cap.state_bytes),
            file_bytes: self.file_bytes.min(cap.file_bytes),
        }
    }

    /// The default caps for these defaults: four times the fuel, time and memory, and everything
    /// else unchanged.
    pub fn cap(&self) -> Limits {
        Limits {
            fuel: self.fuel.saturating_mul(CAP_FACTOR),
            timeout: self.timeout.saturating_mul(CAP_FACTOR as u32),
            memory: self.memory.saturating_mul(CAP_FACTOR),
            ..self.clone()
        }
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
