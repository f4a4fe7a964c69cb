//! What huge pages are worth: RandomX hashed in turns with and without them, on this machine.
//!
//! `cargo run --release -p headframe-stratum --example randomx_pages -- light 1 20 3` hashes in
//! light mode on one thread for 20 s each, three times with 4 KiB pages and three times with what
//! the system gives. Beside hashes a second of the clock stand hashes a second of processor time,
//! which say the same on a machine that others use, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use headframe_stratum::randomx::{BuildThreads, Mode, SeedMemory, Vm, pages};

const SEED: [u8; 32] = [0x41; 32];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let word = |at: usize, usual: &str| arguments.get(at).map_or(usual, String::as_str).to_owned();
    let mode = match word(0, "light").as_str() {
        "light" => Mode::Light,
        "full" => Mode::Full,
        other => return Err(format!("{other:?} is no mode; say light or full").into()),
    };
    let threads: usize = word(1, "1").parse()?;
    let seconds: u64 = word(2, "20").parse()?;
    let turns: usize = word(3, "3").parse()?;
    for turn in 0..2 * turns {
        let huge_pages = turn % 2 == 1;
        let started = Instant::now();
        let built = cpu_s();
        let mut memory = SeedMemory::light(&SEED, huge_pages)?;
        if mode == Mode::Full {
            let build = BuildThreads {
                count: threads,
                nice: 0,
            };
            memory = SeedMemory::full(&memory, build, huge_pages, &AtomicBool::new(false))?;
        }
        let (built, took) = (cpu_s() - built, started.elapsed().as_secs_f64());
        let [clock, cpu] = hash(&Arc::new(memory), threads, Duration::from_secs(seconds))?;
        println!(
            "{:<12} {clock:7.1} H/s, {cpu:7.1} H/s of processor time; memory in {took:.1} s, \
             {built:.1} s of processor time",
            if huge_pages {
                "huge pages:"
            } else {
                "4 KiB pages:"
            }
        );
    }
    Ok(())
}

/// Hashes a second of the clock, and of processor time times the threads.
fn hash(
    memory: &Arc<SeedMemory>,
    threads: usize,
    length: Duration,
) -> Result<[f64; 2], Box<dyn std::error::Error>> {
    let hashes = AtomicU64::new(0);
    let (started, cpu) = (Instant::now(), cpu_s());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|number| {
                let hashes = &hashes;
                scope.spawn(move || {
                    let vm = Vm::new(memory)?;
                    let mut blob = [0; 76];
                    blob[0] = number as u8;
                    while started.elapsed() < length {
                        let hash = vm.hash(&blob)?;
                        blob[32..64].copy_from_slice(&hash);
                        hashes.fetch_add(1, Relaxed);
                    }
                    if number == 0 && memory.has_huge_pages() {
                        println!("             {}", pages::report());
                    }
                    Ok(())
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or(Ok(())))
            .collect::<Result<Vec<()>, headframe_stratum::randomx::HashError>>()
    })?;
    let hashes = hashes.load(Relaxed) as f64;
    let clock = hashes / started.elapsed().as_secs_f64();
    Ok([clock, hashes * threads as f64 / (cpu_s() - cpu)])
}

/// Processor time of this process so far, in seconds.
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in brackets may hold anything; the fields are counted after it.
    let fields = stat.rsplit(") ").next().unwrap_or_default();
    let ticks = |at: usize| {
        fields
            .split(' ')
            .nth(at)
            .and_then(|field| field.parse::<f64>().ok())
    };
    (ticks(11).unwrap_or(0.0) + ticks(12).unwrap_or(0.0)) / 100.0
}
