//! The component's work for strings and results, for the types of the contract: the
//! [canonical ABI], in its simple cases. Anything else is a [`Fallback`].
//!
//! [canonical ABI]: https://github.com/WebAssembly/component-model/blob/main/design/mvp/CanonicalABI.md

use wasmtime::{AsContext, AsContextMut, Caller, Memory, TypedFunc};

use crate::attempt::state::StoreData;
use crate::bindings::{Verdict, WireFailure};
use crate::direct::fallback::Fallback;

/// Bytes of `result<string, failure>`: a discriminant, then a failure aligned to 8.
const RESULT_BYTES: usize = 64;

/// `(handler, its length, arguments, their length)`, or the four of `realloc`.
pub(super) type Four = (u32, u32, u32, u32);

/// A guest's memory, and its function to allocate in it.
pub(super) struct Guest {
    pub(super) memory: Memory,
    pub(super) realloc: TypedFunc<Four, u32>,
}

impl Guest {
    /// The guest that made a host call.
    pub(super) fn of(caller: &mut Caller<'_, StoreData>) -> wasmtime::Result<Guest> {
        let memory = caller.get_export("memory").and_then(|e| e.into_memory());
        let realloc = caller.get_export("cabi_realloc");
        match (memory, realloc.and_then(|e| e.into_func())) {
            (Some(memory), Some(realloc)) => Ok(Guest {
                memory,
                realloc: realloc.typed(&*caller)?,
            }),
            _ => Err(Fallback("no memory").into()),
        }
    }

    /// Copies text into memory that the guest allocates, and returns its address.
    pub(super) async fn write(
        &self,
        mut store: impl AsContextMut<Data = StoreData>,
        text: &str,
    ) -> wasmtime::Result<u32> {
        if text.is_empty() {
            return Ok(1);
        }
        let room = (0, 0, 1, length(text));
        store.as_context_mut().data_mut().must_not_call = true;
        let at = self.realloc.call_async(&mut store, room).await?;
        store.as_context_mut().data_mut().must_not_call = false;
        self.put(&mut store, at, text.as_bytes())?;
        Ok(at)
    }

    /// Writes bytes at an address that the guest named.
    pub(super) fn put(
        &self,
        mut store: impl AsContextMut<Data = StoreData>,
        at: u32,
        bytes: &[u8],
    ) -> wasmtime::Result<()> {
        let memory = self.memory.data_mut(&mut store);
        let room = memory.get_mut(at as usize..).unwrap_or_default();
        let room = room.get_mut(..bytes.len());
        room.ok_or(Fallback("an address outside of memory"))?
            .copy_from_slice(bytes);
        Ok(())
    }

    /// Strings that the guest passes in one call, each by address and length.
    pub(super) fn texts<const N: usize>(
        &self,
        store: impl AsContext<Data = StoreData>,
        places: [(u32, u32); N],
    ) -> wasmtime::Result<[String; N]> {
        let store = store.as_context();
        let total: u64 = places.iter().map(|(_, length)| u64::from(*length)).sum();
        let state = store.data();
        if total >= state.account.call_room(state.limits.call_bytes) {
            return Err(Fallback("a call with much data").into());
        }
        let memory = self.memory.data(&store);
        let mut texts = [const { String::new() }; N];
        for (text, (at, length)) in texts.iter_mut().zip(places) {
            let bytes = memory.get(at as usize..).unwrap_or_default();
            let bytes = bytes.get(..length as usize);
            let bytes = bytes.ok_or(Fallback("a text outside of memory"))?;
            let valid = std::str::from_utf8(bytes);
            valid
                .map_err(|_| Fallback("a text that is not UTF-8"))?
                .clone_into(text);
        }
        Ok(texts)
    }

    /// The value that `run` returned at `at`.
    pub(super) fn result(
        &self,
        store: impl AsContext<Data = StoreData>,
        at: u32,
    ) -> wasmtime::Result<Result<String, WireFailure>> {
        let store = store.as_context();
        let memory = self.memory.data(&store);
        if !at.is_multiple_of(8) {
            return Err(Fallback("a result at an unaligned address").into());
        }
        let bytes = memory.get(at as usize..).unwrap_or_default();
        let Some(record) = bytes.first_chunk::<RESULT_BYTES>() else {
            return Err(Fallback("a result outside of memory").into());
        };
        let word = |at: usize| {
            let bytes = record[at..].first_chunk().expect("a constant in range");
            u32::from_le_bytes(*bytes)
        };
        let text = |at: usize| (word(at), word(at + 4));
        match record[0] {
            0 => {
                let [result] = self.texts(&store, [text(8)])?;
                return Ok(Ok(result));
            }
            1 => {}
            _ => return Err(Fallback("a result that is neither").into()),
        }
        let verdict = match record[8] {
            0 => Verdict::Retry,
            1 => Verdict::Fail,
            2 => Verdict::Snooze,
            3 => Verdict::Cancel,
            _ => return Err(Fallback("no such verdict").into()),
        };
        let optional = |at: usize| match record[at] {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Fallback("an option that is neither")),
        };
        let delay_ms = u64::from(word(24)) | u64::from(word(28)) << 32;
        let delay_ms = optional(16)?.then_some(delay_ms);
        let has_details = optional(48)?;
        let details = if has_details { text(52) } else { (0, 0) };
        let [code, message, details] = self.texts(&store, [text(32), text(40), details])?;
        Ok(Err(WireFailure {
            verdict,
            delay_ms,
            code,
            message,
            details: has_details.then_some(details),
        }))
    }
}

/// No text that gets here is longer than arguments may be.
pub(super) fn length(text: &str) -> u32 {
    u32::try_from(text.len()).unwrap_or(u32::MAX)
}
