//! The options of all workloads.

use std::path::PathBuf;

use clap::Args;

/// Options of all workloads.
#[derive(Debug, Clone, Args)]
pub struct BenchOptions {
    /// Number of rounds, up to 100; the table shows the median, lowest and highest of each figure
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub repeat: u32,
    /// Number of tasks to push and run, up to 10 million
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub tasks: u32,
    /// Duration in seconds of workloads that run for a fixed time, such as `latency` and `sandbox`
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub seconds: u32,
    /// Pushes per second in workloads with a fixed rate, such as `latency`
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: u32,
    /// Number of runners, up to 16, each with its own connections and sandbox
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub runners: u32,
    /// Concurrent attempts per runner, up to 10000 [default: 4 per processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub slots: Option<u32>,
    /// Numbers of threads, and then of processes, that `sandbox` measures in turn
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_values_t = [1, 2], value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: Vec<u32>,
    /// Handler to run
    #[arg(long, value_name = "NAME", default_value = "add_numbers")]
    pub handler: String,
    /// Arguments of the handler
    #[arg(long, value_name = "JSON", default_value = r#"{"a":2,"b":3}"#)]
    pub args: String,
    /// Directory of the handler's .wasm file [default: build an example plugin]
    #[arg(long, value_name = "DIR")]
    pub plugins: Option<PathBuf>,
}
