//! `modbus`: meters and controllers over Modbus TCP, by a list of their registers.

use bytes::Bytes;
use serde::Deserialize;

use super::readings::{Measured, scaled};
use super::{AddressForm, Device, Keys, Query, Readings, Request, Source, parse_keys};

/// Registers that one request may read (Modbus application protocol, 6.3).
const MOST_REGISTERS: u16 = 125;
const MOST_VALUES: usize = 100;

/// The kind.
pub struct Modbus;

impl Source for Modbus {
    fn kind(&self) -> &'static str {
        "modbus"
    }
    fn doc(&self) -> &'static str {
        "Meters and controllers over Modbus TCP."
    }
    fn address(&self) -> AddressForm {
        AddressForm::Host(502)
    }
    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("unit", "The unit behind the address; 1 when left out."),
            (
                "registers",
                "A list of `{ address, kind, quantity, part, input, word_order, factor, \
                 offset, missing }`. `kind` is u16, i16, u32, i32, u64, f32 or f64; \
                 `word_order` is big (the high word first) or little; `input` reads input \
                 registers (function 4) instead of holding registers (function 3). The value is \
                 multiplied by `factor`, then `offset` is added; a raw value that equals \
                 `missing`, and a number that is none, are missing. Quantities are those of \
                 `http_json`.",
            ),
        ]
    }
    fn device(&self, keys: Keys) -> Result<Box<dyn Device>, String> {
        let device: ModbusDevice = parse_keys(keys)?;
        if device.registers.is_empty() || device.registers.len() > MOST_VALUES {
            return Err(format!("registers must have 1 to {MOST_VALUES} entries"));
        }
        for register in &device.registers {
            let last = register.address.checked_add(register.kind.words() - 1);
            if last.is_none() || register.quantity.is_empty() {
                return Err(format!(
                    "the register {} has no quantity, or lies beyond 65535",
                    register.address
                ));
            }
        }
        Ok(Box::new(device))
    }
}

/// How a number lies in registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NumberKind {
    /// One register.
    U16,
    /// One register, two's complement.
    I16,
    /// Two registers.
    U32,
    /// Two registers, two's complement.
    I32,
    /// Four registers.
    U64,
    /// Two registers, IEEE 754.
    F32,
    /// Four registers, IEEE 754.
    F64,
}

impl NumberKind {
    fn words(self) -> u16 {
        match self {
            Self::U16 | Self::I16 => 1,
            Self::U32 | Self::I32 | Self::F32 => 2,
            Self::U64 | Self::F64 => 4,
        }
    }

    /// The number in these bytes, the high one first.
    fn number(self, bytes: &[u8]) -> Option<f64> {
        match self {
            Self::U16 => Some(f64::from(u16::from_be_bytes(bytes.try_into().ok()?))),
            Self::I16 => Some(f64::from(i16::from_be_bytes(bytes.try_into().ok()?))),
            Self::U32 => Some(f64::from(u32::from_be_bytes(bytes.try_into().ok()?))),
            Self::I32 => Some(f64::from(i32::from_be_bytes(bytes.try_into().ok()?))),
            Self::U64 => Some(u64::from_be_bytes(bytes.try_into().ok()?) as f64),
            Self::F32 => Some(f64::from(f32::from_be_bytes(bytes.try_into().ok()?))),
            Self::F64 => Some(f64::from_be_bytes(bytes.try_into().ok()?)),
        }
    }
}

/// Which register of a number comes first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WordOrder {
    /// The one with the high bits.
    #[default]
    Big,
    /// The one with the low bits.
    Little,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModbusDevice {
    #[serde(default = "first_unit")]
    unit: u8,
    registers: Vec<Register>,
}

fn first_unit() -> u8 {
    1
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Register {
    address: u16,
    kind: NumberKind,
    quantity: String,
    #[serde(default)]
    part: String,
    #[serde(default)]
    input: bool,
    #[serde(default)]
    word_order: WordOrder,
    #[serde(default)]
    factor: Option<f64>,
    #[serde(default)]
    offset: f64,
    #[serde(default)]
    missing: Option<f64>,
}

/// A range of registers that one request reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block {
    input: bool,
    address: u16,
    count: u16,
}

impl ModbusDevice {
    /// As few requests as there are ranges without holes: a device may refuse a range with one.
    fn blocks(&self) -> Vec<Block> {
        let mut wanted: Vec<(bool, u16, u16)> = self
            .registers
            .iter()
            .map(|register| (register.input, register.address, register.kind.words()))
            .collect();
        wanted.sort_unstable();
        let mut blocks: Vec<Block> = Vec::new();
        for (input, address, words) in wanted {
            if let Some(last) = blocks.last_mut()
                && last.input == input
                && u32::from(address) <= u32::from(last.address) + u32::from(last.count)
            {
                // Both fit into 16 bits, as the configuration is checked.
                let count = (address - last.address + words).max(last.count);
                if count <= MOST_REGISTERS {
                    last.count = count;
                    continue;
                }
            }
            blocks.push(Block {
                input,
                address,
                count: words,
            });
        }
        blocks
    }

    fn value(
        &self,
        register: &Register,
        blocks: &[Block],
        answers: &[Option<Bytes>],
    ) -> Option<f64> {
        let words = register.kind.words();
        let holds = |block: &Block| {
            block.input == register.input
                && block.address <= register.address
                && u32::from(register.address) + u32::from(words)
                    <= u32::from(block.address) + u32::from(block.count)
        };
        let index = blocks.iter().position(holds)?;
        let from = 2 * usize::from(register.address - blocks[index].address);
        let answer = answers.get(index)?.as_ref()?;
        let mut bytes = answer.get(from..from + 2 * usize::from(words))?.to_vec();
        if register.word_order == WordOrder::Little {
            let swapped = bytes.chunks(2).rev().flatten().copied();
            bytes = swapped.collect();
        }
        let raw = register.kind.number(&bytes)?;
        if !raw.is_finite() || register.missing == Some(raw) {
            return None;
        }
        Some(scaled(raw, register.factor, register.offset))
    }
}

impl Device for ModbusDevice {
    fn requests(&self) -> Vec<Request> {
        let blocks = self.blocks().into_iter();
        blocks
            .map(|block| Request {
                query: Query::Registers {
                    unit: self.unit,
                    input: block.input,
                    address: block.address,
                    count: block.count,
                },
                optional: false,
            })
            .collect()
    }

    fn read(&self, answers: &[Option<Bytes>]) -> Result<Readings, String> {
        let blocks = self.blocks();
        for (index, block) in blocks.iter().enumerate() {
            let answer = answers.get(index).and_then(Option::as_ref);
            let bytes = answer.map_or(0, Bytes::len);
            if bytes != 2 * usize::from(block.count) {
                let (count, address) = (block.count, block.address);
                return Err(format!(
                    "{bytes} bytes came for {count} registers from {address}"
                ));
            }
        }
        let values = self.registers.iter().map(|register| Measured {
            part: &register.part,
            quantity: &register.quantity,
            value: self.value(register, &blocks, answers),
        });
        let mut readings = Readings::default();
        readings.measured(&values.collect::<Vec<_>>());
        Ok(readings)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::source::Reading;
    use serde_json::json;

    fn device(registers: serde_json::Value) -> Result<ModbusDevice, String> {
        let keys = json!({"registers": registers}).as_object().unwrap().clone();
        Modbus.device(keys.clone())?;
        parse_keys(keys)
    }

    #[test]
    fn numbers_are_read_in_either_word_order_and_what_is_none_is_missing() {
        let device = device(json!([
            {"address": 10, "kind": "f32", "quantity": "power_w"},
            {"address": 12, "kind": "u32", "quantity": "energy_total_wh", "word_order": "little",
             "factor": 10.0},
            {"address": 14, "kind": "i16", "quantity": "temperature_c", "factor": 0.1},
            {"address": 15, "kind": "u16", "quantity": "humidity_pct", "missing": 65535},
            {"address": 40, "kind": "f32", "quantity": "voltage_v"}]))
        .unwrap();
        let found: Vec<(u16, u16)> = device
            .blocks()
            .iter()
            .map(|b| (b.address, b.count))
            .collect();
        assert_eq!(found, [(10, 6), (40, 2)]);
        let mut first = 1234.5_f32.to_be_bytes().to_vec();
        first.extend([0x00, 0x05, 0x00, 0x01]);
        first.extend((-123_i16).to_be_bytes());
        first.extend([0xFF, 0xFF]);
        let second = f32::NAN.to_be_bytes().to_vec();
        let readings = device
            .read(&[Some(first.into()), Some(second.into())])
            .unwrap();
        let power = Reading::Power {
            part: String::new(),
            power_w: 1234.5,
            energy_total_wh: Some(655_410.0),
        };
        let (temperature, rest) = (&readings.values[1], readings.values.len());
        assert_eq!((&readings.values[0], rest), (&power, 2));
        assert!(
            matches!(temperature, Reading::Sensor { value, .. } if (value + 12.3).abs() < 1e-9)
        );
        assert_eq!(readings.missing, 2);
    }

    #[test]
    fn an_answer_of_another_length_is_refused() {
        let device = device(json!([{"address": 0, "kind": "u16", "quantity": "power_w"}])).unwrap();
        for bytes in [0, 1, 3, 4] {
            assert!(device.read(&[Some(vec![0; bytes].into())]).is_err());
        }
    }
}
