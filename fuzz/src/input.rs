//! Bytes as a program: numbers and strings are taken from the front until there are none.

/// What is left of an input.
#[derive(Clone, Debug)]
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// Up to `len` bytes.
    pub fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// A byte; `None` at the end.
    pub fn take(&mut self) -> Option<u8> {
        self.bytes(1).first().copied()
    }

    /// A byte, zero behind the end.
    pub fn byte(&mut self) -> u8 {
        self.take().unwrap_or_default()
    }

    /// A number below `end`, which isn't zero.
    pub fn below(&mut self, end: usize) -> usize {
        let mut bytes = [0; 4];
        let width = match end {
            0..=0x100 => 1,
            0x101..=0x1_0000 => 2,
            _ => 4,
        };
        let found = self.bytes(width);
        bytes[..found.len()].copy_from_slice(found);
        u32::from_le_bytes(bytes) as usize % end
    }

    /// Some bytes, of a length that comes before them.
    pub fn string(&mut self) -> &'a [u8] {
        let len = self.byte();
        self.bytes(len.into())
    }

    /// A number of 64 bits, most often one that is likely to break something.
    pub fn number(&mut self) -> u64 {
        let (kind, small) = (self.byte(), u64::from(self.byte()));
        match kind % 8 {
            0 => small,
            1 => small * 64,
            2 => 1 << (small % 64),
            3 => u64::MAX - small,
            4 => (1_u64 << (small % 64)).wrapping_sub(1),
            5 => i64::MAX as u64 - small,
            6 => u64::from(u32::MAX) - small,
            _ => {
                let mut bytes = [0; 8];
                let found = self.bytes(8);
                bytes[..found.len()].copy_from_slice(found);
                u64::from_le_bytes(bytes)
            }
        }
    }
}
