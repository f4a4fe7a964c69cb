//! Notices: said again when nobody acknowledges them, and when they become worse.

use headframe_site::control::order::Order;
use headframe_site::notice::Severity;
use headframe_site::request::Level;

use crate::run::{Run, small_running};

#[test]
fn without_a_journal_the_controller_goes_on() {
    let mut run = small_running();
    run.ask(Level::Emergency, None);
    run.signal_period_ms = 5_000;
    let mut decision = None;
    for _ in 0..20 {
        decision = Some(run.tick_with(|observation| {
            observation.journal_trouble = Some("no space left".to_owned());
        }));
    }
    assert!(decision.unwrap().is_journal_lost);
    let found = run.notices.iter().filter(|one| one.topic == "journal/lost");
    let severities: Vec<Severity> = found.map(|one| one.severity).collect();
    assert_eq!(
        severities,
        [Severity::Warning, Severity::Emergency],
        "a disk that is slow for a moment is no emergency yet"
    );
    assert!(run.plant.site_kw() < 10.0);
}

#[test]
fn an_emergency_that_nobody_acknowledges_is_said_again_after_ten_minutes() {
    let stop = Order::EmergencyStop {
        by: "ann".to_owned(),
        reason: "test".to_owned(),
    };
    let emergencies = |run: &Run| {
        let of_trip = run.notices.iter().filter(|one| {
            one.severity == Severity::Emergency && one.topic == "trip/emergency_stop"
        });
        of_trip.map(|one| one.id).collect::<Vec<u64>>()
    };
    let mut run = small_running();
    run.orders.push(stop);
    run.tick_with(|observation| observation.notifier_trouble = Some("timeout".to_owned()));
    assert!(run.has_notice("notifier/failing"));
    assert_eq!(emergencies(&run).len(), 1);
    run.seconds(595);
    assert_eq!(emergencies(&run).len(), 1);
    run.seconds(10);
    assert_eq!(emergencies(&run).len(), 2);
    let last = *emergencies(&run).last().unwrap();
    run.tick_with(|observation| observation.acknowledged.push(last));
    run.seconds(1_800);
    assert_eq!(emergencies(&run).len(), 2);
}
