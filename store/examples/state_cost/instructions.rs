//! Instructions that this thread has run outside the kernel. They hardly depend on who else uses
//! the machine; but not every machine counts them, nor does every system tell.

use std::fs::File;
use std::io::Read;
use std::os::fd::FromRawFd;

/// `perf_event_attr` as the first kernels had it: 64 bytes, which all later ones take.
#[repr(C)]
#[derive(Default)]
struct EventAttributes {
    kind: u32,
    bytes: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_type: u32,
    breakpoint_address: u64,
}

const HARDWARE: u32 = 0;
const INSTRUCTIONS: u64 = 1;
const EXCLUDE_KERNEL: u64 = 1 << 5;
const EXCLUDE_HYPERVISOR: u64 = 1 << 6;

thread_local! {
    static COUNTER: Option<File> = begin();
}

/// How many so far, since this was first asked. None if nobody counts them.
pub(crate) fn instructions() -> Option<u64> {
    COUNTER.with(|counter| {
        let mut bytes = [0; 8];
        counter.as_ref()?.read_exact(&mut bytes).ok()?;
        Some(u64::from_ne_bytes(bytes))
    })
}

#[expect(
    unsafe_code,
    reason = "no library that is used here has this system call"
)]
fn begin() -> Option<File> {
    let attributes = EventAttributes {
        kind: HARDWARE,
        bytes: size_of::<EventAttributes>() as u32,
        config: INSTRUCTIONS,
        flags: EXCLUDE_KERNEL | EXCLUDE_HYPERVISOR,
        ..EventAttributes::default()
    };
    let (this_thread, any_core, no_group, no_flags) = (0, -1, -1, 0);
    // SAFETY: the kernel reads as many bytes behind the pointer as the attributes say.
    let opened = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attributes,
            this_thread,
            any_core,
            no_group,
            no_flags,
        )
    };
    let descriptor = i32::try_from(opened).ok().filter(|number| *number >= 0)?;
    // SAFETY: it was just opened, and nobody else has it.
    Some(unsafe { File::from_raw_fd(descriptor) })
}
