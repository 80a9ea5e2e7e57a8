//! An ordered map of entries whose clones share what neither has changed.
//!
//! A B+ tree: reads go through few, wide nodes, and a change copies one path of them, or nothing
//! where no clone shares it.

use std::iter::FusedIterator;
use std::slice;
use std::sync::Arc;

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
    Leaf(Arc<Vec<Entry>>),
    Branch(Arc<Vec<Child>>),
}

#[derive(Clone, Debug)]
struct Child {
    /// Not after any key below, except where this is the first child, and after all keys below
    /// the child before.
    from: Key,
    node: Node,
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
                Node::Branch(children) => node = &children[child_of(children, key)].node,
                Node::Leaf(entries) => {
                    let index = find(entries, key).ok()?;
                    return Some(&entries[index]);
                }
            }
        }
    }

    /// Puts an entry in the place of the one with its key, which it returns.
    pub(super) fn insert(&mut self, entry: Entry) -> Option<Entry> {
        let (replaced, split) = self.root.insert(entry);
        self.len += usize::from(replaced.is_none());
        if let (Some(right), Some(from)) = (split, self.root.first_key()) {
            let left = Child {
                from,
                node: self.root.clone(),
            };
            self.root = Node::Branch(Arc::new(vec![left, right]));
        }
        replaced
    }

    pub(super) fn remove(&mut self, key: &str) -> Option<Entry> {
        // Nothing is copied for a key that is not there.
        self.get(key)?;
        let removed = self.root.remove(key);
        self.len -= usize::from(removed.is_some());
        if let Node::Branch(children) = &self.root
            && let [only] = &children[..]
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
                    path.push(children[index + 1..].iter());
                    node = &children[index].node;
                }
                Node::Leaf(entries) => {
                    let index = match find(entries, key) {
                        Ok(index) if with_key => index,
                        Ok(index) => index + 1,
                        Err(index) => index,
                    };
                    let leaf = entries[index..].iter();
                    return Iter { path, leaf };
                }
            }
        }
    }
}

impl Node {
    /// Returns what was replaced, and the right half where the node had to be split.
    fn insert(&mut self, entry: Entry) -> (Option<Entry>, Option<Child>) {
        match self {
            Self::Leaf(entries) => {
                let entries = Arc::make_mut(entries);
                match find(entries, entry.key.as_str()) {
                    Ok(index) => (Some(std::mem::replace(&mut entries[index], entry)), None),
                    Err(index) => {
                        let is_last = index == entries.len();
                        entries.insert(index, entry);
                        (
                            None,
                            split(entries, is_last, Self::Leaf, |entry| entry.key.clone()),
                        )
                    }
                }
            }
            Self::Branch(children) => {
                let children = Arc::make_mut(children);
                let index = child_of(children, entry.key.as_str());
                let (replaced, right) = children[index].node.insert(entry);
                let Some(right) = right else {
                    return (replaced, None);
                };
                let is_last = index + 1 == children.len();
                children.insert(index + 1, right);
                let split = split(children, is_last, Self::Branch, |child| child.from.clone());
                (replaced, split)
            }
        }
    }

    fn remove(&mut self, key: &str) -> Option<Entry> {
        match self {
            Self::Leaf(entries) => {
                let index = find(entries, key).ok()?;
                Some(Arc::make_mut(entries).remove(index))
            }
            Self::Branch(children) => {
                let children = Arc::make_mut(children);
                let index = child_of(children, key);
                let removed = children[index].node.remove(key);
                if children[index].node.len() < LEAST && children.len() > 1 {
                    let left = index.min(children.len() - 2);
                    join(children, left);
                }
                removed
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Leaf(entries) => entries.len(),
            Self::Branch(children) => children.len(),
        }
    }

    fn first_key(&self) -> Option<Key> {
        match self {
            Self::Leaf(entries) => Some(entries.first()?.key.clone()),
            Self::Branch(children) => Some(children.first()?.from.clone()),
        }
    }
}

/// The child under which a key is, or would be.
fn child_of(children: &[Child], key: &str) -> usize {
    let after = children.partition_point(|child| child.from.as_str() <= key);
    // Keys before the first are put under the first.
    after.saturating_sub(1)
}

fn find(entries: &[Entry], key: &str) -> Result<usize, usize> {
    entries.binary_search_by(|entry| entry.key.as_str().cmp(key))
}

/// Takes the right half off a node that has too many. Where keys come in order, the left one
/// stays full.
fn split<T>(
    parts: &mut Vec<T>,
    is_last: bool,
    node: impl Fn(Arc<Vec<T>>) -> Node,
    from: impl Fn(&T) -> Key,
) -> Option<Child> {
    if parts.len() <= MOST {
        return None;
    }
    let at = if is_last { MOST - LEAST } else { MOST / 2 };
    let right = parts.split_off(at);
    let from = from(right.first()?);
    Some(Child {
        from,
        node: node(Arc::new(right)),
    })
}

/// Joins a child with the next one, or evens them out where they are too many for one.
fn join(children: &mut Vec<Child>, left: usize) {
    let right = children.remove(left + 1);
    let split = match (&mut children[left].node, right.node) {
        (Node::Leaf(entries), Node::Leaf(more)) => {
            let entries = Arc::make_mut(entries);
            entries.extend(Arc::unwrap_or_clone(more));
            split(entries, false, Node::Leaf, |entry| entry.key.clone())
        }
        (Node::Branch(below), Node::Branch(more)) => {
            let below = Arc::make_mut(below);
            below.extend(Arc::unwrap_or_clone(more));
            split(below, false, Node::Branch, |child| child.from.clone())
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
    leaf: slice::Iter<'a, Entry>,
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
                    self.leaf = entries.iter();
                    return Some(());
                }
                Node::Branch(children) => {
                    let mut rest = children.iter();
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

    /// Says that the tree is one: how deep it is.
    fn check(node: &Node, is_root: bool) -> usize {
        assert!(node.len() <= MOST);
        assert!(is_root || node.len() >= LEAST, "{}", node.len());
        let Node::Branch(children) = node else {
            return 1;
        };
        assert!(children.len() > 1);
        let depths: Vec<usize> = children
            .iter()
            .map(|child| check(&child.node, false))
            .collect();
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
            check(&entries.root, true);
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
        assert_eq!(check(&entries.root, true), 3);
        for number in (0..10_000).rev() {
            assert!(entries.remove(&format!("{number:05}")).is_some());
            assert!(entries.remove(&format!("{number:05}")).is_none());
        }
        assert_eq!(entries.len(), 0);
        assert!(entries.iter().next().is_none());
        assert_eq!(check(&entries.root, true), 1);
    }
}
