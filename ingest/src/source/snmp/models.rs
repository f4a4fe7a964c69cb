//! The objects of known devices: of PDUs what is the same in the sources of several programs that
//! read them (NUT's drivers apc-pdu-mib.c and raritan-px2-mib.c, Checkmk, LibreNMS), and of the
//! RoomAlert what is public of the models 3E, 12ER and 32S.

/// A device of a known make.
pub struct Model {
    /// As it stands in `model`.
    pub name: &'static str,
    /// What it may have.
    pub values: &'static [ModelValue],
}

/// As the entries of `values` in a configuration.
#[derive(Clone, Copy)]
pub struct ModelValue {
    pub oid: &'static str,
    pub quantity: &'static str,
    pub part: &'static str,
    pub factor: Option<f64>,
    pub missing: &'static [f64],
    pub digits: Option<&'static str>,
    pub valid: Option<&'static str>,
    pub when: Option<(&'static str, f64)>,
    pub on_off: Option<[f64; 2]>,
}

/// APC says -1 for what the unit cannot measure.
const fn apc(
    oid: &'static str,
    quantity: &'static str,
    part: &'static str,
    factor: f64,
) -> ModelValue {
    ModelValue {
        oid,
        quantity,
        part,
        factor: Some(factor),
        missing: &[-1.0],
        digits: None,
        valid: None,
        when: None,
        on_off: None,
    }
}

/// RoomAlert counts in hundredths, and says -999 where nothing is plugged in.
const fn roomalert(oid: &'static str, quantity: &'static str, part: &'static str) -> ModelValue {
    ModelValue {
        missing: &[-999.0, -99_900.0],
        ..apc(oid, quantity, part, 0.01)
    }
}

const fn outlets(oid: &'static str, on: f64, off: f64) -> ModelValue {
    ModelValue {
        on_off: Some([on, off]),
        factor: None,
        ..apc(oid, "relay_state", "outlet-{n}", 1.0)
    }
}

/// A sensor of Raritan: its value, its digits and whether it is there.
const fn raritan(
    oids: [&'static str; 3],
    quantity: &'static str,
    part: &'static str,
) -> ModelValue {
    ModelValue {
        oid: oids[0],
        quantity,
        part,
        factor: None,
        missing: &[],
        digits: Some(oids[1]),
        valid: Some(oids[2]),
        when: None,
        on_off: None,
    }
}

/// A sensor of an inlet or outlet: the number of the row, then that of the sensor's type.
macro_rules! electrical {
    ($table:literal, $digits:literal, $type:literal) => {
        [
            concat!("1.3.6.1.4.1.13742.6.5.", $table, ".4.1.{n}.", $type),
            concat!("1.3.6.1.4.1.13742.6.3.", $digits, ".7.1.{n}.", $type),
            concat!("1.3.6.1.4.1.13742.6.5.", $table, ".2.1.{n}.", $type),
        ]
    };
}

const EXTERNAL: [&str; 3] = [
    "1.3.6.1.4.1.13742.6.5.5.3.1.4.1.{n}",
    "1.3.6.1.4.1.13742.6.3.6.3.1.17.1.{n}",
    "1.3.6.1.4.1.13742.6.5.5.3.1.2.1.{n}",
];
const EXTERNAL_TYPE: &str = "1.3.6.1.4.1.13742.6.3.6.3.1.2.1.{n}";

const fn external(sensor_type: f64, quantity: &'static str) -> ModelValue {
    ModelValue {
        when: Some((EXTERNAL_TYPE, sensor_type)),
        ..raritan(EXTERNAL, quantity, "sensor-{n}")
    }
}

const LOAD: ModelValue = apc(
    "1.3.6.1.4.1.318.1.1.12.2.3.1.1.2.{n}",
    "current_a",
    "phase-{n}",
    0.1,
);
const WATTS: ModelValue = apc("1.3.6.1.4.1.318.1.1.12.1.16.0", "power_w", "", 1.0);
const VOLTS: ModelValue = apc("1.3.6.1.4.1.318.1.1.12.1.15.0", "voltage_v", "", 1.0);

/// Every model.
pub const MODELS: &[Model] = &[
    Model {
        name: "apc",
        values: &[
            outlets("1.3.6.1.4.1.318.1.1.4.4.2.1.3.{n}", 1.0, 2.0),
            LOAD,
            WATTS,
            VOLTS,
        ],
    },
    Model {
        name: "apc_rpdu",
        values: &[
            outlets("1.3.6.1.4.1.318.1.1.12.3.5.1.1.4.{n}", 1.0, 2.0),
            apc(
                "1.3.6.1.4.1.318.1.1.12.3.5.1.1.7.{n}",
                "current_a",
                "outlet-{n}",
                0.1,
            ),
            LOAD,
            WATTS,
            VOLTS,
        ],
    },
    Model {
        name: "apc_rpdu2",
        values: &[
            // Hundredths of kW, and tenths of kWh.
            apc(
                "1.3.6.1.4.1.318.1.1.26.4.3.1.5.{n}",
                "power_w",
                "unit-{n}",
                10.0,
            ),
            apc(
                "1.3.6.1.4.1.318.1.1.26.4.3.1.9.{n}",
                "energy_total_wh",
                "unit-{n}",
                100.0,
            ),
            apc(
                "1.3.6.1.4.1.318.1.1.26.6.3.1.5.{n}",
                "current_a",
                "phase-{n}",
                0.1,
            ),
            apc(
                "1.3.6.1.4.1.318.1.1.26.6.3.1.6.{n}",
                "voltage_v",
                "phase-{n}",
                1.0,
            ),
            // Here 1 is off, and 2 is on.
            outlets("1.3.6.1.4.1.318.1.1.26.9.2.3.1.5.{n}", 2.0, 1.0),
            apc(
                "1.3.6.1.4.1.318.1.1.26.9.4.3.1.6.{n}",
                "current_a",
                "outlet-{n}",
                0.1,
            ),
            apc(
                "1.3.6.1.4.1.318.1.1.26.9.4.3.1.7.{n}",
                "power_w",
                "outlet-{n}",
                1.0,
            ),
            apc(
                "1.3.6.1.4.1.318.1.1.26.9.4.3.1.11.{n}",
                "energy_total_wh",
                "outlet-{n}",
                100.0,
            ),
            apc(
                "1.3.6.1.4.1.318.1.1.26.10.2.2.1.8.{n}",
                "temperature_c",
                "sensor-{n}",
                0.1,
            ),
            apc(
                "1.3.6.1.4.1.318.1.1.26.10.2.2.1.10.{n}",
                "humidity_pct",
                "sensor-{n}",
                1.0,
            ),
        ],
    },
    Model {
        name: "raritan",
        values: &[
            raritan(electrical!("2.3.1", "3.4.1", "5"), "power_w", "inlet-{n}"),
            raritan(
                electrical!("2.3.1", "3.4.1", "8"),
                "energy_total_wh",
                "inlet-{n}",
            ),
            raritan(electrical!("2.3.1", "3.4.1", "1"), "current_a", "inlet-{n}"),
            raritan(electrical!("2.3.1", "3.4.1", "4"), "voltage_v", "inlet-{n}"),
            raritan(electrical!("4.3.1", "5.4.1", "5"), "power_w", "outlet-{n}"),
            raritan(
                electrical!("4.3.1", "5.4.1", "8"),
                "energy_total_wh",
                "outlet-{n}",
            ),
            raritan(
                electrical!("4.3.1", "5.4.1", "1"),
                "current_a",
                "outlet-{n}",
            ),
            outlets("1.3.6.1.4.1.13742.6.4.1.2.1.3.1.{n}", 7.0, 8.0),
            external(10.0, "temperature_c"),
            external(11.0, "humidity_pct"),
        ],
    },
    Model {
        name: "roomalert",
        values: &[
            // The own sensor of a 3E, and of a 32S.
            roomalert(
                "1.3.6.1.4.1.20916.1.9.1.1.1.1.0",
                "temperature_c",
                "internal",
            ),
            roomalert(
                "1.3.6.1.4.1.20916.1.11.1.1.1.2.0",
                "temperature_c",
                "internal",
            ),
            // The first digital sensor of a 12ER.
            roomalert(
                "1.3.6.1.4.1.20916.1.10.1.2.1.0",
                "temperature_c",
                "digital-1",
            ),
            roomalert(
                "1.3.6.1.4.1.20916.1.10.1.2.3.0",
                "humidity_pct",
                "digital-1",
            ),
        ],
    },
];
