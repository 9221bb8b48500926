//! A guest's stdout and stderr: lines in the attempt's log.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use crate::attempt::logs::Logs;
use crate::attempt::logs::SharedLogs;
use crate::attempt::stop::HostStop;
use pgtq_task::LogLevel;

/// Bytes a guest may write at once; also bounds `write-zeroes`.
const PERMIT: usize = 64 << 10;
/// An unterminated line is written out at this length.
const LINE_BYTES: usize = 8 << 10;

/// Which of the two.
#[derive(Debug, Clone, Copy)]
enum StdioKind {
    Out,
    Err,
}

/// One of the two; every stream made from it continues the same line of the same log.
pub(crate) struct Stdio {
    lines: Arc<Mutex<LineSplitter>>,
}

impl Stdio {
    pub(crate) fn stdout(logs: &SharedLogs) -> Self {
        Stdio::new(StdioKind::Out, logs)
    }

    pub(crate) fn stderr(logs: &SharedLogs) -> Self {
        Stdio::new(StdioKind::Err, logs)
    }

    fn new(kind: StdioKind, logs: &SharedLogs) -> Self {
        let lines = LineSplitter {
            kind,
            logs: SharedLogs::clone(logs),
            open: Vec::new(),
        };
        Stdio {
            lines: Arc::new(Mutex::new(lines)),
        }
    }
}

impl IsTerminal for Stdio {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stdio {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(StdioStream(Arc::clone(&self.lines)))
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Only WASI 0.3 calls this, which is not linked.
        Box::new(tokio::io::sink())
    }
}

/// A guest's handle: there may be any number of them, and one open line.
struct StdioStream(Arc<Mutex<LineSplitter>>);

/// Splits the written bytes into lines.
struct LineSplitter {
    kind: StdioKind,
    logs: SharedLogs,
    /// The unterminated line, at most [`LINE_BYTES`].
    open: Vec<u8>,
}

impl LineSplitter {
    fn split(&mut self, bytes: &[u8]) -> Result<(), HostStop> {
        let logs = SharedLogs::clone(&self.logs);
        let mut logs = logs.lock();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            for part in piece.chunks(LINE_BYTES) {
                self.open.extend_from_slice(part);
                if part.ends_with(b"\n") || self.open.len() >= LINE_BYTES {
                    self.end_line(&mut logs)?;
                }
            }
        }
        Ok(())
    }

    fn end_line(&mut self, logs: &mut Logs) -> Result<(), HostStop> {
        let line = String::from_utf8_lossy(&self.open);
        let line = line.trim_end_matches(['\n', '\r']);
        let written = match self.kind {
            StdioKind::Out => logs.write(LogLevel::Info, line, ""),
            StdioKind::Err => logs.write_stderr(line),
        };
        self.open.clear();
        written
    }
}

impl Drop for LineSplitter {
    fn drop(&mut self) {
        // An unterminated last line: an aborting guest rarely ends its line.
        if !self.open.is_empty() {
            let logs = SharedLogs::clone(&self.logs);
            let _ = self.end_line(&mut logs.lock());
        }
    }
}

impl OutputStream for StdioStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > PERMIT {
            let message = "wrote more than `check_write` allows";
            return Err(StreamError::Trap(wasmtime::Error::msg(message)));
        }
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines
            .split(&bytes)
            .map_err(|stop| StreamError::Trap(wasmtime::Error::new(stop)))
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PERMIT)
    }
}

impl Pollable for StdioStream {
    fn ready<'a, 'b>(&'a mut self) -> Pin<Box<dyn Future<Output = ()> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(std::future::ready(()))
    }
}
