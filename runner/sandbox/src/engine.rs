//! The wasmtime engine of a process, and the matching engine of the compiler.
//!
//! Proposals that plugins do not need are disabled, because most advisories of a year
//! concerned them. Everything that decides whether compiled code fits is in [`common`],
//! shared by the runner and the compiling child.

use std::num::NonZeroUsize;

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OperatorCost, PoolingAllocationConfig,
    WasmBacktraceDetails,
};

use crate::config::{Allocator, SandboxConfig};
use crate::error::SandboxError;

/// The built-in version of wasmtime, for `pgtq version` and `doctor`.
pub fn engine_version() -> &'static str {
    // wasmtime does not export it; a test compares it with Cargo.lock.
    "48.0.8"
}

/// Fuel between two yields to the scheduler: about 100 µs of plain code.
pub(super) const YIELD_FUEL: u64 = 100_000;
/// The same for guests that have their thread to themselves, for which a yield costs
/// more: about 5 ms.
pub(super) const LARGE_YIELD_FUEL: u64 = 5_000_000;
/// Instances that may live at the same time besides attempts: probes.
pub(super) const PROBES: u32 = 4;
/// Plugins that are being linked at the same time, ensured by [`crate::run::copies`].
const LINKS: u32 = 1;
/// Frames of a backtrace.
const FRAMES: NonZeroUsize = NonZeroUsize::new(20).expect("20 is not zero");
/// Wasm's part of the stack; the rest of the fiber's stack is for host calls.
const WASM_STACK: usize = 512 << 10;
const FIBER_STACK: usize = 2 << 20;
/// Linear memory that stays resident in an unused slot. Only with `PAGEMAP_SCAN`: without
/// it all of it is cleared every time, which costs more than it saves.
const KEEP_RESIDENT: usize = 2 << 20;
/// Stack that is cleared by memset instead of madvise, if stacks are cleared: more than
/// most calls touch. Newly mapped stacks need no clearing.
const KEEP_STACK: usize = 32 << 10;
/// Memory is freed as soon as its attempt ends. A larger batch keeps the memory of that
/// many attempts until it is full, which may be never: gigabytes of an idle runner.
const DECOMMIT_BATCH: usize = 1;
/// Core instances that one component may have. A Rust component has two to four;
/// generated ones of other languages about ten.
pub(crate) const MAX_INSTANCES: usize = 20;
/// Tables per component.
pub(crate) const MAX_TABLES: usize = 8;
/// Memories per component.
pub(crate) const MAX_MEMORIES: usize = 4;
/// Wasm addresses no more than this.
pub(super) const MAX_MEMORY: u64 = 4 << 30;

/// The configuration on which the runner and the compiling child must agree.
fn common() -> Config {
    let mut config = Config::new();
    let mut cost = OperatorCost::new();
    // Documented as free, but measurably slower.
    cost.variable.memory_grow_per_page = u8::MAX;
    config
        .consume_fuel(true)
        .operator_cost(cost)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(FIBER_STACK)
        .concurrency_support(false)
        .gc_support(false)
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_exceptions(false)
        .wasm_tail_call(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_relaxed_simd(false)
        .wasm_wide_arithmetic(false)
        // Guests' debug information is not parsed: function names suffice for a
        // backtrace, and one parser less reduces the attack surface.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .wasm_backtrace_max_frames(Some(FRAMES))
        .memory_init_cow(true);
    config
}

/// The engine of a compiling process: it runs nothing, so it reserves nothing.
pub(super) fn compiling() -> wasmtime::Result<Engine> {
    let mut config = common();
    config.parallel_compilation(true);
    Engine::new(&config)
}

/// The engine of a runner.
pub(super) fn running(config: &SandboxConfig) -> Result<Engine, SandboxError> {
    if config.slots == 0 {
        return Err(SandboxError::Config("slots must be at least 1".to_owned()));
    }
    if config.cap.memory > MAX_MEMORY {
        return Err(SandboxError::Config(format!(
            "the memory cap is {} bytes, WebAssembly has no more than {MAX_MEMORY}",
            config.cap.memory
        )));
    }
    let engine = match config.allocator {
        Allocator::OnDemand => Engine::new(&common()),
        // The scan needs Linux 6.7 or newer; trying it is the way to find out.
        Allocator::Pooling => pooling(config, Enabled::Yes).or_else(|error| {
            tracing::debug!(%error, "no PAGEMAP_SCAN, memory is cleared by madvise");
            pooling(config, Enabled::No)
        }),
    };
    engine.map_err(|error| SandboxError::Engine {
        reason: format!("{error:#}"),
    })
}

fn pooling(config: &SandboxConfig, scan: Enabled) -> wasmtime::Result<Engine> {
    let mut engine = common();
    engine
        .async_stack_zeroing(config.zero_stacks)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(config, scan)));
    Engine::new(&engine)
}

/// Measured with `examples/attempt_cost.rs`, µs of processor time per attempt of an
/// SDK-built `add_numbers`, one thread of a busy 2-core machine, deps optimised: all of
/// this 18; stacks freed 28; no scan 40; on demand about 200. A batch of 1 or 128, and
/// tables freed, were within the noise.
///
/// Sized so that it never runs out: every slot may hold the largest component. The unused
/// part is address space only.
fn pool(config: &SandboxConfig, scan: Enabled) -> PoolingAllocationConfig {
    // Memory that is being freed is neither in use nor free, in every thread: without
    // room for it a full pool rejects an attempt now and then.
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let leaving = threads.min(16) as u32;
    let stores = config.slots.saturating_add(PROBES + LINKS);
    let times = |each: usize| stores.saturating_mul(each as u32).saturating_add(leaving);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(stores)
        .total_core_instances(times(MAX_INSTANCES))
        .total_memories(times(MAX_MEMORIES))
        .total_tables(times(MAX_TABLES))
        // A guest that the host asks to allocate memory is entered a second time.
        .total_stacks(times(2))
        .max_core_instances_per_component(MAX_INSTANCES as u32)
        .max_memories_per_component(MAX_MEMORIES as u32)
        .max_tables_per_component(MAX_TABLES as u32)
        .max_tables_per_module(MAX_TABLES as u32)
        // Address space is reserved for this anyway. The limiter keeps each attempt to
        // its own limit, which the operator may raise at any time.
        .max_memory_size(MAX_MEMORY as usize)
        .table_elements(usize::try_from(config.cap.table_elements).unwrap_or(usize::MAX))
        .max_unused_warm_slots(stores)
        .async_stack_keep_resident(KEEP_STACK)
        .decommit_batch_size(DECOMMIT_BATCH)
        .pagemap_scan(scan);
    if scan == Enabled::Yes {
        pool.linear_memory_keep_resident(KEEP_RESIDENT)
            .table_keep_resident(64 << 10);
    }
    pool
}

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hash, Hasher};

    use super::*;

    fn hash(engine: &Engine) -> u64 {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn code_compiled_by_the_child_fits_every_runner() {
        let child = hash(&compiling().expect("engine"));
        for allocator in [Allocator::Pooling, Allocator::OnDemand] {
            let config = SandboxConfig {
                allocator,
                slots: 2,
                ..SandboxConfig::default()
            };
            assert_eq!(hash(&running(&config).expect("engine")), child);
        }
    }
}
