//! How the executor's io_uring rings are set up: cooperatively, where the
//! kernel can.
//!
//! By default the kernel interrupts a thread with an inter-processor interrupt
//! to tell it that a socket has become ready, although a shard looks at its
//! rings anyway. Measured on a shard that serves reads over 64 connections,
//! these interrupts were a fifth of its time. `IORING_SETUP_COOP_TASKRUN`
//! (Linux 5.19) turns them off: completions are posted when the thread enters
//! the kernel next, which a busy shard does all the time and an idle one in
//! order to wait. glommio 0.9 has no way to ask for it, so the linker puts the
//! function below in the place of liburing's (`--wrap`, see the build scripts
//! of `server` and `tests`); a program linked without that has plain rings.

use std::ffi::{c_int, c_long, c_uint};
use std::sync::atomic::{AtomicBool, Ordering};

/// See io_uring_setup(2).
const IORING_SETUP_COOP_TASKRUN: u32 = 1 << 8;

static COOPERATIVE: AtomicBool = AtomicBool::new(false);

/// Whether the rings that were set up so far spare the interrupts.
pub fn is_cooperative() -> bool {
    COOPERATIVE.load(Ordering::Relaxed)
}

/// The head of `struct io_uring_params`, as far as it is touched here.
#[repr(C)]
struct ParamsHead {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
}

/// Takes the place of liburing's `__sys_io_uring_setup`: the same system call
/// with one flag more, and again without it on a kernel that does not know it.
///
/// # Safety
/// `params` must point to a `struct io_uring_params` that may be written.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap___sys_io_uring_setup(
    entries: c_uint,
    params: *mut ParamsHead,
) -> c_int {
    // SAFETY: the caller passes a valid `struct io_uring_params`, whose first
    // three members are those of `ParamsHead`; the kernel checks the rest.
    unsafe {
        let plain = (*params).flags;
        (*params).flags = plain | IORING_SETUP_COOP_TASKRUN;
        let ring = setup(entries, params);
        if ring >= 0 {
            COOPERATIVE.store(true, Ordering::Relaxed);
            return ring;
        }
        (*params).flags = plain;
        setup(entries, params)
    }
}

/// # Safety
/// As for io_uring_setup(2).
#[allow(unsafe_code)]
unsafe fn setup(entries: c_uint, params: *mut ParamsHead) -> c_int {
    // SAFETY: as the caller promises.
    let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, c_long::from(entries), params) };
    c_int::try_from(ring).unwrap_or(-1)
}

/// Makes sure that the linker sees the function above: nothing in Rust calls it.
pub(super) fn keep_linked() {
    std::hint::black_box(__wrap___sys_io_uring_setup as *const ());
}
