//! Lets the linker put `shard/src/rt/ring.rs` in the place of liburing's setup
//! call, which spares each shard an interrupt per ready socket.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-arg-bins=-Wl,--wrap=__sys_io_uring_setup");
    println!("cargo:rustc-link-arg-examples=-Wl,--wrap=__sys_io_uring_setup");
}
