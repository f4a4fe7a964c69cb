//! Division of an amount by weights, exactly: what is handed out is what was there.
//!
//! Rounding each part down loses up to a unit a part, rounding to the nearest can hand out more
//! than there is. Here each part is the difference of two running totals, each rounded down, so
//! that the parts add up whatever the weights are.

/// The parts of `amount`, in the order of the weights: ⌊amount·Cᵢ÷W⌋ − ⌊amount·Cᵢ₋₁÷W⌋, with Cᵢ the
/// sum of the first i weights and W of all. Empty when no weight is above zero. The weights must
/// add up to less than 2¹²⁸.
pub fn divide(amount: u128, weights: &[u128]) -> Vec<u128> {
    let total: u128 = weights.iter().sum();
    if total == 0 {
        return Vec::new();
    }
    let (mut reached, mut given) = (0, 0);
    let part = |weight: &u128| {
        reached += weight;
        let due = scaled(amount, reached, total);
        let part = due - given;
        given = due;
        part
    };
    weights.iter().map(part).collect()
}

/// ⌊amount · part ÷ whole⌋ without overflow. `part` must not exceed `whole`, which must not be 0.
pub fn scaled(amount: u128, part: u128, whole: u128) -> u128 {
    if let Some(product) = amount.checked_mul(part) {
        return product / whole;
    }
    let (high, low) = product(amount, part);
    // `part` ≤ `whole` keeps the quotient within `amount`, and so `high` below `whole`, as long
    // division wants it.
    let (mut rest, mut quotient) = (high, 0u128);
    for bit in (0..128).rev() {
        let carry = rest >> 127;
        rest = (rest << 1) | ((low >> bit) & 1);
        quotient <<= 1;
        if carry == 1 || rest >= whole {
            rest = rest.wrapping_sub(whole);
            quotient |= 1;
        }
    }
    quotient
}

/// The whole product, high and low half.
fn product(a: u128, b: u128) -> (u128, u128) {
    const HALF: u128 = u64::MAX as u128;
    let (a_high, a_low, b_high, b_low) = (a >> 64, a & HALF, b >> 64, b & HALF);
    let low = a_low * b_low;
    let middle = a_high * b_low + (low >> 64);
    let middle_low = a_low * b_high + (middle & HALF);
    let high = a_high * b_high + (middle >> 64) + (middle_low >> 64);
    (high, (middle_low << 64) | (low & HALF))
}
