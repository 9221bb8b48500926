//! The guest's frames at a trap, as they are shown.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use wasmtime::WasmBacktrace;

use crate::text::clean;

/// Frames shown.
const MAX_FRAMES: usize = 20;
/// Bytes of one frame's name; mangled names can expand without bound.
const FRAME_BYTES: usize = 200;

/// Up to the maximum number of frames, from at most half as many functions.
pub(super) fn is_recursion(trace: &WasmBacktrace) -> bool {
    let functions: BTreeSet<u32> = trace
        .frames()
        .iter()
        .map(wasmtime::FrameInfo::func_index)
        .collect();
    trace.frames().len() >= MAX_FRAMES && functions.len() <= MAX_FRAMES / 2
}

/// The names of the innermost frames.
pub(super) fn frames(trace: &WasmBacktrace) -> Vec<String> {
    trace
        .frames()
        .iter()
        .take(MAX_FRAMES)
        .map(|frame| match frame.func_name() {
            Some(name) => demangle(name),
            None => format!("function {}", frame.func_index()),
        })
        .collect()
}

fn demangle(name: &str) -> String {
    if name.len() > 4 * FRAME_BYTES {
        return clean(name, FRAME_BYTES);
    }
    let mut text = Capped(String::new());
    // An error only means that the cap was reached.
    let _ = write!(text, "{:#}", rustc_demangle::demangle(name));
    clean(&text.0, FRAME_BYTES)
}

/// Accepts slightly more than a frame's bytes, then fails.
struct Capped(String);

impl fmt::Write for Capped {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0
            .push_str(&text[..text.floor_char_boundary(2 * FRAME_BYTES)]);
        match self.0.len() > 2 * FRAME_BYTES {
            true => Err(fmt::Error),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_demangled_and_bounded() {
        assert_eq!(
            demangle("_ZN4core9panicking5panic17h0123456789abcdefE"),
            "core::panicking::panic"
        );
        assert_eq!(demangle("plain"), "plain");
        assert!(demangle(&"x".repeat(1 << 20)).len() <= FRAME_BYTES + 4);
    }
}
