//! What a fresh machine needs before pgtq can work on it.
//!
//! Owns three things found or made on this machine: a private Postgres, a
//! toolchain that builds plugins, and a new plugin crate; and the checks that say
//! which of them are missing. Installs what is missing where that needs no
//! question, says each thing it does, and installs nothing under
//! `PGTQ_NO_INSTALL=1`. Touches neither the schema nor tasks: what is inside the
//! database belongs to `store`.

pub mod doctor;
mod install;
pub mod places;
pub mod postgres;
pub mod template;
pub mod toolchain;

/// Where long steps are told to a person, one line of text each.
///
/// `&|_| ()` keeps quiet.
pub type Say<'a> = &'a dyn Fn(&str);

/// Time between two looks at a process of another program, which tells nobody when
/// it is ready. Blocks.
#[expect(
    clippy::disallowed_methods,
    reason = "this room is blocking as a whole and always called with a deadline"
)]
fn pause() {
    std::thread::sleep(std::time::Duration::from_millis(20));
}
