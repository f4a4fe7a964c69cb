//! The machines of the virtual site: two generations, as a site has them after some years.

use crate::control::observation::rounded;
use crate::control::site_plan::MachinePlan;

/// A model: its name, joules per terahash, watts, seconds to boot, and how many of ten machines.
const MODELS: [(&str, f64, f64, u64, usize); 4] = [
    ("s21", 17.5, 3_500.0, 240, 2),
    ("s19xp", 21.5, 3_010.0, 270, 2),
    ("s19jpro", 29.5, 3_070.0, 330, 3),
    ("s19", 34.5, 3_280.0, 300, 3),
];

/// Units of a model differ by so much, and their plan knows it.
const SPREAD: f64 = 0.02;

/// So many machines that draw so much together, on so many feeders and on all phases alike.
pub fn machines(
    count: usize,
    mining_kw: f64,
    feeders: usize,
    has_outlet: bool,
) -> Vec<MachinePlan> {
    let of_ten: Vec<usize> = MODELS
        .iter()
        .enumerate()
        .flat_map(|(model, mix)| std::iter::repeat_n(model, mix.4))
        .collect();
    // Seven and ten have no common divisor: models alternate along the racks.
    let model = |at: usize| MODELS[of_ten[at * 7 % of_ten.len()]];
    let sum_w: f64 = (0..count).map(|at| model(at).2).sum();
    let scale = mining_kw * 1_000.0 / sum_w.max(1.0);
    let machine = |at: usize| {
        let (name, j_th, watts, boot_s, _) = model(at);
        let spread = 1.0 + SPREAD * ((at * 31 % 21) as f64 / 10.0 - 1.0);
        let (j_th, power_w) = (rounded(j_th * spread), rounded(watts * scale));
        MachinePlan {
            name: format!("m{at:03}"),
            model: name.to_owned(),
            hashrate_ths: rounded(power_w / j_th),
            efficiency_j_th: Some(j_th),
            power_w,
            standby_w: 40.0,
            low_power_w: None,
            feeder: Some(format!("f{}", at % feeders + 1)),
            phase: u8::try_from(at / feeders % 3 + 1).ok(),
            has_interface: true,
            has_outlet,
            has_foreman: true,
            sla_weight: 1.0,
            is_mandatory_run: false,
            min_on_s: 0,
            boot_s,
        }
    };
    (0..count).map(machine).collect()
}
