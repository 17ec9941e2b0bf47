//! Splitting of ranges at the multiples of a size.

use std::ops::Range;

/// Splits a range at the multiples of `SIZE`. Callers split ranges of slots at cluster borders, and ranges of bytes
/// at page borders.
pub(crate) fn pieces<const SIZE: u64>(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let Range { start: mut at, end } = range;
    std::iter::from_fn(move || {
        let nr = (SIZE - at % SIZE).min(end - at);
        let piece = (nr > 0).then_some(at..at + nr);
        at += nr;
        piece
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(range: Range<u64>) -> Vec<(u64, u64)> {
        pieces::<8>(range).map(|piece| (piece.start, piece.end)).collect()
    }

    #[test]
    fn pieces_join_to_the_range_and_none_crosses_a_border() {
        assert_eq!(cut(5..5), []);
        assert_eq!(cut(8..16), [(8, 16)]);
        assert_eq!(cut(9..15), [(9, 15)]);
        assert_eq!(cut(5..25), [(5, 8), (8, 16), (16, 24), (24, 25)]);
        assert_eq!(cut(u64::MAX - 9..u64::MAX), [(u64::MAX - 9, u64::MAX - 7), (u64::MAX - 7, u64::MAX)]);
    }
}
