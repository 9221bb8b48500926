//! The two exports of the contract.

use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::bindings::{self, Failure, Guest, pgtq::plugin};
use crate::error::{Error, Verdict};
use crate::push::millis;
use crate::registry;

struct Plugin;

bindings::export!(Plugin with_types_in crate::bindings);

/// Lets a runner read the contract's version without running the file.
#[used]
#[unsafe(link_section = "pgtq.contract")]
static CONTRACT: [u8; 5] = *b"1.0.0";

impl Guest for Plugin {
    fn describe() -> String {
        report_panics();
        registry::describe()
    }

    fn run(handler: String, args: String) -> Result<String, Failure> {
        report_panics();
        registry::run(&handler, &args).map_err(failure)
    }
}

fn failure(error: Error) -> Failure {
    Failure {
        verdict: match error.verdict() {
            Verdict::Retry => plugin::types::Verdict::Retry,
            Verdict::Fail => plugin::types::Verdict::Fail,
            Verdict::Snooze => plugin::types::Verdict::Snooze,
            Verdict::Cancel => plugin::types::Verdict::Cancel,
        },
        delay_ms: error.delay().map(millis),
        code: error.code_text().to_owned(),
        message: error.message().to_owned(),
        details: error.details_json().map(ToString::to_string),
    }
}

/// Sends the message of a panic to the host before the trap, which has no message.
fn report_panics() {
    static DONE: AtomicBool = AtomicBool::new(false);
    if !DONE.swap(true, Ordering::Relaxed) {
        std::panic::set_hook(Box::new(panicked));
    }
}

fn panicked(info: &PanicHookInfo<'_>) {
    let message = info.payload_as_str().unwrap_or("panic without a message");
    let text = match info.location() {
        Some(place) => format!("{message}, at {place}"),
        None => message.to_owned(),
    };
    plugin::log::panicked(&text);
}
