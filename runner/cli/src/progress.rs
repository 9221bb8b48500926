//! Progress on standard error, if it is a terminal.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use super::context::Context;
use super::stderr;

/// Redraws per second.
const RATE: u8 = 20;

/// A progress bar for `total` items. Hidden in a pipe and with `-q`.
pub(crate) fn bar(context: &Context, total: u64, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "  {msg} {human_pos}/{human_len} {wide_bar:.cyan/dim} {per_sec} {elapsed}",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::with_draw_target(Some(total), target(context)).with_style(style);
    bar.set_message(what);
    bar
}

/// A spinner for work of unknown length.
pub(crate) fn spinner(context: &Context, what: impl Into<String>) -> ProgressBar {
    let style = ProgressStyle::with_template("  {spinner} {msg} {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    let spinner = ProgressBar::with_draw_target(None, target(context)).with_style(style);
    spinner.set_message(what.into());
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}

fn target(context: &Context) -> ProgressDrawTarget {
    match context.watched {
        true => ProgressDrawTarget::term_like_with_hz(Box::<Terminal>::default(), RATE),
        false => ProgressDrawTarget::hidden(),
    }
}

/// The terminal at standard error. Writes through the queue of `stderr`, so a stopped
/// terminal (Ctrl-S) does not block the work.
#[derive(Debug, Default)]
struct Terminal {
    frame: Mutex<String>,
}

impl Terminal {
    fn frame(&self) -> MutexGuard<'_, String> {
        self.frame.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, text: &str) -> io::Result<()> {
        self.frame().push_str(text);
        Ok(())
    }

    fn move_cursor(&self, n: usize, direction: char) -> io::Result<()> {
        match n {
            0 => Ok(()),
            n => self.add(&format!("\x1b[{n}{direction}")),
        }
    }
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        width()
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.add(&format!("{text}\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.add(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.add("\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        stderr::frame(&std::mem::take(&mut *self.frame()));
        Ok(())
    }
}

/// Width of the terminal at standard error; 80 if it reports none.
fn width() -> u16 {
    // SAFETY: the call fills the struct, which consists of integers.
    let (status, size) = unsafe {
        let mut size: libc::winsize = std::mem::zeroed();
        let status = libc::ioctl(libc::STDERR_FILENO, libc::TIOCGWINSZ, &raw mut size);
        (status, size)
    };
    match (status, size.ws_col) {
        (0, 1..) => size.ws_col,
        _ => super::output::UNKNOWN_WIDTH,
    }
}
