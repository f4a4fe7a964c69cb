//! The memory that RandomX works in, in the largest pages that the system gives.
//!
//! RandomX reads its memory at random, so that 4 KiB pages cost it a third of its speed in misses
//! of the address translation. The C library knows only reserved huge pages: without them it takes
//! what `malloc` gives, which is neither advised nor aligned to 2 MiB. It asks for memory through
//! six C functions of its own (`virtual_memory.h`); they are defined here instead. Exported symbols
//! of this crate come before the library's archive at the link, so that its own definitions are
//! never loaded; were they, the link would fail for symbols defined twice.
//!
//! With `RANDOMX_FLAG_LARGE_PAGES`, which this crate sets unless the operator does not want huge
//! pages, cache, dataset and every scratchpad come from [`allocate`]: reserved pages of 1 GiB, then
//! reserved ones of 2 MiB, then transparent ones at an address aligned to 2 MiB. So pool, miner and
//! dataset build get their memory from one place, which knows what it gave.

#![allow(unsafe_code)]

use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};
use rustix::mm::{madvise, mmap_anonymous, mprotect, munmap};
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::page_report::{PageReport, Region, RegionPages};

const MIB_2: usize = 2 << 20;
const GIB_1: usize = 1 << 30;

/// Every living allocation, by its address.
static REGIONS: Mutex<BTreeMap<usize, Region>> = Mutex::new(BTreeMap::new());

fn regions() -> MutexGuard<'static, BTreeMap<usize, Region>> {
    // Each change is one call of the map, so a panic elsewhere does not spoil it.
    REGIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which pages RandomX has now, read from the kernel's own account of this process.
pub fn report() -> PageReport {
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    let living: Vec<Region> = regions().values().copied().collect();
    PageReport::read(&living, &smaps)
}

/// Takes memory as RandomX would, writes to each of its pages, says what it got, and gives it back.
pub fn probe(bytes: usize) -> PageReport {
    let Some(region) = allocate(bytes) else {
        return PageReport::default();
    };
    for offset in (0..bytes).step_by(4096) {
        // SAFETY: the region was just allocated with at least `bytes` writable bytes, and nobody
        // else knows its address.
        unsafe { (region.start as *mut u8).add(offset).write_volatile(1) };
    }
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    let report = PageReport::read(&[region], &smaps);
    release(region.start, bytes);
    report
}

/// Memory of at least `bytes`, zeroed and aligned to 2 MiB; `None` when there is none.
fn allocate(bytes: usize) -> Option<Region> {
    let region = reserved(bytes, GIB_1, MapFlags::HUGE_1GB, RegionPages::Reserved1Gib)
        .or_else(|| reserved(bytes, MIB_2, MapFlags::HUGE_2MB, RegionPages::Reserved2Mib))
        .or_else(|| transparent(bytes))?;
    regions().insert(region.start, region);
    Some(region)
}

/// Reserved pages of this size; `None` when too few are free, or when the memory is smaller than
/// one of them.
fn reserved(bytes: usize, page: usize, flag: MapFlags, pages: RegionPages) -> Option<Region> {
    if bytes < page {
        return None;
    }
    let len = bytes.checked_next_multiple_of(page)?;
    let flags = MapFlags::PRIVATE | MapFlags::HUGETLB | MapFlags::POPULATE | flag;
    let start = map(len, flags)?;
    Some(Region { start, len, pages })
}

/// Ordinary memory at an address aligned to 2 MiB, for which the kernel is asked for transparent
/// huge pages. It may refuse at once, when it has none at all, or give fewer; [`report`] tells.
fn transparent(bytes: usize) -> Option<Region> {
    let len = bytes.checked_next_multiple_of(MIB_2)?;
    let mapped = map(len.checked_add(MIB_2)?, MapFlags::PRIVATE)?;
    let start = mapped.checked_next_multiple_of(MIB_2)?;
    let (before, after) = (start - mapped, MIB_2 - (start - mapped));
    unmap(mapped, before);
    unmap(start + len, after);
    // SAFETY: the range is mapped and used by nobody yet; the advice does not change its contents.
    let advised = unsafe { madvise(start as *mut c_void, len, Advice::LinuxHugepage) }.is_ok();
    let pages = RegionPages::Ordinary { advised };
    Some(Region { start, len, pages })
}

fn map(len: usize, flags: MapFlags) -> Option<usize> {
    // SAFETY: a new anonymous mapping at an address of the kernel's choice overlaps nothing.
    let mapped =
        unsafe { mmap_anonymous(null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, flags) };
    mapped.ok().map(|start| start as usize)
}

fn unmap(start: usize, len: usize) {
    if len == 0 {
        return;
    }
    // SAFETY: callers give ranges that this file mapped and that nobody uses any more.
    if let Err(error) = unsafe { munmap(start as *mut c_void, len) } {
        tracing::error!(%error, len, "memory of RandomX could not be given back");
    }
}

/// Gives back what [`allocate`] or [`allocate_code`] gave; `bytes` is what was asked for.
fn release(start: usize, bytes: usize) {
    let region = regions().remove(&start);
    unmap(start, region.map_or(bytes, |region| region.len));
}

/// `allocLargePagesMemory` of the library: cache, dataset and scratchpads.
///
/// # Safety
/// Any number of bytes may be asked for; null means that there are none.
#[unsafe(export_name = "allocLargePagesMemory")]
extern "C" fn allocate_large(bytes: usize) -> *mut c_void {
    allocate(bytes).map_or(null_mut(), |region| region.start as *mut c_void)
}

/// `allocMemoryPages` of the library: pages for compiled programs, less than 100 KiB a machine.
#[unsafe(export_name = "allocMemoryPages")]
extern "C" fn allocate_code(bytes: usize) -> *mut c_void {
    map(bytes, MapFlags::PRIVATE).map_or(null_mut(), |start| start as *mut c_void)
}

/// `freePagedMemory` of the library, for both kinds.
#[unsafe(export_name = "freePagedMemory")]
extern "C" fn free(start: *mut c_void, bytes: usize) {
    // The library also frees what it never got.
    if !start.is_null() {
        release(start as usize, bytes);
    }
}

/// `setPagesRW` of the library.
#[unsafe(export_name = "setPagesRW")]
extern "C" fn make_writable(start: *mut c_void, bytes: usize) {
    protect(start, bytes, MprotectFlags::READ | MprotectFlags::WRITE);
}

/// `setPagesRX` of the library.
#[unsafe(export_name = "setPagesRX")]
extern "C" fn make_executable(start: *mut c_void, bytes: usize) {
    protect(start, bytes, MprotectFlags::READ | MprotectFlags::EXEC);
}

/// `setPagesRWX` of the library.
#[unsafe(export_name = "setPagesRWX")]
extern "C" fn make_writable_and_executable(start: *mut c_void, bytes: usize) {
    let all = MprotectFlags::READ | MprotectFlags::WRITE | MprotectFlags::EXEC;
    protect(start, bytes, all);
}

/// The library has no way to hear of a failure either; a program that could not be made executable
/// ends the process at its first instruction.
fn protect(start: *mut c_void, bytes: usize, flags: MprotectFlags) {
    // SAFETY: the library gives pages that it got from `allocate_code`, and itself keeps from
    // writing to or running them meanwhile.
    if let Err(error) = unsafe { mprotect(start, bytes, flags) } {
        tracing::error!(%error, "the pages of a RandomX program could not be protected");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::randomx::{Mode, SeedMemory, Vm};
    use std::sync::Arc;

    /// The flags of the mapping that holds an address, as the kernel has them.
    fn vm_flags(address: usize) -> String {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        for line in smaps.lines() {
            let range = line.split(' ').next().and_then(|word| word.split_once('-'));
            if let Some((Ok(start), Ok(end))) = range.map(|(start, end)| {
                (
                    usize::from_str_radix(start, 16),
                    usize::from_str_radix(end, 16),
                )
            }) {
                inside = (start..end).contains(&address);
            } else if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| inside) {
                return flags.trim().to_owned();
            }
        }
        panic!("no mapping holds {address:x}");
    }

    #[test]
    fn cache_and_scratchpad_are_aligned_and_advised() {
        let before: Vec<usize> = regions().keys().copied().collect();
        let memory = Arc::new(SeedMemory::light(&[7; 32], true).unwrap());
        let vm = Vm::new(&memory).unwrap();
        assert_ne!(vm.hash(b"pages").unwrap(), [0; 32]);
        let new: Vec<Region> = regions()
            .values()
            .filter(|region| !before.contains(&region.start))
            .copied()
            .collect();
        // Other tests of this process may allocate meanwhile; ours are among the new ones.
        for bytes in [256 << 20, 2 << 20] {
            let region = new.iter().find(|region| region.len == bytes).unwrap();
            assert_eq!(region.start % MIB_2, 0);
            let flags = vm_flags(region.start);
            let known = match region.pages {
                RegionPages::Ordinary { advised } => {
                    assert!(advised, "the kernel knows no transparent huge pages");
                    "hg"
                }
                RegionPages::Reserved1Gib | RegionPages::Reserved2Mib => "ht",
            };
            assert!(flags.split(' ').any(|flag| flag == known), "{flags}");
        }
    }

    #[test]
    fn memory_that_was_given_back_is_unmapped() {
        let region = allocate(3 << 20).unwrap();
        assert_eq!((region.start % MIB_2, region.len % MIB_2), (0, 0));
        release(region.start, 3 << 20);
        assert!(!regions().contains_key(&region.start));
    }

    #[test]
    fn without_huge_pages_the_library_allocates_by_itself() {
        let memory = SeedMemory::light(&[9; 32], false).unwrap();
        assert_eq!(memory.mode(), Mode::Light);
        assert!(!memory.has_huge_pages());
    }
}
