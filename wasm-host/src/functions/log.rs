//! `corelet:app/log`: lines for the people who run and write the application.
//! The only interface that `describe` may use.

use wasmtime::component::{Linker, WasmStr};

use crate::costs;
use crate::host_context::{Cx, HostContext, Phase, charge, count_call, enter};
use crate::turn::{GuestLog, LogLevel};
use crate::world::{self, RawLevel};

pub(super) fn add_to(linker: &mut Linker<HostContext>) -> wasmtime::Result<()> {
    let mut interface = linker.instance(world::LOG)?;
    interface.func_wrap_async("write", |cx, (level, message): (RawLevel, WasmStr)| {
        Box::new(write(cx, level, message))
    })
}

async fn write(mut cx: Cx<'_>, level: RawLevel, message: WasmStr) -> wasmtime::Result<()> {
    // Also checks the text; a length in the guest's encoding is within twice
    // the length that counts.
    let bytes = message.to_str(&cx)?.len() as u64;
    if cx.data().phase == Phase::Describing {
        count_call(cx.data_mut())?;
        charge(&mut cx, costs::LOG_WRITE.of_bytes(bytes))?;
    } else {
        enter(&mut cx, &costs::LOG_WRITE, bytes).await?;
    }
    let data = cx.data_mut();
    data.used.log_bytes += bytes;
    let (lines, total) = (data.logs.len() as u64 + 1, data.used.log_bytes);
    let (logs_max, bytes_max) = (data.limits.logs_max, data.limits.log_bytes_max);
    data.bound("logs_max", lines, logs_max)?;
    data.bound("log_bytes_max", total, bytes_max)?;
    let level = match level {
        RawLevel::Error => LogLevel::Error,
        RawLevel::Warn => LogLevel::Warn,
        RawLevel::Info => LogLevel::Info,
        RawLevel::Debug => LogLevel::Debug,
    };
    let message = message.to_str(&cx)?.into_owned();
    cx.data_mut().logs.push(GuestLog { level, message });
    Ok(())
}
