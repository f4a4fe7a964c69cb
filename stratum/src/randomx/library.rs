//! The RandomX library through its C interface: caches, datasets and machines that free themselves.
//!
//! The binding crate builds and links the library, but it initialises a dataset on one thread only
//! and does not notice a machine that could not be made. So the functions are declared here once
//! more, from `randomx.h` of the same version.

#![allow(unsafe_code)]

use randomx_rs::RandomXFlag;
use std::ffi::{c_uint, c_ulong, c_void};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::BuildThreads;
use crate::work::template::Hash;

mod c {
    use super::{c_uint, c_ulong, c_void};

    #[repr(C)]
    pub struct Cache([u8; 0]);
    #[repr(C)]
    pub struct Dataset([u8; 0]);
    #[repr(C)]
    pub struct Vm([u8; 0]);

    unsafe extern "C" {
        pub fn randomx_alloc_cache(flags: c_uint) -> *mut Cache;
        pub fn randomx_init_cache(cache: *mut Cache, key: *const c_void, size: usize);
        pub fn randomx_release_cache(cache: *mut Cache);
        pub fn randomx_alloc_dataset(flags: c_uint) -> *mut Dataset;
        pub fn randomx_dataset_item_count() -> c_ulong;
        pub fn randomx_init_dataset(
            dataset: *mut Dataset,
            cache: *mut Cache,
            start: c_ulong,
            count: c_ulong,
        );
        pub fn randomx_release_dataset(dataset: *mut Dataset);
        pub fn randomx_create_vm(
            flags: c_uint,
            cache: *mut Cache,
            dataset: *mut Dataset,
        ) -> *mut Vm;
        pub fn randomx_destroy_vm(machine: *mut Vm);
        pub fn randomx_calculate_hash(
            machine: *mut Vm,
            input: *const c_void,
            size: usize,
            output: *mut c_void,
        );
        pub fn randomx_calculate_hash_first(machine: *mut Vm, input: *const c_void, size: usize);
        pub fn randomx_calculate_hash_next(
            machine: *mut Vm,
            next_input: *const c_void,
            next_size: usize,
            output: *mut c_void,
        );
        pub fn randomx_calculate_hash_last(machine: *mut Vm, output: *mut c_void);
        #[cfg(test)]
        pub fn randomx_get_dataset_memory(dataset: *mut Dataset) -> *mut c_void;
    }
}

/// Items a thread initialises before it looks whether it should stop: some milliseconds of work.
const CHUNK: u64 = 4096;

/// What the processor can do, as the library sees it, and where memory comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flags(RandomXFlag);

impl Flags {
    /// The best for this processor; with `huge_pages` memory comes from [`super::pages`], else from
    /// `malloc`.
    pub(super) fn new(huge_pages: bool) -> Self {
        let flags = RandomXFlag::get_recommended_flags();
        Self(if huge_pages {
            flags | RandomXFlag::FLAG_LARGE_PAGES
        } else {
            flags
        })
    }

    /// Whether memory comes from [`super::pages`].
    pub(super) fn has_huge_pages(self) -> bool {
        self.0.contains(RandomXFlag::FLAG_LARGE_PAGES)
    }

    fn only(self, wanted: RandomXFlag) -> c_uint {
        (self.0 & wanted).bits()
    }
}

/// An initialised cache: 256 MiB, enough to hash slowly.
pub(super) struct Cache(NonNull<c::Cache>);

// SAFETY: the cache is written only in `Cache::new`, before the value exists. Afterwards the
// library only reads it (`randomx.h`: one cache may be used by several machines and dataset
// threads), and releasing it on another thread than the allocating one is a plain `munmap` and
// `free`.
unsafe impl Send for Cache {}
// SAFETY: as above: nothing writes through a shared reference.
unsafe impl Sync for Cache {}

impl Cache {
    /// A cache of this key; `None` when memory is short.
    pub(super) fn new(flags: Flags, key: &[u8]) -> Option<Self> {
        let wanted =
            RandomXFlag::FLAG_LARGE_PAGES | RandomXFlag::FLAG_JIT | RandomXFlag::FLAG_ARGON2;
        // SAFETY: takes any flags and answers null for those it cannot serve.
        let cache = NonNull::new(unsafe { c::randomx_alloc_cache(flags.only(wanted)) })?;
        let cache = Self(cache);
        // SAFETY: the cache is freshly allocated and not shared; the key lives through the call,
        // which does not keep it.
        unsafe { c::randomx_init_cache(cache.0.as_ptr(), key.as_ptr().cast(), key.len()) };
        Some(cache)
    }

    fn pointer(&self) -> *mut c::Cache {
        self.0.as_ptr()
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        // SAFETY: allocated by the library, released once; whoever uses it holds it in an `Arc`.
        unsafe { c::randomx_release_cache(self.0.as_ptr()) };
    }
}

/// An initialised dataset: 2080 MiB, enough to hash fast.
pub(super) struct Dataset(NonNull<c::Dataset>);

// SAFETY: written only while it is being built, in disjoint ranges, before the value is handed out;
// read-only afterwards.
unsafe impl Send for Dataset {}
// SAFETY: as above.
unsafe impl Sync for Dataset {}

impl Dataset {
    fn items() -> u64 {
        // SAFETY: only reads a constant of the library.
        unsafe { c::randomx_dataset_item_count() as u64 }
    }

    /// Computes it on these threads; `None` when memory is short or `cancelled` was set.
    pub(super) fn new(
        flags: Flags,
        cache: &Cache,
        threads: BuildThreads,
        cancelled: &AtomicBool,
    ) -> Option<Self> {
        let dataset = Self::allocate(flags)?;
        let next = AtomicU64::new(0);
        dataset.fill(cache, threads, Self::items(), &next, cancelled);
        (!cancelled.load(Relaxed)).then_some(dataset)
    }

    fn pointer(&self) -> *mut c::Dataset {
        self.0.as_ptr()
    }

    fn allocate(flags: Flags) -> Option<Self> {
        // SAFETY: takes any flags and answers null when memory is short.
        NonNull::new(unsafe { c::randomx_alloc_dataset(flags.only(RandomXFlag::FLAG_LARGE_PAGES)) })
            .map(Self)
    }

    /// Initialises the items from `next` to `end`: each thread takes a chunk after the other.
    fn fill(
        &self,
        cache: &Cache,
        threads: BuildThreads,
        end: u64,
        next: &AtomicU64,
        cancelled: &AtomicBool,
    ) {
        // The pointers are asked for inside, so that the threads share the owners, which may be
        // shared.
        let work = || {
            while !cancelled.load(Relaxed) {
                let start = next.fetch_add(CHUNK, Relaxed);
                if start >= end {
                    return;
                }
                let count = CHUNK.min(end - start);
                // An item's number has 26 bits.
                let (start, count) = (start as c_ulong, count as c_ulong);
                // SAFETY: both pointers are valid and initialised for reading; the ranges handed
                // out by `next` are disjoint and end within the dataset, which `randomx.h` allows
                // to be filled by several calls at once.
                unsafe { c::randomx_init_dataset(self.pointer(), cache.pointer(), start, count) };
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..threads.count.max(1) {
                scope.spawn(move || {
                    // A thread that may not be nicer computes all the same.
                    let _ = rustix::process::nice(threads.nice);
                    work();
                });
            }
        });
    }
}

impl Drop for Dataset {
    fn drop(&mut self) {
        // SAFETY: allocated by the library, released once; whoever uses it holds it in an `Arc`.
        unsafe { c::randomx_release_dataset(self.0.as_ptr()) };
    }
}

/// A machine. It keeps raw pointers into its cache and dataset, so its owner must keep those alive.
/// A raw pointer makes it neither `Send` nor `Sync`: one thread uses it, as `randomx.h` demands.
pub(super) struct RawVm(NonNull<c::Vm>);

impl RawVm {
    /// A machine over the cache, or over the dataset when there is one; `None` when its scratchpad
    /// or its code pages cannot be had.
    ///
    /// # Safety
    /// Cache and dataset must outlive the machine.
    pub(super) unsafe fn new(
        flags: Flags,
        cache: &Cache,
        dataset: Option<&Dataset>,
    ) -> Option<Self> {
        let wanted =
            RandomXFlag::FLAG_LARGE_PAGES | RandomXFlag::FLAG_HARD_AES | RandomXFlag::FLAG_JIT;
        let full = if dataset.is_some() {
            RandomXFlag::FLAG_FULL_MEM.bits()
        } else {
            0
        };
        let dataset = dataset.map_or(std::ptr::null_mut(), |dataset| dataset.0.as_ptr());
        // SAFETY: the pointers are valid; the caller keeps them so.
        NonNull::new(unsafe {
            c::randomx_create_vm(flags.only(wanted) | full, cache.0.as_ptr(), dataset)
        })
        .map(Self)
    }

    /// The RandomX hash of the bytes.
    pub(super) fn hash(&self, bytes: &[u8]) -> Hash {
        let mut hash = [0; 32];
        // SAFETY: the machine is valid and, not being `Sync`, used by one thread at a time; the
        // input is read for its length, the output is as long as a RandomX hash.
        unsafe {
            c::randomx_calculate_hash(
                self.0.as_ptr(),
                bytes.as_ptr().cast(),
                bytes.len(),
                hash.as_mut_ptr().cast(),
            )
        };
        hash
    }

    /// Begins the hash of the bytes; [`Self::next`] or [`Self::last`] ends it. The scratchpad of
    /// the next input is then filled while the last program's results are read.
    pub(super) fn first(&mut self, bytes: &[u8]) {
        // SAFETY: as in `hash`; the input is not kept.
        unsafe {
            c::randomx_calculate_hash_first(self.0.as_ptr(), bytes.as_ptr().cast(), bytes.len());
        }
    }

    /// Ends the hash that was begun and begins the next. Without a begun hash the answer is one of
    /// stale bytes of the machine, which is why [`super::Pipeline`] counts.
    pub(super) fn next(&mut self, bytes: &[u8]) -> Hash {
        let mut hash = [0; 32];
        // SAFETY: as in `hash`.
        unsafe {
            c::randomx_calculate_hash_next(
                self.0.as_ptr(),
                bytes.as_ptr().cast(),
                bytes.len(),
                hash.as_mut_ptr().cast(),
            );
        }
        hash
    }

    /// Ends the hash that was begun.
    pub(super) fn last(&mut self) -> Hash {
        let mut hash = [0; 32];
        // SAFETY: as in `hash`.
        unsafe { c::randomx_calculate_hash_last(self.0.as_ptr(), hash.as_mut_ptr().cast()) };
        hash
    }
}

impl Drop for RawVm {
    fn drop(&mut self) {
        // SAFETY: made by the library, destroyed once.
        unsafe { c::randomx_destroy_vm(self.0.as_ptr()) };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    impl Dataset {
        fn first_word(&self, item: usize) -> u64 {
            // SAFETY: the memory has `items()` items of 64 bytes, and the tests read items they
            // have initialised.
            unsafe {
                c::randomx_get_dataset_memory(self.0.as_ptr())
                    .cast::<u64>()
                    .add(item * 8)
                    .read_unaligned()
            }
        }
    }

    /// The first words of four items under the key "test key 000", from RandomX's own tests
    /// (`src/tests/tests.cpp`).
    const KNOWN: [(u64, u64); 4] = [
        (0, 0x6805_88a8_5ae2_22db),
        (10_000_000, 0x7943_a1f6_186f_fb72),
        (20_000_000, 0x9035_244d_7180_95e1),
        (30_000_000, 0x145a_5091_f785_3099),
    ];

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_cache_is_computed_with_what_the_processor_has() {
        let flags = Flags::new(true);
        for (has, flag) in [
            (is_x86_feature_detected!("aes"), RandomXFlag::FLAG_HARD_AES),
            (
                is_x86_feature_detected!("ssse3"),
                RandomXFlag::FLAG_ARGON2_SSSE3,
            ),
            (
                is_x86_feature_detected!("avx2"),
                RandomXFlag::FLAG_ARGON2_AVX2,
            ),
            (true, RandomXFlag::FLAG_JIT),
        ] {
            assert!(!has || flags.0.contains(flag), "{flag:?}");
        }
        // What reaches the library is what it recommends: of both, it takes AVX2.
        let argon2 = flags.only(RandomXFlag::FLAG_ARGON2);
        assert_eq!(argon2, (flags.0 & RandomXFlag::FLAG_ARGON2).bits());
    }

    #[test]
    fn several_threads_fill_a_dataset_with_the_items_the_library_promises() {
        let flags = Flags::new(false);
        // The cache's key is not 32 bytes here, so it is initialised by hand.
        let cache = Cache::new(flags, &[0; 32]).unwrap();
        let key = b"test key 000";
        // SAFETY: nobody else uses the cache yet.
        unsafe { c::randomx_init_cache(cache.0.as_ptr(), key.as_ptr().cast(), key.len()) };
        let dataset = Dataset::allocate(flags).unwrap();
        for (item, word) in KNOWN {
            // A few chunks around the item, so that every thread gets some; the rest of the memory
            // is never touched.
            let (start, end) = (item.saturating_sub(CHUNK), item + 2 * CHUNK + 7);
            dataset.fill(
                &cache,
                BuildThreads { count: 3, nice: 1 },
                end,
                &AtomicU64::new(start),
                &AtomicBool::new(false),
            );
            assert_eq!(dataset.first_word(usize::try_from(item).unwrap()), word);
            let last = usize::try_from(end - 1).unwrap();
            let threaded = (dataset.first_word(last), dataset.first_word(last - 4096));
            dataset.fill(
                &cache,
                BuildThreads { count: 1, nice: 0 },
                end,
                &AtomicU64::new(start),
                &AtomicBool::new(false),
            );
            assert_eq!(
                (dataset.first_word(last), dataset.first_word(last - 4096)),
                threaded
            );
        }
        // What the plan sets aside is what the library takes.
        let bytes = Dataset::items() * 64;
        assert!(
            bytes <= crate::randomx::plan::DATASET
                && bytes > crate::randomx::plan::DATASET - (2 << 20),
            "{bytes}"
        );
        assert!(
            Dataset::new(
                flags,
                &cache,
                BuildThreads { count: 2, nice: 0 },
                &AtomicBool::new(true)
            )
            .is_none(),
            "a cancelled build gives nothing"
        );
    }
}
