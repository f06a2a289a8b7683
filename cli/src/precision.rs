//! Embeddings in fewer bits, as sentence-transformers' `quantize_embeddings` defines them.

use crate::npy::Element;
use half::f16;

/// What an embedding's values are stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precision {
    F32,
    F16,
    /// 256 steps from the least value to the largest of each dimension.
    Int8,
    /// A bit a value, set where it is above 0, the first one the highest of its byte.
    Ubinary,
}

impl Precision {
    pub(crate) fn element(self) -> Element {
        match self {
            Self::F32 => Element::F32,
            Self::F16 => Element::F16,
            Self::Int8 => Element::I8,
            Self::Ubinary => Element::U8,
        }
    }

    /// Values of NumPy in the place of so many dimensions.
    pub(crate) fn columns(self, dimension: usize) -> usize {
        match self {
            Self::Ubinary => dimension.div_ceil(8),
            _ => dimension,
        }
    }

    /// What NumPy calls the type of the values.
    pub(crate) fn dtype(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Int8 => "int8",
            Self::Ubinary => "uint8",
        }
    }
}

/// The values of a row in 16 bits, as NumPy rounds them.
pub(crate) fn f16s(row: &[f32]) -> impl Iterator<Item = f16> {
    row.iter().map(|&x| f16::from_f32(x))
}

/// The bits of a row.
pub(crate) fn bits(row: &[f32]) -> Vec<u8> {
    let byte = |bits: &[f32]| {
        let bits = bits.iter().enumerate();
        bits.fold(0, |byte, (i, &x)| byte | u8::from(x > 0.0) << (7 - i))
    };
    row.chunks(8).map(byte).collect()
}

/// The least and the largest value of each dimension.
#[derive(Clone, Debug)]
pub(crate) struct Ranges(Vec<(f32, f32)>);

impl Ranges {
    /// The ranges of some rows, of which there is at least one.
    pub(crate) fn of<'a>(mut rows: impl Iterator<Item = &'a [f32]>) -> Option<Self> {
        let first = rows.next()?;
        let mut ranges: Vec<(f32, f32)> = first.iter().map(|&x| (x, x)).collect();
        for row in rows {
            for (range, &x) in ranges.iter_mut().zip(row) {
                *range = (range.0.min(x), range.1.max(x));
            }
        }
        Some(Self(ranges))
    }

    /// A row in 256 steps.
    pub(crate) fn steps(&self, row: &[f32]) -> Vec<i8> {
        let step = |(&x, &(start, end)): (&f32, &(f32, f32))| {
            let step = match (end - start) / 255.0 {
                0.0 => 1.0,
                step => step,
            };
            let steps = ((x - start) / step).floor().clamp(0.0, 255.0);
            (steps - 128.0) as i8
        };
        row.iter().zip(&self.0).map(step).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_numpy_packs_and_sentence_transformers_steps() {
        let row = [0.5, -1.0, 0.0, 1e-9, -0.0, 2.0, 3.0, 4.0, 5.0];
        assert_eq!(bits(&row), [0b1001_0111, 0b1000_0000]);
        let rows = [[-1.0, 3.0, 0.0], [1.0, 3.0, 0.5], [0.0, 3.0, 0.25]];
        let ranges = Ranges::of(rows.iter().map(|row| &row[..])).unwrap();
        assert_eq!(ranges.steps(&rows[0]), [-128, -128, -128]);
        assert_eq!(ranges.steps(&rows[1]), [126, -128, 126]);
        assert_eq!(ranges.steps(&rows[2]), [-1, -128, -1]);
        assert_eq!(ranges.steps(&[-9.0, 9.0, 9.0]), [-128, -122, 127]);
        assert!(Ranges::of(std::iter::empty()).is_none());
    }
}
