//! Reads a message field by field. A whole message has to be decoded before anybody can look at
//! its first element, and an element of two bytes becomes a struct of a hundred: a list of
//! nothing that takes a few KiB in an object would take gibibytes of memory.

use bytes::{Buf, Bytes};

use super::DecodeError;

/// What is in a field.
pub(crate) enum Content {
    Number(u64),
    /// Bytes, a text or a message.
    Bytes(Bytes),
    /// A number of a type that no message here has.
    Unknown,
}

/// The fields of a message, in order, each with its number. The first that is damaged is the last.
pub(crate) fn fields(mut rest: Bytes) -> impl Iterator<Item = Result<(u64, Content), DecodeError>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = next(&mut rest);
        if field.is_none() {
            rest.clear();
        }
        Some(field.ok_or_else(|| DecodeError::Content("a message is damaged".to_owned())))
    })
}

/// The elements of a message that is a list: its only field is number 1.
pub(super) fn elements(list: Bytes) -> impl Iterator<Item = Result<Bytes, DecodeError>> {
    fields(list).filter_map(|field| match field {
        Ok((1, Content::Bytes(element))) => Some(Ok(element)),
        Ok(_) => None,
        Err(damage) => Some(Err(damage)),
    })
}

fn next(rest: &mut Bytes) -> Option<(u64, Content)> {
    let tag = varint(rest)?;
    let content = match tag & 7 {
        0 => Content::Number(varint(rest)?),
        1 => unknown(take(rest, 8)?),
        2 => {
            let length = varint(rest)?;
            Content::Bytes(take(rest, usize::try_from(length).ok()?)?)
        }
        5 => unknown(take(rest, 4)?),
        _ => return None,
    };
    Some((tag >> 3, content))
}

fn unknown(_: Bytes) -> Content {
    Content::Unknown
}

fn take(rest: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= rest.len()).then(|| rest.split_to(length))
}

fn varint(rest: &mut Bytes) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = rest.try_get_u8().ok()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}
