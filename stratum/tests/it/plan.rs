//! Which mode and which datasets memory allows: the plan by itself, and the seeds that carry it
//! out.

use headframe_stratum::chain::Hash;
use headframe_stratum::randomx::plan::{
    Action, CACHE, DATASET, DatasetState, MARGIN, ModeSetting, choose_mode, next_action,
};
use headframe_stratum::randomx::system_memory::{available, available_of, left_of};
use headframe_stratum::randomx::{Mode, RandomxSettings, Seeds};

use crate::random::Random;

const A: Hash = [1; 32];
const B: Hash = [2; 32];
const ENOUGH: Option<u64> = Some(DATASET + MARGIN);
const LITTLE: Option<u64> = Some(DATASET + MARGIN - 1);

#[test]
fn memory_is_read_as_linux_writes_it() {
    let text = "MemTotal:       24683520 kB\nMemFree:          123456 kB\nMemAvailable:   21916672 \
                kB\nBuffers: 1 kB\n";
    assert_eq!(available_of(text), Some(21_916_672 * 1024));
    assert_eq!(available_of("MemTotal: 1 kB\n"), None);
    assert_eq!(available_of("MemAvailable: much kB\n"), None);
    assert_eq!(left_of("4294967296\n", "1073741824\n"), Some(3_221_225_472));
    assert_eq!(left_of("1\n", "2\n"), Some(0));
    assert_eq!(left_of("max\n", "1\n"), None);
    assert!(available().is_none_or(|bytes| bytes > 0));
}

#[test]
fn the_mode_is_chosen_by_memory_and_says_why() {
    let required = DATASET + 2 * CACHE + MARGIN;
    for (wish, available, mode) in [
        (ModeSetting::Auto, Some(required), Mode::Full),
        (ModeSetting::Auto, Some(required - 1), Mode::Light),
        (ModeSetting::Auto, None, Mode::Light),
        (ModeSetting::Full, Some(0), Mode::Full),
        (ModeSetting::Light, Some(u64::MAX), Mode::Light),
    ] {
        let choice = choose_mode(wish, available);
        assert_eq!(choice.mode, mode, "{wish:?} {available:?}");
        assert!(!choice.reason.is_empty());
    }
    assert!(
        choose_mode(ModeSetting::Full, Some(0))
            .reason
            .contains("only 0 MiB"),
        "an operator is warned"
    );
}

#[test]
fn datasets_are_built_kept_and_released_by_plan() {
    let scene =
        |current: Option<Hash>, next: Option<Hash>, built: &[Hash], available| DatasetState {
            current,
            next,
            built: built.to_vec(),
            available,
        };
    let cases = [
        (scene(None, None, &[], ENOUGH), Action::Rest),
        (scene(Some(A), None, &[], ENOUGH), Action::Build(A)),
        (scene(Some(A), None, &[], None), Action::Build(A)),
        (scene(Some(A), None, &[], LITTLE), Action::Wait),
        (scene(Some(A), None, &[A], ENOUGH), Action::Rest),
        // The next epoch is known an hour or two ahead: with space both are alive at the switch.
        (scene(Some(A), Some(B), &[A], ENOUGH), Action::BuildAhead(B)),
        (scene(Some(B), None, &[A, B], ENOUGH), Action::Release(A)),
        // Without space the old one goes at the switch, and the new seed is verified in light mode
        // meanwhile.
        (scene(Some(A), Some(B), &[A], LITTLE), Action::Wait),
        (scene(Some(B), None, &[A], LITTLE), Action::Release(A)),
        (scene(Some(B), None, &[], LITTLE), Action::Wait),
        (scene(Some(B), None, &[], ENOUGH), Action::Build(B)),
        (scene(Some(B), None, &[A], ENOUGH), Action::Build(B)),
    ];
    for (scene, action) in cases {
        assert_eq!(next_action(&scene), action, "{scene:?}");
    }
}

/// Memory is never promised twice, the seed in use is never given up, and the plan comes to rest.
#[test]
fn a_plan_never_overcommits_and_comes_to_rest() {
    for case in 0..20_000 {
        let mut random = Random(case);
        let total = random.below(4 * DATASET);
        let mut scene = DatasetState {
            current: Some([0; 32]),
            ..DatasetState::default()
        };
        for epoch in 0..6u8 {
            let mut steps = 0;
            loop {
                scene.available = Some(total.saturating_sub(DATASET * scene.built.len() as u64));
                match next_action(&scene) {
                    Action::Build(seed) | Action::BuildAhead(seed) => {
                        assert!(
                            scene.available.unwrap() >= DATASET + MARGIN
                                && !scene.built.contains(&seed),
                            "case {case}"
                        );
                        scene.built.push(seed);
                    }
                    Action::Release(seed) => {
                        assert!(Some(seed) != scene.current, "case {case}");
                        scene.built.retain(|built| *built != seed);
                    }
                    Action::Wait | Action::Rest => break,
                }
                steps += 1;
                assert!(
                    steps < 6,
                    "case {case}: the plan does not come to rest: {scene:?}"
                );
            }
            // Whatever the memory allows by itself, the seed in use has got.
            assert_eq!(
                scene.built.contains(&scene.current.unwrap()),
                total >= DATASET + MARGIN,
                "case {case}: {scene:?}"
            );
            (scene.current, scene.next) = match scene.next {
                Some(next) => (Some(next), None),
                None => (scene.current, Some([epoch + 1; 32])),
            };
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_light_pool_builds_no_dataset_and_ends_at_once() {
    let seeds = Seeds::with(&RandomxSettings {
        mode: ModeSetting::Light,
        ..RandomxSettings::default()
    });
    assert_eq!(
        (seeds.mode(), seeds.choice().reason.as_str()),
        (Mode::Light, "as configured")
    );
    let memory = seeds.memory(A).await.unwrap();
    assert_eq!(memory.mode(), Mode::Light);
    seeds.request(A, Some(B));
    let stop = tokio_util::sync::CancellationToken::new();
    stop.cancel();
    seeds.build_datasets(stop).await;
    assert!(!seeds.is_full(&A));
}
