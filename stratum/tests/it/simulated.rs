//! A miner in virtual time: Poisson shares at a hashrate that may change or pause, and vardiff
//! asked as the server asks it.

use std::collections::VecDeque;

use headframe_stratum::work::vardiff::{Vardiff, VardiffSettings};

/// A small generator whose every run is the same: SplitMix64.
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Numbers of every magnitude, not mostly huge ones.
    pub fn magnitude(&mut self) -> u64 {
        let shift = self.below(64);
        self.next() >> shift
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        let uniform = ((self.next() >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
        -uniform.ln() * mean
    }
}

/// How long a new job, or a share, is on its way.
const LATENCY_S: f64 = 0.1;

/// Who mines, and for how long.
#[derive(Clone, Copy)]
pub struct Miner {
    pub hashrate: f64,
    pub start: u64,
    pub seconds: f64,
    /// (from, to) in seconds: no share is found in between.
    pub silent: (f64, f64),
    /// From this second on the hashrate is another one.
    pub change: (f64, f64),
    pub seed: u64,
}

impl Miner {
    pub fn new(hashrate: f64, seed: u64) -> Self {
        let never = f64::INFINITY;
        Self {
            hashrate,
            start: 10_000,
            seconds: 7_200.0,
            silent: (never, never),
            change: (never, hashrate),
            seed,
        }
    }

    fn hashrate_at(&self, now: f64) -> f64 {
        if now >= self.silent.0 && now < self.silent.1 {
            return 0.0;
        }
        if now >= self.change.0 {
            self.change.1
        } else {
            self.hashrate
        }
    }
}

/// One change of difficulty.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    pub at_s: f64,
    pub from: u64,
    pub to: u64,
}

impl Step {
    pub fn factor(&self) -> f64 {
        let (from, to) = (self.from as f64, self.to as f64);
        (to / from).max(from / to)
    }
}

/// What happened, in order.
pub struct Trace {
    pub steps: Vec<Step>,
    /// When each share came.
    shares: Vec<f64>,
    start: u64,
    seconds: f64,
}

fn near(difficulty: u64, aim: f64, factor: f64) -> bool {
    (difficulty as f64 / aim).max(aim / difficulty as f64) <= factor
}

impl Trace {
    /// The difficulty at a moment.
    pub fn at(&self, second: f64) -> u64 {
        self.steps
            .iter()
            .rev()
            .find(|step| step.at_s <= second)
            .map_or(self.start, |step| step.to)
    }

    /// (shares, seconds) after `from_s` until the difficulty is first within `factor` of the aim;
    /// `None` when it never is.
    pub fn until_near(&self, aim: f64, factor: f64, from_s: f64) -> Option<(f64, f64)> {
        if near(self.at(from_s), aim, factor) {
            return Some((0.0, 0.0));
        }
        let step = self
            .steps
            .iter()
            .find(|step| step.at_s > from_s && near(step.to, aim, factor))?;
        let shares = self
            .shares
            .iter()
            .filter(|at| (from_s..=step.at_s).contains(*at))
            .count();
        Some((shares as f64, step.at_s - from_s))
    }

    /// The part of the time from `from_s` on in which the difficulty is within `factor` of the aim.
    pub fn time_near(&self, aim: f64, factor: f64, from_s: f64) -> f64 {
        let seconds = from_s as u64..self.seconds as u64;
        let total = seconds.clone().count() as f64;
        seconds
            .filter(|second| near(self.at(*second as f64), aim, factor))
            .count() as f64
            / total
    }

    pub fn steps_after(&self, from_s: f64) -> usize {
        self.steps.iter().filter(|step| step.at_s > from_s).count()
    }

    pub fn worst_factor(&self) -> f64 {
        self.steps.iter().map(Step::factor).fold(1.0, f64::max)
    }
}

/// Mines to the end.
pub fn mine(miner: Miner, settings: &VardiffSettings) -> Trace {
    let mut dice = Dice(miner.seed);
    let mut vardiff = Vardiff::new(miner.start, settings, 0);
    let mut trace = Trace {
        steps: Vec::new(),
        shares: Vec::new(),
        start: vardiff.difficulty(),
        seconds: miner.seconds,
    };
    // What the miner works at now, and what is on its way to it.
    let (mut working_at, mut coming) = (vardiff.difficulty(), VecDeque::from([(f64::INFINITY, 0)]));
    let (mut now, mut hashes_left) = (0.0f64, dice.exponential(working_at as f64));
    while now < miner.seconds {
        let tick = now.floor() + 1.0;
        let hashrate = miner.hashrate_at(now);
        let found = if hashrate > 0.0 {
            now + hashes_left / hashrate
        } else {
            f64::INFINITY
        };
        // A change of the hashrate happens on a whole second, so no interval reaches over it.
        let arrives = coming[0].0;
        let next = tick.min(found).min(arrives);
        hashes_left -= (next - now) * hashrate;
        now = next;
        if now == arrives {
            working_at = coming.pop_front().unwrap().1;
            hashes_left = dice.exponential(working_at as f64);
            continue;
        }
        let now_ms = (now * 1000.0) as u64;
        if now == found {
            trace.shares.push(now);
            vardiff.accepted(working_at, now_ms);
            hashes_left = dice.exponential(working_at as f64);
        }
        let from = vardiff.difficulty();
        if vardiff.step(settings, now_ms) {
            trace.steps.push(Step {
                at_s: now,
                from,
                to: vardiff.difficulty(),
            });
            coming.insert(coming.len() - 1, (now + LATENCY_S, vardiff.difficulty()));
        }
    }
    trace
}
