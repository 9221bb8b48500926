//! The attributes of pgtq-sdk. Their guide is `docs/plugins.md`; people reach
//! them through `pgtq_sdk::prelude`.
//!
//! Promises that the function under `#[handler]` stays as written, that every
//! mistake of one invocation is reported at once, and that each report points
//! at the words to change. Does not resolve types: what needs a type is left
//! to traits of the SDK, whose messages say what to do.

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

/// Makes a handler of a function.
///
/// Options, all optional: `name = "..."`, `retries = 5` or `forever`,
/// `backoff = exponential(10s..1h)`, `timeout = 30s`, `memory = 64MiB`,
/// `fuel = 1_000_000`, `extra = allow`, for typed pushes `queue = "..."`,
/// `priority = 10` and `push = "..."`, which names their type, and for what lies outside of the sandbox
/// `needs(http = "https://api.example.com", tcp = "smtp.example.com:587", sql,
/// secret = "stripe", files = "/data")`, where each may repeat or be a list.
#[proc_macro_attribute]
pub fn handler(options: TokenStream, function: TokenStream) -> TokenStream {
    expand::handler(options.into(), &function.into()).into()
}

/// Derives what a type needs to be an argument or a result, without further
/// dependencies: `Serialize`, `Deserialize` and `JsonSchema`.
#[proc_macro_attribute]
pub fn data(options: TokenStream, item: TokenStream) -> TokenStream {
    data::expand(&options.into(), &item.into()).into()
}
