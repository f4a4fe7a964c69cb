//! What may happen to a site, in any order.

use headframe_site::control::observation::InterlockKind;
use headframe_site::control::order::{Order, Scope};
use headframe_site::request::Level;
use proptest::prelude::*;

use super::guard::Guard;
use crate::run::Run;

/// Something that happens, and for how many polls the site runs on.
#[derive(Debug, Clone)]
pub enum Happening {
    Signal(Level, f64, u8),
    SignalSilent(bool, u8),
    Nothing(u16),
    /// An hour in which nothing happens.
    Hour,
    Gap(u32),
    Hotter(f64, u8),
    Outside(f64, u8),
    ContainerSilent(bool, u8),
    AirSilent(bool, u8),
    MeterSilent(bool, u8),
    FansSilent(bool, u8),
    FanBreaks(u8, u8),
    FansMended,
    Interlock(InterlockKind, bool, u8),
    Overload(f64, u8),
    EmergencyStop,
    Reset,
    ContactorsClosed,
    Override(f64, u64, u8),
    Lock(bool, u8),
    LockMachine(bool, u8),
    Bypass(u8),
    Restart(u8),
    ClockStep,
    Foreman(bool, u8),
}

/// Any of them.
pub fn happening() -> impl Strategy<Value = Happening> {
    use Happening as H;
    let few = 1..30_u8;
    let level = prop_oneof![
        3 => Just(Level::Normal),
        1 => Just(Level::Advisory),
        3 => Just(Level::Curtail),
        1 => Just(Level::Emergency),
    ];
    let kind = prop_oneof![
        Just(InterlockKind::Smoke),
        Just(InterlockKind::Leak),
        Just(InterlockKind::Door),
        Just(InterlockKind::EmergencyStop),
    ];
    let power = prop_oneof![
        6 => (level, 0.0..25.0, few.clone()).prop_map(|(l, kw, n)| H::Signal(l, kw, n)),
        1 => (any::<bool>(), few.clone()).prop_map(|(on, n)| H::SignalSilent(on, n)),
        5 => (1..200_u16).prop_map(H::Nothing),
        1 => (6..2_000_u32).prop_map(H::Gap),
        2 => (0.0..30.0, 0..4_000_u64, few.clone()).prop_map(|(kw, s, n)| H::Override(kw, s, n)),
        1 => (any::<bool>(), few.clone()).prop_map(|(on, n)| H::Lock(on, n)),
        1 => (any::<bool>(), few.clone()).prop_map(|(on, n)| H::LockMachine(on, n)),
        1 => (any::<bool>(), few.clone()).prop_map(|(up, n)| H::Foreman(up, n)),
        1 => few.clone().prop_map(H::Restart),
        1 => Just(H::ClockStep),
    ];
    let air = prop_oneof![
        3 => (-15.0..25.0, few.clone()).prop_map(|(c, n)| H::Hotter(c, n)),
        2 => (-25.0..38.0, few.clone()).prop_map(|(c, n)| H::Outside(c, n)),
        1 => (any::<bool>(), few.clone()).prop_map(|(on, n)| H::ContainerSilent(on, n)),
        1 => (any::<bool>(), few.clone()).prop_map(|(on, n)| H::AirSilent(on, n)),
        1 => (any::<bool>(), few.clone()).prop_map(|(on, n)| H::MeterSilent(on, n)),
        1 => (any::<bool>(), few.clone()).prop_map(|(on, n)| H::FansSilent(on, n)),
        1 => (1..4_u8, few.clone()).prop_map(|(fan, n)| H::FanBreaks(fan, n)),
        1 => Just(H::FansMended),
        1 => few.clone().prop_map(H::Bypass),
    ];
    let trip = prop_oneof![
        1 => (kind, any::<bool>(), few.clone()).prop_map(|(k, on, n)| H::Interlock(k, on, n)),
        1 => (0.5..1.3, few).prop_map(|(share, n)| H::Overload(share, n)),
        1 => Just(H::EmergencyStop),
        3 => Just(H::Reset),
        2 => Just(H::ContactorsClosed),
    ];
    prop_oneof![60 => power, 40 => air, 20 => trip, 1 => Just(H::Hour)]
}

impl Happening {
    /// Lets it happen: for how many polls the site runs on.
    pub fn begin(&self, run: &mut Run, guard: &mut Guard) -> u32 {
        let by = || "ann".to_owned();
        let mut order = |order: Order| {
            run.orders.push(order);
            1
        };
        let ticks = match self.clone() {
            Self::EmergencyStop => order(Order::EmergencyStop {
                by: by(),
                reason: "test".to_owned(),
            }),
            Self::Reset => order(Order::ResetTrip {
                by: by(),
                reason: "looked at it".to_owned(),
            }),
            Self::Override(cap_kw, for_s, ticks) => {
                order(Order::Override {
                    by: by(),
                    reason: "test".to_owned(),
                    scope: Scope::Site,
                    cap_kw: (cap_kw * 10.0).round() / 10.0,
                    for_s: Some(for_s),
                });
                ticks
            }
            Self::Lock(is_on, ticks) => {
                order(lock(is_on, Scope::Site));
                ticks
            }
            Self::LockMachine(is_on, ticks) => {
                order(lock(is_on, Scope::Machine("m001".to_owned())));
                ticks
            }
            Self::Bypass(ticks) => {
                order(Order::Bypass {
                    by: by(),
                    reason: "test".to_owned(),
                    input: "temperature/north".to_owned(),
                    for_s: 600,
                });
                ticks
            }
            other => other.change(run, guard),
        };
        u32::from(ticks).max(u32::from(self.long_ticks()))
    }

    fn long_ticks(&self) -> u16 {
        match self {
            Self::Nothing(ticks) => *ticks,
            Self::Hour => 720,
            _ => 1,
        }
    }

    fn change(self, run: &mut Run, guard: &mut Guard) -> u8 {
        let faults = &mut run.plant.faults;
        match self {
            Self::Signal(level, kw, ticks) => {
                run.ask(level, Some((kw * 10.0).round() / 10.0));
                return ticks;
            }
            Self::SignalSilent(is_silent, ticks) => {
                run.is_signal_silent = is_silent;
                return ticks;
            }
            Self::Gap(seconds) => run.now = run.now.plus_ms(u64::from(seconds) * 1_000),
            Self::Hotter(celsius, ticks) => {
                run.plant.container.inside_c += celsius;
                return ticks;
            }
            Self::Outside(celsius, ticks) => {
                run.plant.config.container.outside_c = celsius;
                return ticks;
            }
            Self::ContainerSilent(is_silent, ticks) => {
                faults.is_container_silent = is_silent;
                return ticks;
            }
            Self::AirSilent(is_silent, ticks) => {
                faults.is_air_silent = is_silent;
                return ticks;
            }
            Self::MeterSilent(is_silent, ticks) => {
                faults.is_meter_silent = is_silent;
                return ticks;
            }
            Self::FansSilent(is_silent, ticks) => {
                faults.are_fans_silent = is_silent;
                return ticks;
            }
            Self::FanBreaks(fan, ticks) => {
                faults.broken_fans.push(fan);
                return ticks;
            }
            Self::FansMended => faults.broken_fans.clear(),
            Self::Interlock(kind, is_tripped, ticks) => {
                guard.interlock = Some((kind, is_tripped));
                return ticks;
            }
            Self::Overload(share, ticks) => {
                guard.overload = Some(share);
                return ticks;
            }
            Self::ContactorsClosed => {
                run.plant.feeders.fill(true);
                guard.timers.forget_ramp();
            }
            Self::Restart(ticks) => {
                run.state = run.state.clone().after_restart(&run.site, run.now);
                return ticks;
            }
            Self::ClockStep => run.now.utc_us -= 3_600_000_000,
            Self::Foreman(is_up, ticks) => {
                guard.is_foreman_up = is_up;
                return ticks;
            }
            _ => {}
        }
        1
    }
}

fn lock(is_on: bool, scope: Scope) -> Order {
    let (by, reason) = ("ann".to_owned(), "test".to_owned());
    match is_on {
        true => Order::Lockout { by, reason, scope },
        false => Order::EndLockout { by, reason, scope },
    }
}
