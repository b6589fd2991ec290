//! The allocator, told to keep the agent small.

/// Settings of glibc's allocator, see mallopt(3).
#[cfg(target_env = "gnu")]
mod glibc {
    /// One heap for all threads: with one for each, what lists leave behind in one is of no use to the others, and the most
    /// memory that the agent ever has grows by a third at 10,000 Services. Few of its threads allocate at the same time.
    pub(super) const ARENAS: libc::c_int = 1;
    /// From how many bytes on memory goes back to the kernel as soon as it is free: pages of lists do, objects do not.
    pub(super) const LARGE: libc::c_int = 64 << 10;
    /// How many free bytes at the heap's end are kept.
    pub(super) const KEPT: libc::c_int = 128 << 10;
}

/// Lets the allocator give back early what is free. To be called before there are threads; where the C library is not glibc, there
/// is nothing to set.
pub fn stay_small() {
    #[cfg(target_env = "gnu")]
    for (setting, value) in
        [(libc::M_ARENA_MAX, glibc::ARENAS), (libc::M_MMAP_THRESHOLD, glibc::LARGE), (libc::M_TRIM_THRESHOLD, glibc::KEPT)]
    {
        #[expect(unsafe_code, reason = "a function of the C library that no library wraps")]
        // SAFETY: it takes two numbers and no pointer. What it refuses stays as it was.
        unsafe {
            libc::mallopt(setting, value);
        }
    }
}
