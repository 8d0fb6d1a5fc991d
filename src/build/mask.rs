//! What a command writes → the same with its secrets' values struck out.
//!
//! Output comes in pieces that are not cut where secrets begin or end, so what could be the beginning of one is held back until more is
//! known.

use crate::event::Stream;

/// Shorter values are in any text by chance, and striking them out would only hide the text.
const SHORTEST_BYTES: usize = 4;
/// What stands in place of a value.
const STRUCK_OUT: &[u8] = b"***";

/// The values to strike out: each line of each secret, since tools print and quote secrets line by line.
pub(super) struct Mask<'s> {
    values: Vec<&'s [u8]>,
    out: Vec<u8>,
    err: Vec<u8>,
}

impl<'s> Mask<'s> {
    /// `secrets` are the values as they were given.
    pub(super) fn new(secrets: impl IntoIterator<Item = &'s [u8]>) -> Mask<'s> {
        let lines = secrets.into_iter().flat_map(|secret| secret.split(|byte| matches!(byte, b'\n' | b'\r')));
        let mut values: Vec<&[u8]> = lines.map(<[u8]>::trim_ascii).filter(|line| line.len() >= SHORTEST_BYTES).collect();
        // The longest that fits is struck out, so that nothing of it is left behind a shorter one.
        values.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        values.dedup();
        Mask { values, out: Vec::new(), err: Vec::new() }
    }

    /// The next piece of a stream; gives what can be shown by now.
    pub(super) fn piece(&mut self, stream: Stream, bytes: &[u8]) -> Vec<u8> {
        if self.values.is_empty() {
            return bytes.to_vec();
        }
        let held = match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        };
        held.extend_from_slice(bytes);
        let (shown, done) = strike_out(&self.values, held, End::MoreMayCome);
        held.drain(..done);
        shown
    }

    /// What was held back of a stream that has ended.
    pub(super) fn rest(&mut self, stream: Stream) -> Vec<u8> {
        let held = match stream {
            Stream::Out => std::mem::take(&mut self.out),
            Stream::Err => std::mem::take(&mut self.err),
        };
        strike_out(&self.values, &held, End::Reached).0
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    MoreMayCome,
    Reached,
}

/// What can be shown of `text`, and how many of its bytes that accounts for.
fn strike_out(values: &[&[u8]], text: &[u8], end: End) -> (Vec<u8>, usize) {
    let mut shown = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let mut candidates = values.iter().filter(|value| value.first() == Some(first));
        let fits = |value: &&&[u8]| rest.starts_with(value) || (end == End::MoreMayCome && value.starts_with(rest));
        match candidates.find(fits) {
            Some(value) if rest.len() < value.len() => break,
            Some(value) => {
                shown.extend_from_slice(STRUCK_OUT);
                rest = rest.get(value.len()..).unwrap_or_default();
            }
            None => {
                shown.push(*first);
                rest = after;
            }
        }
    }
    (shown, text.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masked(secrets: &[&str], pieces: &[&[u8]]) -> String {
        let mut mask = Mask::new(secrets.iter().map(|secret| secret.as_bytes()));
        let mut shown: Vec<u8> = pieces.iter().flat_map(|piece| mask.piece(Stream::Out, piece)).collect();
        shown.extend(mask.rest(Stream::Out));
        String::from_utf8(shown).unwrap()
    }

    #[test]
    fn values_are_struck_out_line_by_line_and_the_longest_first() {
        for (secrets, text, expected) in [
            (&["hunter22\n"][..], "token=hunter22.", "token=***."),
            (&["first line\nsecond line"], "x second line y first line", "x *** y ***"),
            (&["abcd", "abcdef"], "abcd abcde abcdef", "*** ***e ***"),
            (&["abc"], "abc", "abc"),
            (&["aaab"], "aaaab", "a***"),
            (&[], "anything", "anything"),
        ] {
            assert_eq!(masked(secrets, &[text.as_bytes()]), expected);
        }
    }

    #[test]
    fn the_beginning_of_a_value_is_shown_when_no_more_comes() {
        assert_eq!(masked(&["hunter22"], &[b"hunt"]), "hunt");
    }

    #[test]
    fn streams_do_not_mix() {
        let mut mask = Mask::new([b"hunter22".as_slice()]);
        assert_eq!(mask.piece(Stream::Out, b"hunt"), b"");
        assert_eq!(mask.piece(Stream::Err, b"er22"), b"er22");
        assert_eq!(mask.piece(Stream::Out, b"er22"), b"***");
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(text in "[ab]{0,60}", secrets in prop::collection::vec("[ab]{4,6}", 0..3), size in 1_usize..9) {
            let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            let shown = masked(&secrets, &pieces);
            prop_assert_eq!(&shown, &masked(&secrets, &[text.as_bytes()]));
            for secret in secrets {
                prop_assert!(!shown.contains(secret));
            }
        }
    }
}
