//! The attributes of pgtq-sdk, re-exported as `pgtq_sdk::prelude`. The guide is
//! `docs/plugins.md`.
//!
//! `#[handler]` does not change its function. One build reports all errors of an
//! invocation, each at the tokens to change. The attributes do not resolve types:
//! checks of types are trait bounds in the SDK, with their own messages.

use proc_macro::TokenStream;

mod data;
mod describe;
mod errors;
mod expand;
mod needs;
mod options;
mod pushes;
mod shape;
mod signature;
mod tokens;
mod units;

#[cfg(test)]
mod tests;

/// Registers a function as a handler.
///
/// The function does not change. The attribute adds a type with the function's name,
/// whose functions `push` and `task` push tasks for the handler.
///
/// ```ignore
/// use pgtq_sdk::prelude::*;
///
/// /// Make a thumbnail.
/// #[handler(name = "media.thumbnail", retries = 5, timeout = 30s, needs(sql))]
/// fn thumbnail(ctx: &Ctx, image_id: u64, #[default(256)] size: u32) -> Result<()> {
///     // ...
/// }
/// ```
///
/// All options are optional:
///
/// | option | meaning |
/// |---|---|
/// | `name = "media.thumbnail"` | the name in tasks; default: the function's name |
/// | `retries = 5`, `retries = forever` | the maximum number of retries |
/// | `backoff = exponential(10s..1h)` | the first and the longest delay between attempts |
/// | `timeout = 30s` | the time limit of an attempt (`ms`, `s`, `m`, `h`, `d`) |
/// | `memory = 64MiB` | the memory limit (`KiB`, `MiB`, `GiB`) |
/// | `fuel = 1_000_000` | the instruction limit of an attempt |
/// | `queue = "media"` | the default queue of pushes to this handler |
/// | `priority = 10` | the default priority of pushes; lower values run earlier |
/// | `push = "thumbnail_task"` | the name of the type with `push` and `task` |
/// | `extra = allow` | ignore unknown arguments instead of rejecting them |
/// | `needs(...)` | the capabilities, which the operator grants |
///
/// Capabilities are `http = "https://api.example.com"`, `tcp =
/// "smtp.example.com:587"`, `sql`, `secret = "stripe"`, `files = "/data"` and `push =
/// "audit"`. Each may occur more than once, or have a list: `http = ["...", "..."]`.
///
/// # Parameters
///
/// An optional `ctx: &Ctx` comes first. The other parameters are the arguments of the
/// task: any type that is `Serialize`, `Deserialize` and `JsonSchema` (see `#[data]`),
/// `&str`, an `Option` for an optional argument, or one `Json<T>` for the whole
/// payload. `#[default(...)]` on a parameter sets its default.
#[proc_macro_attribute]
pub fn handler(options: TokenStream, function: TokenStream) -> TokenStream {
    expand::handler(options.into(), &function.into()).into()
}

/// Makes a struct or an enum usable as an argument or a result: derives `Serialize`,
/// `Deserialize` and `JsonSchema`. The crate needs no dependency on serde or schemars.
#[proc_macro_attribute]
pub fn data(options: TokenStream, item: TokenStream) -> TokenStream {
    data::expand(&options.into(), &item.into()).into()
}
