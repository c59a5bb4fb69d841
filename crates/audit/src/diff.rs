//! Comparing the entries that are there with the ones that were signed, by their hashes.

use crate::{Hash, Problem, Report, Span, evidence::Found};
use std::collections::{BTreeSet, HashMap};

/// Names changed, removed, inserted, swapped and truncated entries. Entries without an authentic hash are skipped.
pub(crate) fn compare_entries(found: &[Found], signed: &[Option<Hash>], report: &mut Report) {
    let found: Vec<Option<Hash>> = found.iter().map(|f| f.hash).collect();
    let differs = |(f, s): (&Option<Hash>, &Option<Hash>)| f.is_some() && s.is_some() && f != s;
    if found.len() == signed.len() && !found.iter().zip(signed).any(differs) {
        return;
    }
    let mut walk = Walk {
        found_at: positions(&found),
        signed_at: positions(signed),
        found: &found,
        signed,
        i: 0,
        j: 0,
        settled: BTreeSet::new(),
        steps: Vec::new(),
    };
    walk.run();
    for step in merge(walk.steps) {
        report.add(match step {
            Step::Changed(span) => Problem::EntriesChanged { span },
            Step::Removed(span) if span.to == signed.len() as u64 => Problem::EntriesTruncated { span },
            Step::Removed(span) => Problem::EntriesRemoved { span },
            Step::Inserted { before, count } if before == signed.len() as u64 => {
                Problem::EntriesUnsigned { size: before, count }
            }
            Step::Inserted { before, count } => Problem::EntriesInserted { before, count },
            Step::Swapped(first, second) => Problem::EntriesSwapped { first, second },
        });
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Changed(Span),
    Removed(Span),
    Inserted { before: u64, count: u64 },
    Swapped(u64, u64),
}

/// Two positions that move through what is there and what was signed.
struct Walk<'a> {
    found: &'a [Option<Hash>],
    signed: &'a [Option<Hash>],
    found_at: HashMap<Hash, usize>,
    signed_at: HashMap<Hash, usize>,
    i: usize,
    j: usize,
    /// Signed positions already named as the other half of a swap.
    settled: BTreeSet<usize>,
    steps: Vec<Step>,
}

fn positions(hashes: &[Option<Hash>]) -> HashMap<Hash, usize> {
    hashes.iter().enumerate().filter_map(|(n, h)| h.map(|h| (h, n))).collect()
}

impl Walk<'_> {
    fn run(&mut self) {
        loop {
            match (self.found.get(self.i), self.signed.get(self.j)) {
                (None, None) => break,
                (None, Some(_)) => self.remove(),
                (Some(_), None) => self.insert(),
                (Some(Some(found)), Some(Some(signed))) if found != signed && !self.settled.contains(&self.j) => {
                    self.differ(*found, *signed);
                }
                (Some(_), Some(_)) => self.advance(),
            }
        }
    }

    fn advance(&mut self) {
        (self.i, self.j) = (self.i + 1, self.j + 1);
    }

    fn remove(&mut self) {
        self.steps.push(Step::Removed(Span::one(self.j as u64)));
        self.j += 1;
    }

    fn insert(&mut self) {
        self.steps.push(Step::Inserted { before: self.j as u64, count: 1 });
        self.i += 1;
    }

    fn differ(&mut self, found: Hash, signed: Hash) {
        let belongs = self.signed_at.get(&found).copied().filter(|p| *p > self.j);
        let lies = self.found_at.get(&signed).copied().filter(|q| *q > self.i);
        if let (Some(p), Some(q)) = (belongs, lies)
            && p - self.j == q - self.i
        {
            self.steps.push(Step::Swapped(self.j as u64, p as u64));
            self.settled.insert(p);
            return self.advance();
        }
        let next_matches =
            self.found.get(self.i + 1).is_some_and(|n| n.is_some() && self.signed.get(self.j + 1) == Some(n));
        match (belongs, lies) {
            _ if next_matches => self.change(),
            (Some(_), None) => self.remove(),
            (None, Some(_)) => self.insert(),
            // Both lie elsewhere: the nearer one tells whether something is missing here or was put in.
            (Some(p), Some(q)) if p - self.j < q - self.i => self.remove(),
            (Some(_), Some(_)) => self.insert(),
            (None, None) => self.change(),
        }
    }

    fn change(&mut self) {
        self.steps.push(Step::Changed(Span::one(self.j as u64)));
        self.advance();
    }
}

/// Joins steps of one kind that follow each other.
fn merge(steps: Vec<Step>) -> Vec<Step> {
    let mut merged: Vec<Step> = Vec::new();
    for step in steps {
        match (merged.last_mut(), step) {
            (Some(Step::Changed(last)), Step::Changed(next)) | (Some(Step::Removed(last)), Step::Removed(next))
                if last.to == next.from =>
            {
                last.to = next.to;
            }
            (Some(Step::Inserted { before: last, count }), Step::Inserted { before, .. }) if *last == before => {
                *count += 1;
            }
            _ => merged.push(step),
        }
    }
    merged
}
