use bytes::{BufMut, Bytes, BytesMut};
use twox_hash::XxHash3_64;

use super::DecodeError;

/// What an object holds, as its first bytes tell it.
pub(super) type Magic = [u8; 4];

pub(super) const HEAD: Magic = *b"kvhd";
pub(super) const SEGMENT: Magic = *b"kvsg";
pub(super) const OFFER: Magic = *b"kvof";

/// Magic, format and checksum.
pub(super) const HEADER_BYTES: usize = 16;

/// Puts the header before `payload`. Every format version keeps this header, so that an old
/// program can tell a newer format from damage.
pub(super) fn seal(magic: Magic, format: u32, payload: &[u8]) -> Bytes {
    let mut sealed = BytesMut::with_capacity(HEADER_BYTES + payload.len());
    sealed.put_slice(&magic);
    sealed.put_u32_le(format);
    sealed.put_u64_le(checksum(format, payload));
    sealed.put_slice(payload);
    sealed.freeze()
}

/// Checks the header and returns what follows it.
pub(super) fn open(magic: Magic, bytes: &Bytes, newest_format: u32) -> Result<Bytes, DecodeError> {
    let (Some(found), Some(format), Some(sum)) =
        (bytes.get(..4), u32_at(bytes, 4), u64_at(bytes, 8))
    else {
        return Err(DecodeError::Short { bytes: bytes.len() });
    };
    if found != magic {
        return Err(DecodeError::Magic);
    }
    let payload = bytes.slice(HEADER_BYTES..);
    if checksum(format, &payload) != sum {
        return Err(DecodeError::Checksum);
    }
    if format > newest_format {
        return Err(DecodeError::NewerFormat {
            found: format,
            known: newest_format,
        });
    }
    if format == 0 {
        return Err(DecodeError::Content("format version 0".to_owned()));
    }
    Ok(payload)
}

/// The version of the format, if there is a header.
pub(crate) fn format_of(bytes: &[u8]) -> Option<u32> {
    u32_at(bytes, 4)
}

/// The hash of whole bytes, header included.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot(bytes)
}

fn checksum(format: u32, payload: &[u8]) -> u64 {
    use std::hash::Hasher;
    let mut hasher = XxHash3_64::new();
    hasher.write(&format.to_le_bytes());
    hasher.write(payload);
    hasher.finish()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..at + 4)?
        .try_into()
        .ok()
        .map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes
        .get(at..at + 8)?
        .try_into()
        .ok()
        .map(u64::from_le_bytes)
}
