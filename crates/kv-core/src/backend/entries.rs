//! An ordered map of entries whose clones share what neither has changed.
//!
//! A B+ tree: reads go through few, wide nodes, and a change copies one path of them, or nothing
//! where no clone shares it.

use std::iter::FusedIterator;
use std::slice;
use std::sync::Arc;

use super::sorted::{Keyed, Sorted};
use crate::{Entry, Key};

/// The most that a node has. It has at least a quarter of it, unless it is the root.
const MOST: usize = 32;
const LEAST: usize = MOST / 4;

/// Entries by key.
#[derive(Clone, Debug)]
pub(super) struct Entries {
    root: Node,
    len: usize,
}

#[derive(Clone, Debug)]
enum Node {
    // A copy of a leaf shares its entries: to copy keys and values instead would go to two places in
    // memory for each of them.
    Leaf(Arc<Sorted<Arc<Entry>>>),
    Branch(Arc<Sorted<Child>>),
}

#[derive(Clone, Debug)]
struct Child {
    /// Not after any key below, and after all keys below the child before.
    from: Key,
    node: Node,
}

impl Keyed for Child {
    fn key(&self) -> &Key {
        &self.from
    }
}

impl Default for Entries {
    fn default() -> Self {
        Self {
            root: Node::Leaf(Arc::default()),
            len: 0,
        }
    }
}

impl Entries {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        let mut node = &self.root;
        loop {
            match node {
                Node::Branch(children) => node = &children.parts()[child_of(children, key)].node,
                Node::Leaf(entries) => {
                    let index = entries.find(key).ok()?;
                    return Some(&entries.parts()[index]);
                }
            }
        }
    }

    /// Puts an entry in the place of the one with its key, which it returns.
    pub(super) fn insert(&mut self, entry: Entry) -> Option<Arc<Entry>> {
        let (replaced, split) = self.root.insert(Arc::new(entry));
        self.len += usize::from(replaced.is_none());
        if let (Some(right), Some(from)) = (split, self.root.first_key()) {
            let left = Child {
                from,
                node: self.root.clone(),
            };
            self.root = Node::Branch(Arc::new(Sorted::new(vec![left, right])));
        }
        replaced
    }

    pub(super) fn remove(&mut self, key: &str) -> Option<Arc<Entry>> {
        // Nothing is copied for a key that is not there.
        self.get(key)?;
        let removed = self.root.remove(key);
        self.len -= usize::from(removed.is_some());
        if let Node::Branch(children) = &self.root
            && let [only] = children.parts()
        {
            self.root = only.node.clone();
        }
        removed
    }

    pub(super) fn iter(&self) -> Iter<'_> {
        self.from("", true)
    }

    /// The entries from a key on, with or without that of the key itself.
    pub(super) fn from(&self, key: &str, with_key: bool) -> Iter<'_> {
        let mut path = Vec::new();
        let mut node = &self.root;
        loop {
            match node {
                Node::Branch(children) => {
                    let index = child_of(children, key);
                    path.push(children.parts()[index + 1..].iter());
                    node = &children.parts()[index].node;
                }
                Node::Leaf(entries) => {
                    let index = match entries.find(key) {
                        Ok(index) if with_key => index,
                        Ok(index) => index + 1,
                        Err(index) => index,
                    };
                    let leaf = entries.parts()[index..].iter();
                    return Iter { path, leaf };
                }
            }
        }
    }
}

impl Node {
    /// Returns what was replaced, and the right half where the node had to be split.
    fn insert(&mut self, entry: Arc<Entry>) -> (Option<Arc<Entry>>, Option<Child>) {
        match self {
            Self::Leaf(entries) => {
                let entries = Arc::make_mut(entries);
                match entries.find(entry.key.as_str()) {
                    Ok(index) => (Some(entries.replace(index, entry)), None),
                    Err(index) => {
                        let is_last = index == entries.parts().len();
                        entries.insert(index, entry);
                        (None, split(entries, is_last, Self::Leaf))
                    }
                }
            }
            Self::Branch(children) => {
                let children = Arc::make_mut(children);
                let index = child_of(children, entry.key.as_str());
                children.lower(index, &entry.key);
                let (replaced, right) = children.node(index).insert(entry);
                let Some(right) = right else {
                    return (replaced, None);
                };
                let is_last = index + 1 == children.parts().len();
                children.insert(index + 1, right);
                (replaced, split(children, is_last, Self::Branch))
            }
        }
    }

    fn remove(&mut self, key: &str) -> Option<Arc<Entry>> {
        match self {
            Self::Leaf(entries) => {
                let index = entries.find(key).ok()?;
                Some(Arc::make_mut(entries).remove(index))
            }
            Self::Branch(children) => {
                let children = Arc::make_mut(children);
                let index = child_of(children, key);
                let removed = children.node(index).remove(key);
                let count = children.parts().len();
                if children.parts()[index].node.len() < LEAST && count > 1 {
                    let left = index.min(count - 2);
                    join(children, left);
                }
                removed
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Leaf(entries) => entries.parts().len(),
            Self::Branch(children) => children.parts().len(),
        }
    }

    fn first_key(&self) -> Option<Key> {
        match self {
            Self::Leaf(entries) => Some(entries.parts().first()?.key.clone()),
            Self::Branch(children) => Some(children.parts().first()?.from.clone()),
        }
    }
}

impl Sorted<Child> {
    /// Has a key, which no child before it can have, go under this one.
    fn lower(&mut self, index: usize, key: &Key) {
        if *key < self.parts()[index].from {
            let mut child = self.remove(index);
            child.from = key.clone();
            self.insert(index, child);
        }
    }

    fn node(&mut self, index: usize) -> &mut Node {
        &mut self.part_mut(index).node
    }
}

/// The child under which a key is, or would be.
fn child_of(children: &Sorted<Child>, key: &str) -> usize {
    match children.find(key) {
        Ok(index) => index,
        // Keys before the first go under the first.
        Err(after) => after.saturating_sub(1),
    }
}

/// Takes the right half off a node that has too many. Where keys come in order, the left one
/// stays full.
fn split<T: Keyed>(
    parts: &mut Sorted<T>,
    is_last: bool,
    node: impl Fn(Arc<Sorted<T>>) -> Node,
) -> Option<Child> {
    if parts.parts().len() <= MOST {
        return None;
    }
    let at = if is_last { MOST - LEAST } else { MOST / 2 };
    let right = parts.split_off(at);
    let from = right.parts().first()?.key().clone();
    Some(Child {
        from,
        node: node(Arc::new(right)),
    })
}

/// Joins a child with the next one, or evens them out where they are too many for one.
fn join(children: &mut Sorted<Child>, left: usize) {
    let right = children.remove(left + 1);
    let split = match (children.node(left), right.node) {
        (Node::Leaf(entries), Node::Leaf(more)) => {
            let entries = Arc::make_mut(entries);
            entries.append(Arc::unwrap_or_clone(more));
            split(entries, false, Node::Leaf)
        }
        (Node::Branch(below), Node::Branch(more)) => {
            let below = Arc::make_mut(below);
            below.append(Arc::unwrap_or_clone(more));
            split(below, false, Node::Branch)
        }
        // All leaves are at the same depth.
        _ => None,
    };
    if let Some(right) = split {
        children.insert(left + 1, right);
    }
}

/// Entries in the order of their keys.
pub(super) struct Iter<'a> {
    /// What is left of each branch on the way to the leaf.
    path: Vec<slice::Iter<'a, Child>>,
    leaf: slice::Iter<'a, Arc<Entry>>,
}

impl<'a> Iter<'a> {
    /// Goes to the next leaf. `None`: there is none.
    fn next_leaf(&mut self) -> Option<()> {
        let mut child = loop {
            match self.path.last_mut()?.next() {
                Some(child) => break child,
                None => drop(self.path.pop()),
            }
        };
        loop {
            match &child.node {
                Node::Leaf(entries) => {
                    self.leaf = entries.parts().iter();
                    return Some(());
                }
                Node::Branch(children) => {
                    let mut rest = children.parts().iter();
                    child = rest.next()?;
                    self.path.push(rest);
                }
            }
        }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a Entry;

    fn next(&mut self) -> Option<&'a Entry> {
        loop {
            if let Some(entry) = self.leaf.next() {
                return Some(entry);
            }
            self.next_leaf()?;
        }
    }
}

impl FusedIterator for Iter<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use proptest::prelude::*;

    use crate::Revision;

    fn entry(key: &str, revision: u64) -> Entry {
        Entry {
            key: Key::new(key).unwrap(),
            value: Bytes::new(),
            revision: Revision::new(revision),
            expires_at: None,
        }
    }

    /// Says that the tree is one, of keys in a range: how deep it is.
    fn check(node: &Node, is_root: bool, range: (&str, Option<&str>)) -> usize {
        assert!(node.len() <= MOST);
        assert!(is_root || node.len() >= LEAST, "{}", node.len());
        let is_within =
            |key: &Key| range.0 <= key.as_str() && range.1.is_none_or(|end| key.as_str() < end);
        let children = match node {
            Node::Branch(children) => children.parts(),
            Node::Leaf(entries) => {
                assert!(entries.parts().iter().all(|entry| is_within(&entry.key)));
                return 1;
            }
        };
        assert!(children.len() > 1);
        assert!(children.iter().all(|child| is_within(&child.from)));
        let ends = children[1..].iter().map(|child| Some(child.from.as_str()));
        let ends = ends.chain([range.1]);
        let below = children.iter().zip(ends);
        let depths =
            below.map(|(child, end)| check(&child.node, false, (child.from.as_str(), end)));
        let depths: Vec<usize> = depths.collect();
        assert!(depths.iter().all(|depth| *depth == depths[0]));
        depths[0] + 1
    }

    fn content(entries: &Entries) -> Vec<(String, u64)> {
        let pair = |entry: &Entry| (entry.key.as_str().to_owned(), entry.revision.get());
        entries.iter().map(pair).collect()
    }

    fn of_model(model: &BTreeMap<String, u64>) -> Vec<(String, u64)> {
        model
            .iter()
            .map(|(key, revision)| (key.clone(), *revision))
            .collect()
    }

    proptest! {
        /// Against a plain map, with a clone that stays as it was.
        #[test]
        fn it_is_a_map(
            steps in proptest::collection::vec((any::<bool>(), 0..700_u32), 0..3_000),
            from in 0..700_u32,
        ) {
            let (mut entries, mut model) = (Entries::default(), BTreeMap::new());
            let mut earlier = None;
            let count = steps.len();
            for (step, (is_removal, number)) in steps.into_iter().enumerate() {
                if step == count / 2 {
                    earlier = Some((entries.clone(), model.clone()));
                }
                // First it grows, then it shrinks.
                let is_removal = is_removal && (step % 4 == 0 || step > count / 2);
                let key = format!("{number:03}");
                if is_removal {
                    let removed = entries.remove(&key).map(|entry| entry.revision.get());
                    prop_assert_eq!(removed, model.remove(&key));
                } else {
                    let replaced = entries.insert(entry(&key, step as u64));
                    let replaced = replaced.map(|entry| entry.revision.get());
                    prop_assert_eq!(replaced, model.insert(key, step as u64));
                }
            }
            check(&entries.root, true, ("", None));
            prop_assert_eq!(entries.len(), model.len());
            prop_assert_eq!(content(&entries), of_model(&model));
            let key = format!("{from:03}");
            prop_assert_eq!(entries.get(&key).map(|entry| entry.revision.get()), model.get(&key).copied());
            let rest: Vec<&str> = entries.from(&key, false).map(|entry| entry.key.as_str()).collect();
            let expected: Vec<&str> = model.keys().map(String::as_str).filter(|one| *one > key.as_str()).collect();
            prop_assert_eq!(rest, expected);
            if let Some((entries, model)) = earlier {
                prop_assert_eq!(content(&entries), of_model(&model));
            }
        }
    }

    #[test]
    fn it_shrinks_to_nothing() {
        let mut entries = Entries::default();
        for number in 0..10_000 {
            entries.insert(entry(&format!("{number:05}"), number));
        }
        assert_eq!(check(&entries.root, true, ("", None)), 3);
        for number in (0..10_000).rev() {
            assert!(entries.remove(&format!("{number:05}")).is_some());
            assert!(entries.remove(&format!("{number:05}")).is_none());
        }
        assert_eq!(entries.len(), 0);
        assert!(entries.iter().next().is_none());
        assert_eq!(check(&entries.root, true, ("", None)), 1);
    }
}
