//! The election under a seeded simulation: coordinators that are stopped and go on, clocks that run
//! at different rates, answers that are late or lost, a key that is let go. At no moment two of
//! them act. `COOPMINE_SEEDS` runs more seeds, `COOPMINE_SEED` one alone.

use headframe_coopmine::election::{Election, ElectionTiming, WriteEnd};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const TIMING: ElectionTiming = ElectionTiming {
    renew_ms: 2_000,
    hold_ms: 6_000,
    takeover_ms: 10_000,
};
/// Moments of one run, of ten milliseconds each.
const STEPS: u64 = 10_000;
/// Within how many of them a member is stopped again, and says goodbye again.
const STOPS_WITHIN: u64 = 4_000;
const LEAVES_WITHIN: u64 = 16_000;

/// The key as JetStream has it.
#[derive(Default)]
struct Key {
    revision: u64,
    is_held: bool,
}

struct Member {
    election: Election,
    /// How fast its clock runs, thousandths.
    rate: u64,
    stopped_until: u64,
    /// When it is stopped the next time, and when it says goodbye.
    stops_at: u64,
    leaves_at: u64,
    /// A write on its way: when it arrives, the revision it names, when its answer does, and what
    /// that is.
    write: Option<(u64, u64, u64, Option<WriteEnd>)>,
    /// What it is arrived of the key: when, the revision, and whether it is held.
    news: Vec<(u64, u64, bool)>,
}

impl Member {
    fn now(&self, moment: u64) -> u64 {
        moment * 10 * self.rate / 1_000
    }
}

/// How often somebody acted, and under how many tokens.
fn run(seed: u64) -> (u64, u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut key = Key::default();
    let count = random.random_range(2..4);
    let mut members: Vec<Member> = (0..count)
        .map(|_| Member {
            election: Election::new(TIMING),
            // Clocks of cheap machines differ by far less.
            rate: random.random_range(950..1_050),
            stopped_until: 0,
            stops_at: random.random_range(1..STOPS_WITHIN),
            leaves_at: random.random_range(1..LEAVES_WITHIN),
            write: None,
            news: vec![(0, 0, false)],
        })
        .collect();
    let (mut acts, mut tokens, mut highest) = (0, 0, 0);
    for moment in 0..STEPS {
        for at in 0..members.len() {
            let change = step(&mut members[at], &mut key, moment, &mut random);
            if change {
                let (revision, is_held) = (key.revision, key.is_held);
                for member in &mut members {
                    let later = moment + random.random_range(0..100);
                    member.news.push((later, revision, is_held));
                }
            }
        }
        let acting = members
            .iter()
            .filter(|member| member.stopped_until <= moment)
            .filter_map(|member| member.election.holds(member.now(moment)));
        for (before, token) in acting.enumerate() {
            assert_eq!(before, 0, "two act at {moment}");
            assert!(token >= highest, "{token} acts after {highest}");
            tokens += u64::from(token > highest);
            highest = token;
            acts += 1;
        }
    }
    (acts, tokens)
}

/// One moment of one member; true when the key changed.
fn step(member: &mut Member, key: &mut Key, moment: u64, random: &mut StdRng) -> bool {
    let mut is_changed = false;
    // What is on its way arrives, whether its sender runs or not.
    if let Some((arrives, seen, answered, end @ None)) = &mut member.write
        && *arrives <= moment
    {
        let is_lost = random.random_ratio(1, 20);
        let is_newest = *seen == key.revision;
        if is_newest && (!is_lost || random.random_ratio(1, 2)) {
            key.revision += 1;
            key.is_held = true;
            is_changed = true;
        }
        *end = Some(match (is_lost, is_newest) {
            (true, _) => WriteEnd::Unknown,
            (false, true) => WriteEnd::Written(key.revision),
            (false, false) => WriteEnd::Lost,
        });
        *answered = moment + random.random_range(0..300);
    }
    if member.stopped_until > moment {
        return is_changed;
    }
    if moment >= member.stops_at {
        member.stopped_until = moment + random.random_range(1..2_500);
        member.stops_at = member.stopped_until + random.random_range(1..STOPS_WITHIN);
        return is_changed;
    }
    let now = member.now(moment);
    if let Some((_, _, answered, Some(end))) = member.write
        && answered <= moment
    {
        member.write = None;
        member.election.wrote(end, now);
    }
    while let Some(at) = member.news.iter().position(|news| news.0 <= moment) {
        let (_, revision, is_held) = member.news.remove(at);
        member.election.saw(revision, is_held, now);
    }
    if member.write.is_none()
        && let Some(write) = member.election.step(now)
    {
        let arrives = moment + random.random_range(0..300);
        member.write = Some((arrives, write.seen, u64::MAX, None));
    }
    // Now and then it says goodbye, and begins anew.
    if member.write.is_none() && moment >= member.leaves_at {
        member.leaves_at = moment + random.random_range(1..LEAVES_WITHIN);
        let held = member.election.holds(now).is_some();
        if held && member.election.revision() == Some(key.revision) {
            key.revision += 1;
            key.is_held = false;
            is_changed = true;
        }
        member.election = Election::new(TIMING);
        member.news = vec![(moment + 1, key.revision, key.is_held)];
    }
    is_changed
}

#[test]
fn at_no_moment_two_coordinators_act() {
    let number_from = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seeds = match number_from("COOPMINE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number_from("COOPMINE_SEEDS").unwrap_or(1_000),
    };
    let (mut acts, mut tokens, count) = (0, 0, seeds.end - seeds.start);
    for seed in seeds {
        let ran = std::panic::catch_unwind(|| run(seed));
        let (more_acts, more_tokens) = ran.unwrap_or_else(|_| panic!("COOPMINE_SEED={seed}"));
        acts += more_acts;
        tokens += more_tokens;
    }
    // Somebody is active much of the time, though half of it each is stopped, and it changes hands.
    assert!(
        acts > count * STEPS / 4,
        "{acts} moments of {}",
        count * STEPS
    );
    assert!(tokens > 2 * count, "{tokens} tokens in {count} runs");
}
