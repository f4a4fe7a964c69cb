//! The pool's process as the kernel sees it.

use anyhow::Context;

/// A tick of the kernel's clock for processor time: 100 a second on every Linux of today
/// (`sysconf(_SC_CLK_TCK)`).
const TICK_S: f64 = 0.01;

/// A process on this machine.
pub struct Process {
    pid: u32,
}

/// A moment of it.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Bytes of memory it holds.
    pub resident: u64,
    /// Files it has open, connections included.
    pub files: usize,
    /// Processor time it used so far, of all its threads.
    pub cpu_s: f64,
}

impl Process {
    pub fn new(pid: u32) -> Self {
        Self { pid }
    }

    /// This process.
    pub fn ourselves() -> Self {
        Self::new(std::process::id())
    }

    /// Memory, files and processor time now.
    pub fn read(&self) -> anyhow::Result<Usage> {
        let path = format!("/proc/{}/status", self.pid);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {path}; is --pid the pool's process"))?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .with_context(|| format!("{path} has no VmRSS"))?;
        let kib: u64 = line
            .trim()
            .trim_end_matches(" kB")
            .trim()
            .parse()
            .with_context(|| format!("VmRSS in {path}: {line}"))?;
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.pid)).map_or(0, Iterator::count);
        Ok(Usage {
            resident: kib * 1024,
            files,
            cpu_s: self.cpu_s()?,
        })
    }

    fn cpu_s(&self) -> anyhow::Result<f64> {
        let path = format!("/proc/{}/stat", self.pid);
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        // Behind the name, which may hold anything, come the state and the other fields of proc(5);
        // these are 14 and 15, user and system.
        let fields = text
            .rsplit_once(") ")
            .map(|(_, rest)| rest.split(' '))
            .with_context(|| format!("{path} names no process"))?;
        let ticks: Result<Vec<u64>, _> = fields.skip(11).take(2).map(str::parse).collect();
        Ok(ticks
            .with_context(|| format!("{path} tells no processor time"))?
            .iter()
            .sum::<u64>() as f64
            * TICK_S)
    }
}
