//! Variable difficulty: the next difficulty of a session, out of the time-stamped shares it sent.
//!
//! A pure function of its state, the shares and the time it is told, so it can be simulated. Shares
//! are a Poisson process, so the miner's hashrate is the work credited over the time it took, known
//! to about one part in the root of the shares. Every decision weighs that: far from the aim two
//! shares are proof enough, near it nothing moves without many. What was measured stays in use
//! after a step, because it is hashes a second and not shares; so a session arrives, is refined
//! each time its shares have grown by half, and otherwise changes only when a running test says
//! that the hashrate itself has. The minute of silence that XMRig spends on donations never counts
//! against a miner, and no step exceeds its limit.

use serde::{Deserialize, Serialize};

/// How eagerly difficulty follows the miner.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VardiffSettings {
    /// Seconds between shares to aim at.
    pub target_s: f64,
    /// Never below.
    pub min_difficulty: u64,
    /// Never above.
    pub max_difficulty: u64,
    /// The largest factor of one step, up or down.
    pub max_step: f64,
}

impl Default for VardiffSettings {
    fn default() -> Self {
        Self {
            target_s: 20.0,
            min_difficulty: 1_000,
            max_difficulty: 1_000_000_000_000,
            max_step: 8.0,
        }
    }
}

/// What a guess weighs against the measurement, in shares: it keeps two quick shares from looking
/// like thousands.
const PRIOR: f64 = 0.5;
/// Evidence that moves a session on its way to the aim, in nats of the likelihood ratio.
const EVIDENCE_ARRIVING: f64 = 2.0;
/// Evidence that the hashrate of a session that has arrived is a higher or a lower one. Chance
/// alone gives either about once a day; a fall needs more, because waits are what networks make.
const EVIDENCE_RISE: f64 = 7.0;
const EVIDENCE_FALL: f64 = 8.0;
/// The change the running tests look for: twice or half.
const SHIFT: f64 = 2.0;
/// Shares after which the measurement is applied first, and the growth after which it is applied
/// again.
const FIRST_REFINE: f64 = 4.0;
const REFINE_GROWTH: f64 = 1.5;
/// A session has arrived when its measurement is not applied again before it has more shares than
/// this.
const ARRIVED: f64 = 32.0;
/// Measured deviations from the aim up to this factor are left alone.
const NEAR: f64 = 1.2;
/// Shares of the present difficulty that must come before a step upwards: more before the first
/// one, because a miner that just connected may bring shares it found before, and fewer on the way.
const FRESH_FIRST: f64 = 6.0;
const FRESH: f64 = 2.0;
/// The silence of one donation round: 60 s, and connecting to the other pool and back.
const DONATION_MS: u64 = 65_000;

/// A session's measurements.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Vardiff {
    difficulty: u64,
    /// When the last share came; the start when none has.
    last_ms: u64,
    /// Hashes credited since the last step, and how many of them allow a step upwards.
    fresh: f64,
    enough: f64,
    /// Everything since the start or since the hashrate changed.
    all: Window,
    /// Effective shares at which the measurement is applied next.
    refine_at: f64,
    /// Since when a rise is more likely than none, and since when a fall.
    rise: Window,
    fall: Window,
}

impl Vardiff {
    /// Starts at a difficulty.
    pub fn new(difficulty: u64, settings: &VardiffSettings, now_ms: u64) -> Self {
        let (window, difficulty) = (Window::new(now_ms), within(difficulty, settings));
        Self {
            difficulty,
            last_ms: now_ms,
            fresh: 0.0,
            enough: FRESH_FIRST * difficulty as f64,
            all: window,
            refine_at: FIRST_REFINE,
            rise: window,
            fall: window,
        }
    }

    /// The difficulty new jobs should have.
    pub fn difficulty(&self) -> u64 {
        self.difficulty
    }

    /// An accepted share of this many hashes.
    pub fn accepted(&mut self, hashes: u64, now_ms: u64) {
        let hashes = hashes as f64;
        for window in [&mut self.all, &mut self.rise, &mut self.fall] {
            window.share(hashes, self.last_ms, now_ms);
        }
        self.fresh += hashes;
        self.last_ms = now_ms;
    }

    /// Takes a step if one is due and says whether the difficulty changed. To be asked after each
    /// share and every second.
    pub fn step(&mut self, settings: &VardiffSettings, now_ms: u64) -> bool {
        self.watch(settings, now_ms);
        let read = self.read(&self.all, settings, now_ms);
        let arriving = self.refine_at <= ARRIVED;
        let refine = read.shares >= self.refine_at;
        if refine {
            self.refine_at = REFINE_GROWTH * read.shares;
        }
        let far = arriving && read.evidence >= EVIDENCE_ARRIVING;
        let off = refine && !(1.0 / NEAR..=NEAR).contains(&read.ratio);
        let fresh = read.ratio <= 1.0 || self.fresh >= self.enough;
        if !(far || off) || !fresh {
            return false;
        }
        if read.shares < 1.0 {
            // A fall out of silence is a guess; the next one needs a silence of its own.
            self.all = Window::new(now_ms);
        }
        let next = stepped(self.difficulty, read.ratio, settings);
        if next == self.difficulty {
            return false;
        }
        (self.difficulty, self.fresh, self.enough) = (next, 0.0, FRESH * next as f64);
        (self.rise, self.fall) = (Window::new(now_ms), Window::new(now_ms));
        true
    }

    /// The two running tests (CUSUM): each window begins anew whenever its change is less likely
    /// than none. Once one is sure, its window is all that is still true about the miner.
    fn watch(&mut self, settings: &VardiffSettings, now_ms: u64) {
        let score = |vardiff: &Self, window: &Window| {
            let read = vardiff.read(window, settings, now_ms);
            (read.seen, read.expected, read.pardoned)
        };
        let (seen, expected, _) = score(self, &self.rise);
        let rise = seen * SHIFT.ln() - expected * (SHIFT - 1.0);
        let (seen, expected, pardoned) = score(self, &self.fall);
        let falls = |expected: f64| expected * (1.0 - 1.0 / SHIFT) - seen * SHIFT.ln();
        let shifted = match (rise >= EVIDENCE_RISE, falls(pardoned) >= EVIDENCE_FALL) {
            (true, _) => Some(self.rise),
            (false, true) => Some(self.fall),
            (false, false) => None,
        };
        if rise < 0.0 || shifted.is_some() {
            self.rise = Window::new(now_ms);
        }
        if falls(expected) < 0.0 || shifted.is_some() {
            self.fall = Window::new(now_ms);
        }
        if let Some(window) = shifted {
            (self.all, self.refine_at) = (window, FIRST_REFINE);
        }
    }

    fn read(&self, window: &Window, settings: &VardiffSettings, now_ms: u64) -> Reading {
        window.read(
            self.difficulty as f64,
            settings.target_s,
            self.last_ms,
            now_ms,
        )
    }
}

/// What came in a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Window {
    since_ms: u64,
    /// The sum of the shares' hashes, and of their squares.
    work: f64,
    squares: f64,
    /// The longest wait for a share that came.
    gap_ms: u64,
}

/// A window held against the aim.
#[derive(Debug, Clone, Copy)]
struct Reading {
    /// Work, in shares of the present difficulty.
    seen: f64,
    /// What the aim asks for in that time; and if its longest silence was a donation round.
    expected: f64,
    pardoned: f64,
    /// As many equal shares would tell the hashrate as well.
    shares: f64,
    /// The hashrate over the one that would meet the aim.
    ratio: f64,
    /// How much likelier that is than meeting it, in nats.
    evidence: f64,
}

impl Window {
    fn new(now_ms: u64) -> Self {
        Self {
            since_ms: now_ms,
            work: 0.0,
            squares: 0.0,
            gap_ms: 0,
        }
    }

    fn silence(&self, last_ms: u64, now_ms: u64) -> u64 {
        now_ms.saturating_sub(last_ms.max(self.since_ms))
    }

    fn share(&mut self, hashes: f64, last_ms: u64, now_ms: u64) {
        self.gap_ms = self.gap_ms.max(self.silence(last_ms, now_ms));
        self.work += hashes;
        self.squares += hashes * hashes;
    }

    fn read(&self, difficulty: f64, target_s: f64, last_ms: u64, now_ms: u64) -> Reading {
        let targets = |elapsed_ms: u64| elapsed_ms as f64 / 1000.0 / target_s;
        // A share cannot have taken no time at all.
        let elapsed_ms = now_ms.saturating_sub(self.since_ms).max(1);
        // The round itself, and the wait for the share after it.
        let round_ms = DONATION_MS + (target_s * 1000.0) as u64;
        let silence_ms = self.gap_ms.max(self.silence(last_ms, now_ms)).min(round_ms);
        let (expected, pardoned) = (
            targets(elapsed_ms),
            targets(elapsed_ms.saturating_sub(silence_ms)),
        );
        let seen = self.work / difficulty;
        let shares = if self.squares > 0.0 {
            self.work * self.work / self.squares
        } else {
            0.0
        };
        // Between the two readings nothing is known.
        let held = if seen > expected {
            expected
        } else {
            pardoned.max(seen)
        };
        let ratio = (seen + PRIOR) / (held + PRIOR);
        // The units differ while shares of an older difficulty are in the window; the smaller
        // evidence is safe.
        let evidence =
            surprise(seen, held).min(surprise(seen, held) / seen.max(f64::MIN_POSITIVE) * shares);
        Reading {
            seen,
            expected,
            pardoned,
            shares,
            ratio,
            evidence: if shares > 0.0 { evidence } else { held },
        }
    }
}

/// How much likelier `seen` shares are at their own rate than at one that lets `expected` be, in
/// nats: n ln(n/μ) − (n − μ), the likelihood ratio of a Poisson count.
fn surprise(seen: f64, expected: f64) -> f64 {
    if seen <= 0.0 {
        expected
    } else {
        seen * (seen / expected).ln() - (seen - expected)
    }
}

/// The difficulty one step towards `ratio` times the present one: never by more than the limit,
/// never out of the range.
fn stepped(difficulty: u64, ratio: f64, settings: &VardiffSettings) -> u64 {
    let (from, limit) = (difficulty as f64, settings.max_step.max(1.0));
    let wanted = from * ratio.clamp(1.0 / limit, limit);
    // Rounded towards where it comes from, so that rounding does not exceed the limit.
    let next = if wanted > from {
        wanted.floor()
    } else {
        wanted.ceil()
    };
    within(next as u64, settings)
}

fn within(difficulty: u64, settings: &VardiffSettings) -> u64 {
    difficulty
        .min(settings.max_difficulty)
        .max(settings.min_difficulty)
        .max(1)
}
