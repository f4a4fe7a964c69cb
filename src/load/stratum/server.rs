//! The pool's process as the kernel sees it.

use anyhow::Context;

/// A process on this machine.
pub struct Server {
    pid: u32,
}

/// A moment of it.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// Bytes of memory it holds.
    pub resident: u64,
    /// Files it has open, connections included.
    pub files: usize,
}

impl Server {
    pub fn new(pid: u32) -> Self {
        Self { pid }
    }

    /// Memory and files now.
    pub fn read(&self) -> anyhow::Result<Reading> {
        let path = format!("/proc/{}/status", self.pid);
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}; is --pid the pool's process"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).with_context(|| format!("{path} has no VmRSS"))?;
        let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().with_context(|| format!("VmRSS in {path}: {line}"))?;
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.pid)).map_or(0, Iterator::count);
        Ok(Reading { resident: kib * 1024, files })
    }
}
