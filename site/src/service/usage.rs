//! Tells whoever asks by a signal how the site did: each quarter hour, and when an event is over.
//!
//! What is told is metered from step to step. A task of its own waits for the other side, and a few
//! reports wait with it, so that nothing else does.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::signals::Signals;
use crate::control::metering::Quality;
use crate::control::power::PowerRegion;
use crate::moment::Moment;
use crate::request::{Level, SignalReading, SignalValue};
use crate::signal::{OperatingState, Usage, UsageReportError};
use crate::status::Status;

/// An interval, in microseconds: a quarter hour, which begins with the hour.
const INTERVAL_US: i64 = 900_000_000;
/// Steps further apart than this leave the energy between them unknown.
const MOST_MS: u64 = 60_000;
/// Reports that may wait; the oldest are left out.
const MOST_WAITING: usize = 96;
/// Between two attempts: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Follows the steps, and tells what there is to be told, for each signal that wants it.
pub(super) fn start(
    signals: &Arc<Signals>,
    status: &watch::Receiver<Option<Arc<Status>>>,
    tasks: &mut JoinSet<()>,
) {
    for index in signals.wanting_reports() {
        let (sender, waiting) = mpsc::channel(MOST_WAITING);
        tasks.spawn(follow(signals.name(index), status.clone(), sender));
        tasks.spawn(send(signals.clone(), index, waiting));
    }
}

async fn follow(
    signal: String,
    mut status: watch::Receiver<Option<Arc<Status>>>,
    reports: mpsc::Sender<Usage>,
) {
    let mut meter = UsageMeter::default();
    while status.changed().await.is_ok() {
        let Some(now) = status.borrow_and_update().clone() else {
            continue;
        };
        for usage in meter.add(&Sample::new(&now), now.signals.as_slice(), &signal) {
            if reports.try_send(usage).is_err() {
                tracing::warn!(signal, "too many reports wait; one is left out");
            }
        }
    }
}

/// Sends reports in order; one that fails is sent again, after growing pauses, and one that is
/// refused is left out, so that it holds up no other.
async fn send(signals: Arc<Signals>, index: usize, mut reports: mpsc::Receiver<Usage>) {
    let mut waiting: VecDeque<Usage> = VecDeque::new();
    let (mut pause, mut not_before) = (FIRST_PAUSE, Instant::now());
    loop {
        tokio::select! {
            next = reports.recv() => match next {
                Some(usage) => waiting.push_back(usage),
                None => return,
            },
            () = tokio::time::sleep_until(not_before), if !waiting.is_empty() => {}
        }
        if waiting.len() > MOST_WAITING {
            waiting.pop_front();
        }
        if Instant::now() < not_before {
            continue;
        }
        let Some(usage) = waiting.front() else {
            continue;
        };
        match signals.report(index, usage).await {
            Ok(()) => {
                waiting.pop_front();
                pause = FIRST_PAUSE;
            }
            Err(UsageReportError::Refused(reason)) => {
                let signal = signals.name(index);
                tracing::warn!(
                    signal,
                    reason,
                    "a report of what was used is refused: left out"
                );
                waiting.pop_front();
                pause = FIRST_PAUSE;
            }
            Err(UsageReportError::NotTaken(reason)) => {
                let signal = signals.name(index);
                tracing::warn!(signal, reason, "a report of what was used waits");
                not_before = Instant::now() + pause;
                pause = (2 * pause).min(LONGEST_PAUSE);
            }
        }
    }
}

/// The site at a step.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Moment,
    kw: f64,
    is_estimated: bool,
    state: OperatingState,
}

impl Sample {
    fn new(status: &Status) -> Self {
        use PowerRegion as R;
        let decision = &status.decision;
        Self {
            at: status.at,
            kw: decision.measured_kw,
            is_estimated: decision.quality == Quality::Estimated,
            state: match decision.after.power {
                R::Curtailing | R::Curtailed => OperatingState::Curtailed,
                R::Tripped | R::Lockout => OperatingState::Error,
                _ => OperatingState::Normal,
            },
        }
    }
}

/// What was used since the last report.
#[derive(Debug, Default)]
struct UsageMeter {
    last: Option<Sample>,
    from_us: i64,
    kwh: f64,
    metered_ms: u64,
    is_broken: bool,
    is_estimated: bool,
    state: OperatingState,
    /// Events that were under way at the last step.
    running: BTreeSet<String>,
}

impl UsageMeter {
    /// Takes a step in: what is to be told.
    fn add(&mut self, now: &Sample, signals: &[SignalReading], signal: &str) -> Vec<Usage> {
        let reading = signals.iter().find(|one| one.source == signal);
        let running = reading.and_then(|reading| running(reading, now.at.utc_us));
        let running = running.unwrap_or_else(|| self.running.clone());
        let ended: Vec<String> = self.running.difference(&running).cloned().collect();
        let was_running = std::mem::replace(&mut self.running, running);
        let Some(last) = self.last.replace(*now) else {
            self.from_us = now.at.utc_us;
            return Vec::new();
        };
        if now.at.utc_us < last.at.utc_us {
            // The wall clock was set back: no interval could be named.
            self.begin(now.at.utc_us);
            return Vec::new();
        }
        let mut usages = Vec::new();
        let bound_us = (last.at.utc_us.div_euclid(INTERVAL_US) + 1) * INTERVAL_US;
        let mut since = last.at;
        if now.at.utc_us >= bound_us {
            let before_ms = (bound_us - last.at.utc_us).unsigned_abs() / 1_000;
            let bound = since.plus_ms(before_ms);
            self.meter(&last, since, bound);
            self.close(bound_us, was_running.iter().cloned(), &mut usages);
            // Whole intervals without a step are left out.
            let missed_us = now.at.utc_us.div_euclid(INTERVAL_US) * INTERVAL_US;
            self.from_us = self.from_us.max(missed_us);
            since = bound;
        }
        self.meter(&last, since, now.at);
        if !ended.is_empty() {
            self.close(now.at.utc_us, ended.into_iter(), &mut usages);
        }
        usages
    }

    /// Adds the energy between two moments.
    fn meter(&mut self, last: &Sample, from: Moment, to: Moment) {
        let ms = to.ms_since(from);
        self.is_broken |= ms > MOST_MS;
        self.kwh += last.kw * ms as f64 / 3_600_000.0;
        self.metered_ms += ms;
        self.is_estimated |= last.is_estimated;
        self.state = self.state.max(last.state);
    }

    /// Ends the interval: a report for each event, or one without any.
    fn close(&mut self, to_us: i64, events: impl Iterator<Item = String>, usages: &mut Vec<Usage>) {
        let is_metered = !self.is_broken && self.metered_ms > 0;
        let hours = self.metered_ms as f64 / 3_600_000.0;
        let usage = Usage {
            event: None,
            from_us: self.from_us,
            to_us,
            energy_kwh: is_metered.then_some(rounded(self.kwh)),
            power_kw: is_metered.then(|| rounded(self.kwh / hours)),
            is_estimated: self.is_estimated,
            state: self.state,
        };
        let before = usages.len();
        usages.extend(events.map(|event| Usage {
            event: Some(event),
            ..usage.clone()
        }));
        if usages.len() == before {
            usages.push(usage);
        }
        self.begin(to_us);
    }

    fn begin(&mut self, from_us: i64) {
        let (last, running) = (self.last, std::mem::take(&mut self.running));
        *self = Self {
            last,
            from_us,
            running,
            ..Self::default()
        };
    }
}

fn rounded(number: f64) -> f64 {
    crate::control::observation::rounded(number)
}

/// The events that are under way by a reading; none when it is not known.
fn running(reading: &SignalReading, now_us: i64) -> Option<BTreeSet<String>> {
    let SignalValue::Known(requests) = &reading.value else {
        return None;
    };
    let is_running = |one: &&crate::request::Request| {
        let has_begun = one.starts_at_us.is_none_or(|start| start <= now_us);
        let goes_on = one.ends_at_us.is_none_or(|end| end > now_us);
        one.level != Level::Normal && has_begun && goes_on
    };
    let requests = requests.iter().filter(is_running);
    Some(requests.filter_map(|one| one.event.clone()).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::request::{Request, SignalClass};

    fn sample(second: i64, kw: f64) -> Sample {
        Sample {
            at: Moment {
                elapsed_ms: second.unsigned_abs() * 1_000 + 77,
                utc_us: second * 1_000_000,
            },
            kw,
            is_estimated: false,
            state: OperatingState::Normal,
        }
    }

    fn asks(event: Option<&str>) -> Vec<SignalReading> {
        let request = |event: &str| Request {
            event: Some(event.to_owned()),
            ..Request::of_level(Level::Curtail)
        };
        vec![SignalReading {
            source: "vtn".to_owned(),
            class: SignalClass::Contract,
            read_at: sample(0, 0.0).at,
            value: SignalValue::Known(event.map(request).into_iter().collect()),
        }]
    }

    /// What is reported in these seconds of 5 s steps at 36 kW.
    fn reported(
        meter: &mut UsageMeter,
        seconds: std::ops::Range<i64>,
        event: Option<&str>,
    ) -> Vec<Usage> {
        let steps = seconds.step_by(5);
        let add = |second| meter.add(&sample(second, 36.0), &asks(event), "vtn");
        steps.flat_map(add).collect()
    }

    #[test]
    fn each_quarter_hour_is_told_whole_whatever_the_steps() {
        let mut meter = UsageMeter::default();
        let first = reported(&mut meter, 603..1_803, None);
        assert_eq!(first.len(), 1, "{first:?}");
        assert_eq!(
            (first[0].from_us, first[0].to_us),
            (603_000_000, 900_000_000)
        );
        assert_eq!(
            (first[0].energy_kwh, first[0].power_kw),
            (Some(2.97), Some(36.0))
        );
        let second = reported(&mut meter, 1_803..2_703, None);
        assert_eq!(
            (second[0].from_us, second[0].to_us),
            (900_000_000, 1_800_000_000)
        );
        assert_eq!(second[0].energy_kwh, Some(9.0));
    }

    #[test]
    fn the_end_of_an_event_is_told_at_once_and_the_rest_of_the_quarter_hour_later() {
        let mut meter = UsageMeter::default();
        reported(&mut meter, 900..1_000, None);
        assert_eq!(reported(&mut meter, 1_000..1_300, Some("heat")), []);
        // What cannot be read ends nothing.
        let mut unknown = asks(None);
        unknown[0].value = SignalValue::Unknown("no answer".to_owned());
        assert_eq!(meter.add(&sample(1_300, 36.0), &unknown, "vtn"), []);
        let mut curtailed = sample(1_305, 36.0);
        curtailed.state = OperatingState::Curtailed;
        meter.add(&curtailed, &asks(Some("heat")), "vtn");
        let ended = reported(&mut meter, 1_310..1_811, None);
        assert_eq!(ended.len(), 2, "{ended:?}");
        assert_eq!(ended[0].event.as_deref(), Some("heat"));
        assert_eq!(ended[0].state, OperatingState::Curtailed);
        assert_eq!(
            (ended[0].from_us, ended[0].to_us),
            (900_000_000, 1_310_000_000)
        );
        assert_eq!(
            (ended[1].from_us, ended[1].to_us),
            (1_310_000_000, 1_800_000_000)
        );
        assert_eq!(ended[1].event, None);
    }

    #[test]
    fn a_quarter_hour_with_a_hole_is_missing_and_one_without_a_step_is_not_told() {
        let mut meter = UsageMeter::default();
        reported(&mut meter, 900..1_000, None);
        let after = reported(&mut meter, 2_800..3_605, None);
        assert_eq!(after.len(), 2, "{after:?}");
        assert_eq!((after[0].to_us, after[0].energy_kwh), (1_800_000_000, None));
        assert_eq!(
            (after[1].from_us, after[1].to_us),
            (2_700_000_000, 3_600_000_000)
        );
        assert_eq!(after[1].energy_kwh, None);
        // A clock that is set back begins anew.
        assert_eq!(reported(&mut meter, 3_000..3_300, None), []);
        assert_eq!(meter.from_us, 3_000_000_000);
    }
}
