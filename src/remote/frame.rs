//! Bytes with their lengths before them ⇄ what is stored in pages and snapshots: lengths are 32 bits, little end first.

/// Writes bytes with their length; `None` where that has more than 32 bits.
pub(super) fn frame(out: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    count(out, bytes.len())?;
    out.extend_from_slice(bytes);
    Some(())
}

/// Writes a length or count.
pub(super) fn count(out: &mut Vec<u8>, number: usize) -> Option<()> {
    out.extend_from_slice(&u32::try_from(number).ok()?.to_le_bytes());
    Some(())
}

/// Reads what [`frame`] wrote.
pub(super) fn unframe<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(u32::from_le_bytes(take(rest)?)).ok()?;
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(bytes)
}

/// Reads so many bytes.
pub(super) fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*bytes)
}
