//! Who is sentenced for what, and who must not be.

use headframe_stratum::defence::addresses::ClientAddress;
use headframe_stratum::defence::bans::BanTarget;
use headframe_stratum::defence::reputation::{
    Offence, OffenceVerdict, ReputationConfig, ReputationScore, ReputationTable,
};
use headframe_stratum::defence::worker_id::WorkerId;
use headframe_stratum::share::Rejection;
use proptest::prelude::*;
use std::sync::Arc;

fn worker_id(ip: &str, worker: &str) -> Arc<WorkerId> {
    Arc::new(WorkerId {
        origin: ClientAddress::new(ip.parse().unwrap()),
        wallet: "4A".to_owned(),
        worker: worker.to_owned(),
    })
}

/// One connection of a worker.
struct Rig {
    worker_id: Arc<WorkerId>,
    record: ReputationScore,
}

impl Rig {
    fn new(ip: &str, worker: &str) -> Self {
        Self {
            worker_id: worker_id(ip, worker),
            record: ReputationScore::default(),
        }
    }

    fn good(&mut self, reputation: &mut ReputationTable, now_ms: u64) {
        reputation.good(&mut self.record, &self.worker_id, now_ms);
    }

    fn does(
        &mut self,
        reputation: &mut ReputationTable,
        offence: Offence,
        now_ms: u64,
    ) -> OffenceVerdict {
        reputation.offence(&mut self.record, &self.worker_id, offence, false, now_ms)
    }

    /// Until it is to be closed: how many it took, and the verdict.
    fn until_closed(
        &mut self,
        reputation: &mut ReputationTable,
        offence: Offence,
        most: usize,
    ) -> Option<(usize, OffenceVerdict)> {
        (1..=most)
            .map(|number| (number, self.does(reputation, offence, 0)))
            .find(|(_, verdict)| verdict.close)
    }
}

fn subjects(verdict: &OffenceVerdict) -> Vec<&BanTarget> {
    verdict.ban.iter().map(|(subject, _)| subject).collect()
}

#[test]
fn wrong_results_weigh_most_and_nobody_falls_by_one_event() {
    for (offence, number) in [
        (Offence::WrongResult, 4),
        (Offence::MalformedLine, 4),
        (Offence::SlowReader, 7),
        (Offence::MalformedShare, 20),
        (Offence::LowDifficulty, 20),
        (Offence::Duplicate, 20),
        (Offence::Stale, 100),
    ] {
        let mut reputation = ReputationTable::new(ReputationConfig::default());
        let mut rig = Rig::new("203.0.113.1", "a");
        let (took, verdict) = rig.until_closed(&mut reputation, offence, 200).unwrap();
        assert_eq!(
            (took, subjects(&verdict)),
            (number, vec![&BanTarget::Session((*rig.worker_id).clone())]),
            "{offence:?}"
        );
    }
    // What the pool refuses for its own reasons is nobody's offence.
    assert_eq!(Offence::from_rejection(Rejection::Throttled), None);
    assert_eq!(
        Offence::from_rejection(Rejection::WrongResult),
        Some(Offence::WrongResult)
    );
}

#[test]
fn a_miner_with_a_bug_is_refused_and_not_banned_while_it_works() {
    let mut reputation = ReputationTable::new(ReputationConfig::default());
    // XMRig's duplicates after a donation round: one good share, then it again.
    let mut doubler = Rig::new("203.0.113.1", "doubler");
    // Unstable memory: every fifth result is wrong.
    let mut unstable = Rig::new("203.0.113.2", "unstable");
    for round in 0..2_000u64 {
        let now_ms = round * 20_000;
        doubler.good(&mut reputation, now_ms);
        assert_eq!(
            doubler.does(&mut reputation, Offence::Duplicate, now_ms),
            OffenceVerdict::default()
        );
        if round % 5 == 0 {
            assert_eq!(
                unstable.does(&mut reputation, Offence::WrongResult, now_ms),
                OffenceVerdict::default(),
                "round {round}"
            );
        } else {
            unstable.good(&mut reputation, now_ms);
        }
    }
    // Worse than every third is no accident any more.
    let mut broken = Rig::new("203.0.113.3", "broken");
    let closed = (0..200u64).any(|round| {
        broken.good(&mut reputation, round * 20_000);
        broken
            .does(&mut reputation, Offence::WrongResult, round * 20_000)
            .close
    });
    assert!(closed);
}

#[test]
fn one_bad_rig_never_bans_its_lan() {
    let mut reputation = ReputationTable::new(ReputationConfig::default());
    let mut honest = Rig::new("203.0.113.1", "honest");
    for round in 0..500u64 {
        let now_ms = round * 30_000;
        honest.good(&mut reputation, now_ms);
        // A new name each time, a thousand wrong results: the address stays free for the honest
        // one.
        let mut bad = Rig::new("203.0.113.1", &format!("bad{round}"));
        for _ in 0..4 {
            let verdict = bad.does(&mut reputation, Offence::WrongResult, now_ms);
            assert!(subjects(&verdict).iter().all(|subject| matches!(subject,
                    BanTarget::Session(worker_id) if worker_id.worker != "honest")));
        }
        assert_eq!(
            reputation.before_login(honest.worker_id.origin, Offence::PreLoginJunk, now_ms),
            None
        );
    }
    assert!(reputation.is_proven(&honest.worker_id, 500 * 30_000));
}

#[test]
fn rigs_that_share_a_name_are_closed_one_by_one() {
    let mut reputation = ReputationTable::new(ReputationConfig::default());
    let (mut honest, mut bad) = (
        Rig::new("203.0.113.1", "default"),
        Rig::new("203.0.113.1", "default"),
    );
    for _ in 0..20 {
        honest.good(&mut reputation, 0);
    }
    let (took, verdict) = bad
        .until_closed(&mut reputation, Offence::WrongResult, 10)
        .unwrap();
    assert_eq!(
        (took, verdict.ban),
        (4, vec![]),
        "the name is the honest one's, too"
    );
}

#[test]
fn an_address_with_nothing_but_bad_workers_is_banned() {
    let mut reputation = ReputationTable::new(ReputationConfig::default());
    let mut banned = Vec::new();
    for number in 0..3 {
        let mut rig = Rig::new("203.0.113.1", &format!("w{number}"));
        banned.extend(
            rig.until_closed(&mut reputation, Offence::WrongResult, 10)
                .unwrap()
                .1
                .ban,
        );
    }
    assert_eq!(banned.len(), 4);
    assert_eq!(
        banned[3].0,
        BanTarget::Address(ClientAddress::new("203.0.113.1".parse().unwrap()))
    );
    // Another name before each sentence is no way out.
    let mut reputation = ReputationTable::new(ReputationConfig::default());
    let mut offences = (0..100).map(|number| {
        Rig::new("203.0.113.9", &format!("w{number}")).does(
            &mut reputation,
            Offence::WrongResult,
            0,
        )
    });
    let verdict = offences.find(|verdict| !verdict.ban.is_empty()).unwrap();
    assert!(matches!(subjects(&verdict)[..], [BanTarget::Address(_)]) && verdict.close);
    // Allowed addresses lose the worker and keep the address.
    let mut reputation = ReputationTable::new(ReputationConfig::default());
    for number in 0..10 {
        let mut rig = Rig::new("192.168.1.1", &format!("w{number}"));
        let bans: Vec<_> = (0..4)
            .flat_map(|_| {
                reputation
                    .offence(
                        &mut rig.record,
                        &rig.worker_id,
                        Offence::WrongResult,
                        true,
                        0,
                    )
                    .ban
            })
            .map(|ban| ban.0)
            .collect();
        assert!(matches!(bans[..], [BanTarget::Session(_)]), "{bans:?}");
    }
}

#[test]
fn junk_before_login_bans_the_address_unless_somebody_there_is_honest() {
    let mut reputation = ReputationTable::new(ReputationConfig::default());
    let origin = worker_id("203.0.113.1", "x").origin;
    let junk = |reputation: &mut ReputationTable, now_ms| {
        (0..10)
            .filter_map(|_| reputation.before_login(origin, Offence::PreLoginJunk, now_ms))
            .count()
    };
    assert_eq!(junk(&mut reputation, 0), 1);
    Rig::new("203.0.113.1", "honest").good(&mut reputation, 0);
    assert_eq!(junk(&mut reputation, 0), 0);
    // The protection of one good share ends.
    assert_eq!(junk(&mut reputation, 1_800_001), 1);
}

#[test]
fn points_fade_and_automatic_bans_can_be_turned_off() {
    let mut reputation = ReputationTable::new(ReputationConfig::default());
    let mut rig = Rig::new("203.0.113.1", "a");
    // A wrong result every ten minutes for a day never comes to a hundred points.
    for round in 0..144u64 {
        assert!(
            !rig.does(&mut reputation, Offence::WrongResult, round * 600_000)
                .close,
            "{round}"
        );
    }
    let mut reputation = ReputationTable::new(ReputationConfig {
        ban_points: 0,
        ..ReputationConfig::default()
    });
    assert!(
        rig.until_closed(&mut reputation, Offence::WrongResult, 1000)
            .is_none()
    );
    assert_eq!(
        reputation.before_login(rig.worker_id.origin, Offence::PreLoginJunk, 0),
        None
    );
}

#[test]
fn proof_comes_with_a_good_share_goes_with_a_wrong_one_and_survives_a_reconnect() {
    let settings = ReputationConfig::default();
    let mut reputation = ReputationTable::new(settings.clone());
    let mut rig = Rig::new("203.0.113.1", "a");
    assert!(!rig.record.is_proven(&settings, 0));
    rig.good(&mut reputation, 0);
    assert!(rig.record.is_proven(&settings, 0) && reputation.is_proven(&rig.worker_id, 0));
    rig.does(&mut reputation, Offence::WrongResult, 0);
    assert!(!rig.record.is_proven(&settings, 0));
    (0..2).for_each(|_| rig.good(&mut reputation, 0));
    assert!(rig.record.is_proven(&settings, 0));
    assert!(
        !reputation.is_proven(&worker_id("203.0.113.2", "a"), 0),
        "proof belongs to an address, too"
    );
    assert!(
        !rig.record.is_proven(&settings, 3 * 3_600_000),
        "proof grows old"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn a_sentence_needs_points_and_a_bad_ratio(steps in prop::collection::vec((0usize..14,
        0u64..60_000), 1..120)) {
        let settings = ReputationConfig::default();
        let mut reputation = ReputationTable::new(settings.clone());
        let mut rig = Rig::new("203.0.113.1", "a");
        let (mut now_ms, mut points, mut good, mut workers, mut addresses) = (0, 0u32, 0u32, 0, 0);
        for (step, later_ms) in steps {
            now_ms += later_ms;
            let Some(offence) = Offence::ALL.get(step) else {
                rig.good(&mut reputation, now_ms);
                good += 1;
                continue;
            };
            points += offence.points();
            let verdict = rig.does(&mut reputation, *offence, now_ms);
            for (subject, score) in &verdict.ban {
                // Fading only lowers the sums, so the points as given bound what all sentences
                // together can rest on.
                let (sentences, each) = match subject {
                    BanTarget::Session(_) => (&mut workers, settings.ban_points),
                    _ => (&mut addresses, settings.ban_points * settings.bans_before_address),
                };
                *sentences += 1;
                prop_assert!(points >= *sentences * each, "{} points, {} good", points, good);
                prop_assert!(*score >= each && verdict.close);
            }
            if verdict.close {
                prop_assert!(rig.record.points() >= settings.ban_points || !verdict.ban.is_empty());
            }
        }
    }
}
