//! What the C library does with memory that is given back to it.

/// Has large pieces of memory go back to the kernel when they are no longer needed.
///
/// Left alone, glibc takes ever larger pieces from its heap, up to 32 MiB, once one of that size was given back, and keeps what the heap
/// has grown to: a build of many files then holds what each part of it needed at some time. A threshold that is set stays.
#[cfg(target_env = "gnu")]
pub(crate) fn return_large_pieces() {
    use std::ffi::c_int;

    const M_MMAP_THRESHOLD: c_int = -3;
    const THRESHOLD_BYTES: c_int = 1 << 20;

    #[expect(unsafe_code, reason = "declares a function that takes two numbers and can be called at any time")]
    unsafe extern "C" {
        safe fn mallopt(parameter: c_int, value: c_int) -> c_int;
    }

    // That it is refused costs memory and nothing else.
    let _ = mallopt(M_MMAP_THRESHOLD, THRESHOLD_BYTES);
}

/// Other C libraries have no such threshold.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn return_large_pieces() {}
