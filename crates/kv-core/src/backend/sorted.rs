//! What has a key, in the order of the keys.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::{Entry, Key};

pub(super) trait Keyed {
    fn key(&self) -> &Key;
}

impl Keyed for Arc<Entry> {
    fn key(&self) -> &Key {
        &self.key
    }
}

/// A vector in the order of the keys, with the bytes in which neighbours differ side by side: a
/// search reads those, the first key and the one it ends with, where each key that it compares
/// would be fetched from memory of its own.
#[derive(Clone, Debug)]
pub(super) struct Sorted<T> {
    /// So many bytes at their beginning all keys have in common. It may be fewer than they do.
    common: usize,
    /// Of each key, the bytes after those.
    marks: Vec<u64>,
    parts: Vec<T>,
}

impl<T> Default for Sorted<T> {
    fn default() -> Self {
        Self {
            common: 0,
            marks: Vec::new(),
            parts: Vec::new(),
        }
    }
}

impl<T> Sorted<T> {
    pub(super) fn parts(&self) -> &[T] {
        &self.parts
    }

    /// Whose key has to stay as it is.
    pub(super) fn part_mut(&mut self, index: usize) -> &mut T {
        &mut self.parts[index]
    }

    /// Puts one in the place of another with the same key, which it returns.
    pub(super) fn replace(&mut self, index: usize, part: T) -> T {
        std::mem::replace(&mut self.parts[index], part)
    }

    pub(super) fn remove(&mut self, index: usize) -> T {
        self.marks.remove(index);
        let removed = self.parts.remove(index);
        if self.parts.is_empty() {
            *self = Self::default();
        }
        removed
    }
}

impl<T: Keyed> Sorted<T> {
    /// Of parts that are in order.
    pub(super) fn new(parts: Vec<T>) -> Self {
        let mut sorted = Self {
            parts,
            ..Self::default()
        };
        sorted.mark_all();
        sorted
    }

    /// Where a key is, or would be.
    pub(super) fn find(&self, key: &str) -> Result<usize, usize> {
        let key = key.as_bytes();
        match self.compare_beginning(key) {
            Ordering::Less => return Err(0),
            Ordering::Greater => return Err(self.parts.len()),
            Ordering::Equal => {}
        }
        let mark = mark(key, self.common);
        let from = self.marks.partition_point(|one| *one < mark);
        let same = self.marks[from..].iter().take_while(|one| **one == mark);
        let same = &self.parts[from..from + same.count()];
        let found = same.binary_search_by(|part| bytes(part).cmp(key));
        found
            .map(|index| from + index)
            .map_err(|index| from + index)
    }

    pub(super) fn insert(&mut self, index: usize, part: T) {
        if !self.parts.is_empty() && self.compare_beginning(bytes(&part)).is_eq() {
            self.marks.insert(index, mark(bytes(&part), self.common));
            self.parts.insert(index, part);
        } else {
            self.parts.insert(index, part);
            self.mark_all();
        }
    }

    pub(super) fn split_off(&mut self, at: usize) -> Self {
        let right = Self::new(self.parts.split_off(at));
        self.mark_all();
        right
    }

    /// Takes over parts that come after all others.
    pub(super) fn append(&mut self, more: Self) {
        self.parts.extend(more.parts);
        self.mark_all();
    }

    /// How the beginning of a key compares with what all others have in common.
    fn compare_beginning(&self, key: &[u8]) -> Ordering {
        let first = self.parts.first().map_or(&[][..], bytes);
        let beginning = &key[..key.len().min(self.common)];
        beginning.cmp(&first[..self.common])
    }

    fn mark_all(&mut self) {
        let (first, last) = (self.parts.first(), self.parts.last());
        let pairs = first
            .map_or(&[][..], bytes)
            .iter()
            .zip(last.map_or(&[][..], bytes));
        // What the first and the last have in common, those between them have, too.
        self.common = pairs.take_while(|(one, other)| one == other).count();
        let marks = self.parts.iter().map(|part| mark(bytes(part), self.common));
        self.marks = marks.collect();
    }
}

fn bytes<T: Keyed>(part: &T) -> &[u8] {
    part.key().as_str().as_bytes()
}

/// The eight bytes after the first few, as a number that is in the order of the keys.
fn mark(key: &[u8], after: usize) -> u64 {
    let rest = key.get(after..).unwrap_or_default();
    let mut mark = [0; 8];
    let count = rest.len().min(mark.len());
    mark[..count].copy_from_slice(&rest[..count]);
    u64::from_be_bytes(mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    use bytes::Bytes;
    use proptest::prelude::*;

    use crate::Revision;

    fn entry(key: &str) -> Arc<Entry> {
        Arc::new(Entry {
            key: Key::new(key).unwrap(),
            value: Bytes::new(),
            revision: Revision::ZERO,
            expires_at: None,
        })
    }

    /// Some are the beginnings of others, some differ only after more bytes than a mark has.
    fn keys() -> impl Strategy<Value = Vec<String>> {
        proptest::collection::vec("(common/)?(b{8})?[abc\u{1}]{1,3}", 1..60)
    }

    fn agree(sorted: &Sorted<Arc<Entry>>, model: &[String], asked: &[String]) {
        let found = sorted.parts().iter().map(|entry| entry.key.as_str());
        assert!(found.eq(model));
        for key in model.iter().chain(asked) {
            assert_eq!(
                sorted.find(key),
                model.binary_search(key),
                "{key:?} in {model:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn it_finds_what_a_search_among_the_keys_finds(
            steps in keys(),
            asked in keys(),
            at in 0..60_usize,
        ) {
            let (mut sorted, mut model) = (Sorted::<Arc<Entry>>::default(), Vec::<String>::new());
            for (step, key) in steps.iter().enumerate() {
                match model.binary_search(key) {
                    Ok(index) if step % 2 == 0 => {
                        prop_assert_eq!(&sorted.remove(index).key, &Key::new(model.remove(index))?);
                    }
                    Ok(index) => drop(sorted.replace(index, entry(key))),
                    Err(index) => {
                        model.insert(index, key.clone());
                        sorted.insert(index, entry(key));
                    }
                }
                agree(&sorted, &model, &asked);
            }
            let at = at.min(model.len());
            let right = sorted.split_off(at);
            agree(&sorted, &model[..at], &asked);
            agree(&right, &model[at..], &asked);
            sorted.append(right);
            agree(&sorted, &model, &asked);
            while !model.is_empty() {
                prop_assert_eq!(&sorted.remove(0).key, &Key::new(model.remove(0))?);
                agree(&sorted, &model, &asked);
            }
        }
    }
}
