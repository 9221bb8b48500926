//! The requirements of pgtq on the local machine.
//!
//! Finds or creates a private Postgres, a toolchain that builds plugins, and new
//! plugin crates; `doctor` checks for them. Missing programs are installed without
//! prompting where possible, each step is reported, and `PGTQ_NO_INSTALL=1` prevents
//! all installation. The contents of databases, schema and tasks, belong to `store`.

pub mod doctor;
mod install;
pub mod places;
pub mod postgres;
pub mod template;
pub mod toolchain;

/// Reports progress of long steps to the user, one line of text per call.
///
/// `&|_| ()` reports nothing.
pub type Say<'a> = &'a dyn Fn(&str);

/// Waits 20 ms between two polls of another process. Blocks.
#[expect(
    clippy::disallowed_methods,
    reason = "this crate is blocking, and every caller has a deadline"
)]
fn pause() {
    std::thread::sleep(std::time::Duration::from_millis(20));
}
