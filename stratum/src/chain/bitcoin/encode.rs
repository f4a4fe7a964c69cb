//! Bitcoin's encodings as far as a block needs them: sizes and script numbers to write, and a
//! cursor to read with.

/// Appends a count or length in Bitcoin's shortest form.
pub fn push_size(bytes: &mut Vec<u8>, size: u64) {
    match size {
        0..=0xfc => bytes.push(size as u8),
        0xfd..=0xffff => {
            bytes.push(0xfd);
            bytes.extend_from_slice(&(size as u16).to_le_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            bytes.push(0xfe);
            bytes.extend_from_slice(&(size as u32).to_le_bytes());
        }
        _ => {
            bytes.push(0xff);
            bytes.extend_from_slice(&size.to_le_bytes());
        }
    }
}

/// The script that begins a coinbase of this height (BIP 34): the shortest push of the number, as
/// the daemon writes it.
pub fn height_push(height: u32) -> Vec<u8> {
    const OP_1: u8 = 0x51;
    match height {
        0 => vec![0],
        // The first sixteen have an opcode each.
        1..=16 => vec![OP_1 + (height - 1) as u8],
        _ => {
            let mut number: Vec<u8> = height.to_le_bytes().to_vec();
            while number.last() == Some(&0) {
                number.pop();
            }
            // The highest bit is the sign.
            if number.last().is_some_and(|byte| byte & 0x80 != 0) {
                number.push(0);
            }
            number.insert(0, number.len() as u8);
            number
        }
    }
}

/// Reads from the front; every step is `None` when the bytes end early.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// At the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes were read.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Whether all were read.
    pub fn is_done(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    /// The next bytes without a step.
    pub fn peek(&self, count: usize) -> Option<&'a [u8]> {
        let mut ahead = *self;
        ahead.take(count)
    }

    /// A count or length; `None` also for one that is not in its shortest form, which the daemon
    /// refuses too.
    pub fn size(&mut self) -> Option<usize> {
        let (least, width) = match self.take(1)?[0] {
            0xfd => (0xfd, 2),
            0xfe => (0x1_0000, 4),
            0xff => (0x1_0000_0000, 8),
            short => return Some(usize::from(short)),
        };
        let mut wide = [0; 8];
        wide[..width].copy_from_slice(self.take(width)?);
        let size = u64::from_le_bytes(wide);
        if size < least {
            None
        } else {
            usize::try_from(size).ok()
        }
    }

    /// Steps over a byte string with its length before it.
    pub fn skip_string(&mut self) -> Option<()> {
        let length = self.size()?;
        self.take(length).map(|_| ())
    }
}
