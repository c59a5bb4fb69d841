//! Ids for tool calls of providers that give none.

use crate::tools::made_id;
use std::collections::HashSet;

/// Gives each tool call of an answer an id that no other has.
///
/// An id that is made up depends on the answer's own id and the call's number alone: the same stream read again gives
/// the same ids, and two calls of the same tool with the same arguments stay two.
#[derive(Debug, Default)]
pub(crate) struct CallIds {
    /// What tells this answer from others.
    seed: String,
    given: HashSet<String>,
    next: usize,
}

impl CallIds {
    /// Ids for an answer.
    pub(crate) fn new(seed: &str) -> Self {
        Self { seed: seed.to_owned(), ..Self::default() }
    }

    /// Takes the provider's id of the answer where nothing better is known.
    pub(crate) fn seed_with(&mut self, seed: &str) {
        if self.seed.is_empty() {
            seed.clone_into(&mut self.seed);
        }
    }

    /// The id of the next call: the provider's, if it gave one that no other call of this answer has.
    pub(crate) fn next(&mut self, given: Option<&str>) -> String {
        if let Some(id) = given.filter(|i| !i.is_empty() && !self.given.contains(*i)) {
            self.given.insert(id.to_owned());
            return id.to_owned();
        }
        loop {
            let number = self.next;
            self.next += 1;
            let id = made_id(&self.seed, number);
            if self.given.insert(id.clone()) {
                return id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_stable_and_never_shared() {
        let read = |seed: &str| {
            let mut ids = CallIds::new(seed);
            [ids.next(None), ids.next(Some("a")), ids.next(Some("a")), ids.next(Some("")), ids.next(None)]
        };
        let ids = read("x");
        assert_eq!(ids, read("x"));
        assert_eq!(ids[1], "a");
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 5);
        assert!(read("y").iter().filter(|i| ids.contains(i)).count() == 1, "only the provider's own id is the same");
    }
}
