//! Byte budgets, and the metered streams.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::pipe::{ClosedInputStream, ClosedOutputStream};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, InputStream, OutputStream, Pollable, StreamError, StreamResult,
};

use crate::attempt::account::{Held, MemoryAccount};
use crate::attempt::logs::SharedLogs;
use crate::wasi::handles::HandlePermit;
use pgtq_task::LogLevel;

/// Maximum host memory of a stream: wasmtime reads and writes 64 KiB at a time.
const STREAM_BYTES: u64 = 65 << 10;

/// A byte budget that all streams of one kind share in one attempt.
pub(crate) struct Meter {
    /// Never contended: one guest, one thread at a time.
    left: AtomicU64,
    /// Whether the log already says that it is used up.
    logged: AtomicBool,
    limit: u64,
    /// The log line for that, given the limit.
    over: fn(u64) -> String,
    /// The guest's error, as an error number of the operating system.
    errno: i32,
    logs: SharedLogs,
}

impl Meter {
    pub(crate) fn new(
        limit: u64,
        over: fn(u64) -> String,
        errno: i32,
        logs: &SharedLogs,
    ) -> Arc<Self> {
        Arc::new(Meter {
            left: AtomicU64::new(limit),
            logged: AtomicBool::new(false),
            limit,
            over,
            errno,
            logs: SharedLogs::clone(logs),
        })
    }

    /// Takes all of `bytes`, or nothing and logs it.
    pub(crate) fn take(&self, bytes: u64) -> io::Result<()> {
        let left = self.left.load(Ordering::Relaxed);
        match left.checked_sub(bytes) {
            Some(rest) => {
                self.left.store(rest, Ordering::Relaxed);
                Ok(())
            }
            None => {
                if !self.logged.swap(true, Ordering::Relaxed) {
                    // The guest's own next line enforces the log limit.
                    let _ = self
                        .logs
                        .lock()
                        .write(LogLevel::Warn, &(self.over)(self.limit), "");
                }
                Err(io::Error::from_raw_os_error(self.errno))
            }
        }
    }

    /// The remaining bytes plus one: a read of the extra byte shows whether the budget is
    /// too small or was just used up at the end.
    fn room(&self) -> usize {
        let left = self.left.load(Ordering::Relaxed);
        usize::try_from(left)
            .unwrap_or(usize::MAX)
            .saturating_add(1)
    }
}

/// A stream whose buffer is charged to the attempt, whose bytes are counted, if it has a
/// meter, and which keeps its handle's ticket until it is dropped.
struct Budgeted<S> {
    inner: S,
    meter: Option<Arc<Meter>>,
    _ticket: Option<Arc<HandlePermit>>,
    _buffer: Held,
}

impl<S> Budgeted<S> {
    fn take(&self, bytes: usize) -> StreamResult<()> {
        match &self.meter {
            Some(meter) => meter
                .take(bytes as u64)
                .map_err(|error| StreamError::LastOperationFailed(error.into())),
            None => Ok(()),
        }
    }

    fn room(&self, size: usize) -> usize {
        self.meter
            .as_ref()
            .map_or(size, |meter| size.min(meter.room()))
    }
}

/// Wraps an input stream that is in the table.
pub(crate) fn budget_input(
    table: &mut ResourceTable,
    stream: &Resource<DynInputStream>,
    meter: Option<Arc<Meter>>,
    ticket: Option<Arc<HandlePermit>>,
    account: &Arc<MemoryAccount>,
) -> wasmtime::Result<()> {
    let buffer = account.hold(STREAM_BYTES)?;
    let slot = table.get_mut(stream)?;
    let inner = std::mem::replace(slot, Box::new(ClosedInputStream));
    *slot = Box::new(Budgeted {
        inner,
        meter,
        _ticket: ticket,
        _buffer: buffer,
    });
    Ok(())
}

/// Wraps an output stream that is in the table.
pub(crate) fn budget_output(
    table: &mut ResourceTable,
    stream: &Resource<DynOutputStream>,
    meter: Option<Arc<Meter>>,
    ticket: Option<Arc<HandlePermit>>,
    account: &Arc<MemoryAccount>,
) -> wasmtime::Result<()> {
    let buffer = account.hold(STREAM_BYTES)?;
    let slot = table.get_mut(stream)?;
    let inner = std::mem::replace(slot, Box::new(ClosedOutputStream));
    *slot = Box::new(Budgeted {
        inner,
        meter,
        _ticket: ticket,
        _buffer: buffer,
    });
    Ok(())
}

#[async_trait]
impl<S: Pollable> Pollable for Budgeted<S> {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}

#[async_trait]
impl InputStream for Budgeted<DynInputStream> {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let bytes = self.inner.read(self.room(size))?;
        self.take(bytes.len())?;
        Ok(bytes)
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        let bytes = self.inner.blocking_read(self.room(size)).await?;
        self.take(bytes.len())?;
        Ok(bytes)
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}

#[async_trait]
impl OutputStream for Budgeted<DynOutputStream> {
    // Zeroes and splices also go through `write`.
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(bytes.len())?;
        self.inner.write(bytes)
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(bytes.len())?;
        self.inner.blocking_write_and_flush(bytes).await
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.inner.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.inner.check_write()
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}
