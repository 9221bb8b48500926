//! Random bytes, which take host time to generate: charged by call and by byte, like
//! calls of our own interfaces.

use wasmtime::component::Linker;
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::bindings::random::insecure::Host as _;
use wasmtime_wasi::p2::bindings::random::random::Host as _;

use crate::attempt::host_call::{Caller, charge};
use crate::attempt::state::StoreData;
use crate::wasi::replace::VERSION;

/// Random bytes per call.
pub(super) const MAX_RANDOM: u64 = 64 << 10;
/// The cost of a number besides the call: its bytes.
const NUMBER: u64 = 8;

/// Replaces one function of wasmtime; `$bytes` are charged.
macro_rules! charged {
    ($instance:ident, $name:literal, ($($arg:ident)?) $bytes:expr, $make:ident) => {
        $instance.func_wrap_async($name, |mut store: Caller<'_>, ($($arg,)?): ($(charged!(@u64 $arg),)?)| {
            Box::new(async move {
                // The call itself rejects more.
                let bytes: u64 = $bytes;
                charge(&mut store, bytes.min(MAX_RANDOM) as usize).await?;
                Ok((store.data_mut().ctx().ctx.random().$make($($arg)?)?,))
            })
        })?;
    };
    (@u64 $arg:ident) => { u64 };
}

pub(crate) fn link(linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
    let mut random = linker.instance(&format!("wasi:random/random@{VERSION}"))?;
    charged!(random, "get-random-bytes", (len) len, get_random_bytes);
    charged!(random, "get-random-u64", () NUMBER, get_random_u64);
    let mut insecure = linker.instance(&format!("wasi:random/insecure@{VERSION}"))?;
    charged!(insecure, "get-insecure-random-bytes", (len) len, get_insecure_random_bytes);
    charged!(insecure, "get-insecure-random-u64", () NUMBER, get_insecure_random_u64);
    Ok(())
}
