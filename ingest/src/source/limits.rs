//! Which values a quantity can have at a mine; what lies outside is an error of the device.

/// The least and the most of a quantity, both included. A quantity is named with its unit last, so
/// the longest ending that is known counts; one that is not known at all is only held to the limits
/// of its column.
///
/// The temperatures are those that digital sensors and chips can report (-55 to 125 °C for a
/// DS18B20, up to 150 °C for a die).
pub fn range(quantity: &str) -> (f64, f64) {
    const RANGES: &[(&str, f64, f64)] = &[
        ("power_w", -1e8, 1e8),
        ("energy_total_wh", -1e14, 1e14),
        ("apparent_power_va", -1e8, 1e8),
        ("reactive_power_var", -1e8, 1e8),
        ("power_factor", -1.0, 1.0),
        ("hashrate_hs", 0.0, 1e18),
        ("_c", -55.0, 150.0),
        ("_pct", 0.0, 100.0),
        ("_rpm", 0.0, 60_000.0),
        ("_hpa", 100.0, 1_200.0),
        ("_v", -1e6, 1e6),
        ("_a", -1e5, 1e5),
        ("_hz", 0.0, 1e3),
        ("_state", 0.0, 1.0),
    ];
    let known = RANGES.iter().filter(|(end, ..)| quantity.ends_with(end));
    known
        .max_by_key(|(end, ..)| end.len())
        .map_or((-1e12, 1e12), |(_, least, most)| (*least, *most))
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn the_longest_known_ending_counts() {
        assert_eq!(range("temperature_c"), (-55.0, 150.0));
        assert_eq!(range("humidity_pct"), (0.0, 100.0));
        assert_eq!(range("power_w"), (-1e8, 1e8));
        assert_eq!(range("apparent_power_va"), (-1e8, 1e8));
        assert_eq!(range("smell"), (-1e12, 1e12));
    }
}
