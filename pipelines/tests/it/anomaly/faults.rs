//! Twenty things that happen to a signal: seventeen faults, and three that are none.

use headframe_pipelines::anomaly::{Mode, Sample};

use super::signals::{
    AIR, BALANCE, DAY, EFFICIENCY, FANS, HASHRATE, HUMIDITY, INTERVAL_S, SITE_POWER, Signal,
    TARIFF_SITE,
};

/// A sample of which a fault may make something else.
pub struct Affected<'a> {
    /// It; `value` is what it reads without the fault.
    pub sample: &'a mut Sample,
    /// Its number in the signal.
    pub number: i64,
    /// Minutes since the fault began.
    pub minutes: f64,
    /// What it reads at the last sample before the fault.
    pub before: f64,
    /// Its noise.
    pub noise: f64,
    /// Whether it comes at all.
    pub comes: bool,
    /// The signal.
    pub signal: &'a Signal,
}

impl Affected<'_> {
    fn value(&mut self) -> &mut f64 {
        self.sample.value.get_or_insert(0.0)
    }
}

/// One thing that happens.
pub struct Case {
    pub name: &'static str,
    pub signal: Signal,
    /// Clean days before it.
    pub learn_days: i64,
    /// How long it lasts.
    pub hours: i64,
    /// Whether it is a fault.
    pub is_fault: bool,
    /// The detector that must be the one to name it, where only one can.
    pub detector: Option<&'static str>,
    /// The delay that is wanted in the median, in minutes.
    pub wanted_min: Option<f64>,
    pub apply: fn(&mut Affected<'_>),
}

const STEP_MIN: Option<f64> = Some(2.0 * INTERVAL_S as f64 / 60.0);

const fn fault(
    name: &'static str,
    signal: Signal,
    wanted_min: Option<f64>,
    apply: fn(&mut Affected<'_>),
) -> Case {
    Case {
        name,
        signal,
        learn_days: 2,
        hours: 20,
        is_fault: true,
        detector: None,
        wanted_min,
        apply,
    }
}

const fn named(case: Case, detector: &'static str) -> Case {
    Case {
        detector: Some(detector),
        ..case
    }
}

const fn lasting(case: Case, hours: i64) -> Case {
    Case { hours, ..case }
}

const fn quiet(name: &'static str, signal: Signal, learn_days: i64, hours: i64) -> Case {
    Case {
        learn_days,
        hours,
        is_fault: false,
        ..fault(name, signal, None, nothing)
    }
}

/// Every case.
pub const ALL: &[Case] = &[
    fault("board lost, -33 %", HASHRATE, STEP_MIN, |it| {
        *it.value() *= 0.67
    }),
    fault("machine off", HASHRATE, STEP_MIN, |it| *it.value() = 0.0),
    lasting(
        fault("decline, -10 % in 24 h", HASHRATE, Some(360.0), |it| {
            *it.value() *= 1.0 - 0.1 * it.minutes / 1_440.0;
        }),
        24,
    ),
    fault("unaccounted 20 kW (2 %)", SITE_POWER, STEP_MIN, |it| {
        *it.value() += 20_000.0
    }),
    fault(
        "leak 5 kW (0.5 %), main meter",
        SITE_POWER,
        Some(60.0),
        |it| *it.value() += 5_000.0,
    ),
    fault("leak 5 kW (0.5 %), balance", BALANCE, Some(60.0), |it| {
        *it.value() += 5_000.0
    }),
    fault("meter drift, +3 % in 6 h", SITE_POWER, Some(75.0), |it| {
        *it.value() *= 1.0 + 0.03 * (it.minutes / 360.0).min(1.0);
    }),
    fault("one of nine fans lost, -11 %", FANS, STEP_MIN, |it| {
        *it.value() *= 8.0 / 9.0
    }),
    fault("air, +0.1 °C a minute", AIR, Some(12.0), |it| {
        *it.value() += 0.1 * it.minutes.min(180.0);
    }),
    named(
        fault("frozen sensor", AIR, Some(30.0), |it| {
            *it.value() = it.before
        }),
        "stuck",
    ),
    lasting(
        fault("one wrong reading", SITE_POWER, STEP_MIN, |it| {
            if it.minutes < 1.0 {
                *it.value() *= 1.6;
            }
        }),
        1,
    ),
    named(
        lasting(
            fault("no samples", AIR, Some(12.0), |it| it.comes = false),
            3,
        ),
        "missing",
    ),
    fault("°C became °F", AIR, STEP_MIN, |it| {
        *it.value() = *it.value() * 1.8 + 32.0
    }),
    named(
        fault("clock one hour ahead", AIR, STEP_MIN, |it| {
            it.sample.event_time += 3_600_000_000;
        }),
        "clock",
    ),
    named(
        fault("humidity of 655.35 %", HUMIDITY, STEP_MIN, |it| {
            *it.value() = 655.35
        }),
        "impossible",
    ),
    named(
        Case {
            learn_days: 0,
            ..fault(
                "20 % over the rating from day one",
                EFFICIENCY,
                Some(40.0),
                |it| {
                    *it.value() *= 1.2;
                },
            )
        },
        "rating",
    ),
    Case {
        learn_days: 22,
        ..lasting(
            fault(
                "dear hours' load by night, -30 %",
                TARIFF_SITE,
                STEP_MIN,
                |it| {
                    *it.value() *= 0.7;
                },
            ),
            4,
        )
    },
    Case {
        apply: curtailed,
        ..quiet("quiet: curtailed for two hours", HASHRATE, 2, 3)
    },
    quiet(
        "quiet: tariff, weekdays and weekend",
        TARIFF_SITE,
        21,
        7 * 24,
    ),
    Case {
        apply: summer_time,
        ..quiet("quiet: summer time", TARIFF_SITE, 21, 3 * 24)
    },
];

fn nothing(_: &mut Affected<'_>) {}

/// Two hours of nothing as told, then ten minutes until it hashes fully again.
fn curtailed(it: &mut Affected<'_>) {
    if it.minutes < 120.0 {
        it.sample.mode = Mode::Curtailed;
        *it.value() = 0.0;
    } else {
        *it.value() *= ((it.minutes - 120.0) / 10.0).clamp(0.0, 1.0);
    }
}

/// The load comes an hour earlier by our clock.
fn summer_time(it: &mut Affected<'_>) {
    let signal = it.signal;
    *it.value() = signal.clean(it.number, 1) + signal.spread * it.noise;
}

/// The first sample of a fault that begins within a day of the clean ones, in a random hour. The
/// load of the night is put where nothing like it is expected.
pub fn first_sample(case: &Case, random: i64) -> i64 {
    let begun = case.learn_days * DAY;
    match (case.learn_days, case.is_fault) {
        (0, _) => 0,
        (_, true) if case.signal.name == TARIFF_SITE.name => begun + DAY / 12,
        (_, true) => begun + random.rem_euclid(DAY / 2),
        (_, false) => begun,
    }
}
