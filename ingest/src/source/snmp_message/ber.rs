//! As much of BER (X.690) as messages of SNMP are made of. Pure; every byte that comes is checked
//! against what is left.

/// INTEGER.
pub const INTEGER: u8 = 0x02;
/// OCTET STRING.
pub const OCTETS: u8 = 0x04;
/// NULL.
pub const NULL: u8 = 0x05;
/// OBJECT IDENTIFIER.
pub const OID: u8 = 0x06;
/// SEQUENCE.
pub const SEQUENCE: u8 = 0x30;
/// Numbers of an object identifier (RFC 3416 allows 128).
pub const MOST_NUMBERS: usize = 128;

/// An element with its tag and its length. What a message is made of is shorter than 16 MiB.
pub fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    let length = content.len();
    match length {
        0..=0x7F => bytes.push(length as u8),
        0x80..=0xFF => bytes.extend([0x81, length as u8]),
        0x100..=0xFFFF => bytes.extend([0x82, (length >> 8) as u8, length as u8]),
        _ => {
            let bytes_of_length = [(length >> 16) as u8, (length >> 8) as u8, length as u8];
            bytes.push(0x83);
            bytes.extend(bytes_of_length);
        }
    }
    bytes.extend_from_slice(content);
    bytes
}

/// The fewest bytes of a number in two's complement.
pub fn integer(number: i64) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let is_sign = |pair: &[u8]| matches!((pair[0], pair[1] & 0x80), (0, 0) | (0xFF, 0x80));
    let skipped = bytes.windows(2).take_while(|pair| is_sign(pair)).count();
    element(INTEGER, &bytes[skipped..])
}

/// The numbers of an object identifier as bytes, without tag and length. The first is at most 2 and
/// the second at most 39.
pub fn oid(numbers: &[u32]) -> Vec<u8> {
    let (Some(first), Some(second)) = (numbers.first(), numbers.get(1)) else {
        return Vec::new();
    };
    let mut bytes = vec![(first * 40 + second) as u8];
    for number in &numbers[2..] {
        let groups = (0..5)
            .rev()
            .map(|group| (number >> (7 * group)) as u8 & 0x7F);
        let mut groups: Vec<u8> = groups.skip_while(|group| *group == 0).collect();
        if groups.is_empty() {
            groups.push(0);
        }
        let last = groups.len() - 1;
        for group in &mut groups[..last] {
            *group |= 0x80;
        }
        bytes.extend(groups);
    }
    bytes
}

/// The numbers in these bytes.
pub fn oid_numbers(content: &[u8]) -> Result<Vec<u32>, String> {
    let wrong = || "the answer has an object identifier that cannot be".to_owned();
    let (first, rest) = content.split_first().ok_or_else(wrong)?;
    let mut numbers = match first {
        0..=39 => vec![0, u32::from(*first)],
        40..=79 => vec![1, u32::from(*first) - 40],
        80..=119 => vec![2, u32::from(*first) - 80],
        _ => return Err(wrong()),
    };
    let mut number: u64 = 0;
    for byte in rest {
        number = number << 7 | u64::from(byte & 0x7F);
        if number > u64::from(u32::MAX) {
            return Err(wrong());
        }
        if byte & 0x80 == 0 {
            numbers.push(number as u32);
            number = 0;
        }
    }
    let is_whole = rest.last().is_none_or(|last| last & 0x80 == 0);
    match is_whole && numbers.len() <= MOST_NUMBERS {
        true => Ok(numbers),
        false => Err(wrong()),
    }
}

/// Takes an element off the front: its tag, its content and what follows.
pub fn take(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), String> {
    let cut = || "the answer breaks off".to_owned();
    let (tag, rest) = bytes.split_first().ok_or_else(cut)?;
    let (first, rest) = rest.split_first().ok_or_else(cut)?;
    let (length, rest) = match first {
        0..=0x7F => (usize::from(*first), rest),
        0x81..=0x83 => {
            let (bytes, rest) = rest
                .split_at_checked(usize::from(first & 0x7F))
                .ok_or_else(cut)?;
            let length = bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            (length, rest)
        }
        _ => return Err("the answer has a length that cannot be".to_owned()),
    };
    let (content, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
    Ok((*tag, content, rest))
}

/// The same where only one tag may stand.
pub fn expect(tag: u8, bytes: &[u8]) -> Result<(&[u8], &[u8]), String> {
    let (found, content, rest) = take(bytes)?;
    match found == tag {
        true => Ok((content, rest)),
        false => Err(format!(
            "the answer has the tag {found:#04x} instead of {tag:#04x}"
        )),
    }
}

/// A number in two's complement.
pub fn number(content: &[u8]) -> Result<i64, String> {
    if content.is_empty() || content.len() > 8 {
        return Err("the answer has a number that is too long".to_owned());
    }
    let sign = if content[0] & 0x80 == 0 { 0 } else { -1 };
    Ok(content
        .iter()
        .fold(sign, |sum, byte| sum << 8 | i64::from(*byte)))
}

/// A number without a sign, as counters have it. Some devices leave out the zero byte before the
/// highest bit.
pub fn unsigned(content: &[u8]) -> Result<u64, String> {
    let significant = match content {
        [0, rest @ ..] => rest,
        all => all,
    };
    if content.is_empty() || significant.len() > 8 {
        return Err("the answer has a number that is too long".to_owned());
    }
    Ok(significant
        .iter()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}
