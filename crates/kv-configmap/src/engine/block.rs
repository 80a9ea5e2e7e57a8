use std::cell::RefCell;
use std::io;

use bytes::Bytes;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe;

use super::DecodeError;

/// How much is done to make a block small.
#[derive(Clone, Copy, Debug)]
pub(super) enum Effort {
    /// For what every commit compresses again.
    Fast,
    /// For what is written once, while a caller waits, and then read by everybody.
    Dense,
    /// For what is written once, beside the commits.
    Densest,
}

impl Effort {
    /// The time that a put takes, and the density, in `docs/benchmark` judge the choice. Level 1 is no
    /// faster than 2, and misses most of what repeats far away. A merge with 16 takes several times as
    /// long as with 15.
    fn level(self) -> i32 {
        match self {
            Self::Fast => 2,
            Self::Dense => 12,
            Self::Densest => 15,
        }
    }
}

/// The most bytes that a block may hold before compression. Checked against what the frame says
/// of itself before a byte is decompressed, because 32 KiB of zstd can stand for a gigabyte.
pub(super) const BLOCK_RAW_BYTES: usize = 64 * 1024 * 1024;

/// Compresses the bytes of a message; nothing stays nothing. `None`: they are too many.
pub(super) fn compress(raw: &[u8], effort: Effort) -> Option<Bytes> {
    if raw.is_empty() {
        return Some(Bytes::new());
    }
    if raw.len() > BLOCK_RAW_BYTES {
        return None;
    }
    // It fails only where memory does.
    let fast = FAST.with_borrow_mut(|kept| kept.as_mut().ok()?.compress(raw).ok())?;
    // What a fast look finds little in is noise, as a rule: tokens, hashes, what is compressed or
    // encrypted already. A long one takes several times as long and finds a few hundredths more.
    let is_noise = fast.len() > raw.len() / 3 * 2;
    let block = match effort {
        Effort::Dense | Effort::Densest if !is_noise => {
            drop(fast);
            // Its contexts take megabytes.
            zstd::bulk::compress(raw, effort.level()).ok()?
        }
        _ => fast,
    };
    Some(Bytes::from(block))
}

// Contexts are kept: to make one takes about as long as to compress the tail of a head.
thread_local! {
    static FAST: RefCell<io::Result<Compressor<'static>>> =
        RefCell::new(Compressor::new(Effort::Fast.level()));
    static DECOMPRESSOR: RefCell<Decompressor<'static>> = RefCell::default();
}

/// Decompresses a block of a head; nothing is nothing.
pub(super) fn open(block: &[u8]) -> Result<Bytes, DecodeError> {
    match block {
        [] => Ok(Bytes::new()),
        _ => decompress(block, BLOCK_RAW_BYTES),
    }
}

/// The size of a block before compression, as the block tells it.
pub(super) fn raw_bytes(block: &[u8]) -> Result<usize, DecodeError> {
    if block.is_empty() {
        return Ok(0);
    }
    content_size(block, BLOCK_RAW_BYTES)
}

fn content_size(block: &[u8], limit: usize) -> Result<usize, DecodeError> {
    let size = zstd_safe::get_frame_content_size(block).ok().flatten();
    let size = size.ok_or_else(|| content("a block does not tell its size"))?;
    match usize::try_from(size) {
        Ok(size) if size <= limit => Ok(size),
        _ => Err(content(&format!(
            "a block of {size} bytes, the limit is {limit}"
        ))),
    }
}

/// Decompresses a block of at most `limit` bytes.
pub(super) fn decompress(block: &[u8], limit: usize) -> Result<Bytes, DecodeError> {
    let size = content_size(block, limit)?;
    let raw = DECOMPRESSOR.with_borrow_mut(|kept| kept.decompress(block, size));
    let raw = raw.map_err(|error| content(&format!("a block does not decompress: {error}")))?;
    if raw.len() != size {
        return Err(content("a block is shorter than it tells"));
    }
    Ok(Bytes::from(raw))
}

fn content(reason: &str) -> DecodeError {
    DecodeError::Content(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_is_refused_before_it_goes_off() {
        let gibibyte = std::io::Read::take(std::io::repeat(0), 1 << 30);
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
        encoder.set_pledged_src_size(Some(1 << 30)).unwrap();
        encoder.include_contentsize(true).unwrap();
        std::io::copy(
            &mut std::io::BufReader::with_capacity(1 << 20, gibibyte),
            &mut encoder,
        )
        .unwrap();
        let bomb = encoder.finish().unwrap();
        assert!(bomb.len() < 128 * 1024, "{}", bomb.len());
        let error = decompress(&bomb, BLOCK_RAW_BYTES).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a block of 1073741824 bytes, the limit is 67108864"
        );
    }

    #[test]
    fn only_what_a_fast_look_finds_much_in_is_made_dense() {
        use rand::{Rng, SeedableRng};
        let mut noise = vec![0; 250_000];
        rand::rngs::StdRng::seed_from_u64(1).fill_bytes(&mut noise);
        let text = |byte: &u8| format!("user-{byte:03}@example.com has approved; ").into_bytes();
        let text: Vec<u8> = noise[..2_000].iter().flat_map(text).collect();
        let values = noise.chunks(200).enumerate();
        let noise: Vec<u8> = values
            .flat_map(|(number, value)| {
                [format!("deployments/{number:07}").as_bytes(), value].concat()
            })
            .collect();
        let stored = |raw: &[u8], effort| compress(raw, effort).unwrap();
        for dense in [Effort::Dense, Effort::Densest] {
            assert_eq!(stored(&noise, dense), stored(&noise, Effort::Fast));
            assert!(stored(&text, dense).len() < stored(&text, Effort::Fast).len());
        }
        // Each of these values is there twice, far apart.
        let twice: Vec<u8> = [&noise[..], &noise[..]].concat();
        assert!(stored(&twice, Effort::Dense).len() < twice.len() / 2);
        for raw in [noise, text, twice] {
            assert_eq!(open(&stored(&raw, Effort::Dense)).unwrap(), raw);
            assert_eq!(open(&stored(&raw, Effort::Densest)).unwrap(), raw);
        }
    }

    #[test]
    fn a_block_that_lies_about_its_size_is_refused() {
        let honest = zstd::bulk::compress(&[7; 1_000], 1).unwrap();
        assert_eq!(decompress(&honest, 1_000).unwrap().len(), 1_000);
        assert!(decompress(&honest[..honest.len() - 1], 1_000).is_err());
        assert!(decompress(b"no zstd frame", 1_000).is_err());
        // A stream does not know its size when it writes the frame's header.
        let mut unsized_frame = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
        std::io::Write::write_all(&mut unsized_frame, &[7; 1_000]).unwrap();
        assert!(decompress(&unsized_frame.finish().unwrap(), 1_000).is_err());
    }
}
