//! What kind of pages RandomX got: the allocator's knowledge and the kernel's account, in one
//! sentence an operator can act on.

use std::fmt;

/// The pages one allocation was made in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegionPages {
    /// Reserved pages of 1 GiB.
    Reserved1Gib,
    /// Reserved pages of 2 MiB.
    Reserved2Mib,
    /// Ordinary memory.
    Ordinary {
        /// Whether the kernel took the advice to make transparent huge pages of it.
        advised: bool,
    },
}

/// One allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Its address.
    pub start: usize,
    /// Its length, whole pages.
    pub len: usize,
    /// What it lies in.
    pub pages: RegionPages,
}

/// Bytes by kind of page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PageReport {
    /// In reserved pages of 1 GiB.
    pub reserved_1gib: u64,
    /// In reserved pages of 2 MiB.
    pub reserved_2mib: u64,
    /// In transparent huge pages of 2 MiB.
    pub transparent: u64,
    /// In use, in pages of 4 KiB.
    pub small: u64,
    /// Ordinary memory for which the kernel took no advice.
    pub unadvised: u64,
}

/// The share of small pages from which on an operator should do something, in percent.
const TOLERATED_SMALL_PERCENT: u64 = 10;

impl PageReport {
    /// Bytes and the kind of page they are in, as metrics call it.
    pub fn by_kind(&self) -> [(u64, &'static str); 4] {
        [
            (self.reserved_1gib, "reserved_1gib"),
            (self.reserved_2mib, "reserved_2mib"),
            (self.transparent, "transparent_2mib"),
            (self.small, "small"),
        ]
    }

    /// The report on these allocations of a process whose `/proc/self/smaps` reads so.
    pub fn read(regions: &[Region], smaps: &str) -> Self {
        let mut report = Self::default();
        for region in regions {
            match region.pages {
                RegionPages::Reserved1Gib => report.reserved_1gib += region.len as u64,
                RegionPages::Reserved2Mib => report.reserved_2mib += region.len as u64,
                RegionPages::Ordinary { advised: false } => report.unadvised += region.len as u64,
                RegionPages::Ordinary { advised: true } => {}
            }
        }
        let ordinary: Vec<&Region> = regions
            .iter()
            .filter(|region| matches!(region.pages, RegionPages::Ordinary { .. }))
            .collect();
        let mut inside = false;
        for line in smaps.lines() {
            if let Some((start, end)) = range(line) {
                // Neighbours with the same flags are one mapping for the kernel.
                inside = ordinary
                    .iter()
                    .any(|region| region.start < end && start < region.start + region.len);
            } else if inside && let Some(kib) = kib(line, "Rss:") {
                report.small += kib << 10;
            } else if inside && let Some(kib) = kib(line, "AnonHugePages:") {
                report.transparent += kib << 10;
                report.small = report.small.saturating_sub(kib << 10);
            }
        }
        report
    }

    /// Bytes in use, of whatever kind.
    pub fn total(&self) -> u64 {
        self.reserved_1gib + self.reserved_2mib + self.transparent + self.small
    }

    /// Whether RandomX loses speed to small pages.
    pub fn is_slow(&self) -> bool {
        self.small * 100 > self.total() * TOLERATED_SMALL_PERCENT
    }

    /// What an operator can do about small pages.
    pub fn advice() -> &'static str {
        "as root: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled, or reserve pages \
         with sysctl vm.nr_hugepages=N (`headframe doctor` says how many)"
    }
}

/// E.g. `258 MiB in transparent 2 MiB pages`.
impl fmt::Display for PageReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            (self.reserved_1gib, "reserved 1 GiB pages"),
            (self.reserved_2mib, "reserved 2 MiB pages"),
            (self.transparent, "transparent 2 MiB pages"),
            (self.small, "4 KiB pages"),
        ];
        let mut first = true;
        for (bytes, kind) in kinds.iter().filter(|(bytes, _)| *bytes > 0) {
            let comma = if first { "" } else { ", " };
            write!(out, "{comma}{} MiB in {kind}", bytes.div_ceil(1 << 20))?;
            first = false;
        }
        if first {
            write!(out, "no memory of RandomX yet")?;
        }
        Ok(())
    }
}

/// The addresses in the first line of a mapping.
fn range(line: &str) -> Option<(usize, usize)> {
    let (start, end) = line.split(' ').next()?.split_once('-')?;
    let hex = |text: &str| usize::from_str_radix(text, 16).ok();
    Some((hex(start)?, hex(end)?))
}

fn kib(line: &str, key: &str) -> Option<u64> {
    let rest = line.strip_prefix(key)?.trim();
    rest.strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
7f0000000000-7f0010000000 rw-p 00000000 00:00 0 
Size:             262144 kB
Rss:              262144 kB
AnonHugePages:    260096 kB
VmFlags: rd wr mr mw me ac sd hg 
7f0020000000-7f0020400000 rw-p 00000000 00:00 0 
Rss:                4096 kB
AnonHugePages:         0 kB
VmFlags: rd wr mr mw me ac sd 
";

    fn region(start: usize, mib: usize, pages: RegionPages) -> Region {
        Region {
            start,
            len: mib << 20,
            pages,
        }
    }

    #[test]
    fn only_the_mappings_of_randomx_count() {
        let advised = RegionPages::Ordinary { advised: true };
        let cache = region(0x7f00_0000_0000, 256, advised);
        let report = PageReport::read(&[cache], SMAPS);
        assert_eq!((report.transparent, report.small), (254 << 20, 2 << 20));
        assert!(!report.is_slow());
        assert_eq!(
            report.to_string(),
            "254 MiB in transparent 2 MiB pages, 2 MiB in 4 KiB pages"
        );
    }

    #[test]
    fn small_pages_are_called_slow_and_reserved_ones_are_not() {
        let refused = RegionPages::Ordinary { advised: false };
        let scratchpad = region(0x7f00_2000_0000, 4, refused);
        let report = PageReport::read(&[scratchpad], SMAPS);
        assert_eq!((report.small, report.unadvised), (4 << 20, 4 << 20));
        assert!(report.is_slow());
        let dataset = region(0x10_0000_0000, 3072, RegionPages::Reserved1Gib);
        let report = PageReport::read(&[dataset, scratchpad], SMAPS);
        assert!(!report.is_slow());
        assert_eq!(
            report.to_string(),
            "3072 MiB in reserved 1 GiB pages, 4 MiB in 4 KiB pages"
        );
    }

    #[test]
    fn nothing_allocated_is_nothing_slow() {
        let report = PageReport::read(&[], SMAPS);
        assert_eq!(report.to_string(), "no memory of RandomX yet");
        assert!(!report.is_slow());
    }
}
