//! A request whose number is another at each reading.

use headframe_site::control::power::PowerRegion;
use headframe_site::request::Level;

use crate::run::small_running;

#[test]
fn a_cap_that_moves_with_each_reading_is_obeyed_and_never_let_go() {
    let mut run = small_running();
    run.signal_period_ms = 5_000;
    for step in 0..60 {
        run.ask(Level::Curtail, Some(14.0 + 0.01 * f64::from(step % 2)));
        run.tick();
    }
    assert_eq!(run.region(), PowerRegion::Curtailed);
    assert!(run.plant.site_kw() <= 14.01, "{}", run.plant.site_kw());
    run.ask(Level::Curtail, Some(10.0));
    for _ in 0..30 {
        let target_kw = run.tick().verdict.target_kw;
        assert!(
            target_kw <= 10.0,
            "a tighter cap counts at once: {target_kw}"
        );
    }
    run.ask(Level::Curtail, Some(20.0));
    assert_eq!(
        run.tick().verdict.target_kw,
        10.0,
        "a looser one when it stood"
    );
    assert_eq!(run.tick().verdict.target_kw, 20.0);
}
