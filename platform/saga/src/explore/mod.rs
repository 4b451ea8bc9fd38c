//! Walks every path of a model, breadth first; a [`Walk`] is that of a saga.
//!
//! A state is visited once, known by a hash of 64 bits. The first failure found is one of the
//! shortest there are, and comes with the path to it.

mod party;
mod paths;
mod walk;

pub use walk::{Faults, Seen, Walk};

use std::{
    collections::{HashSet, VecDeque},
    fmt::{self, Display},
    hash::{DefaultHasher, Hash, Hasher},
};

/// Something whose every path can be walked.
pub trait Model {
    /// Where it stands. Its hash is what makes it another state; what does not matter for
    /// what can come stays out of it.
    type State: Clone + Hash;
    /// What can happen.
    type Action: Clone + Display;

    /// Where it can begin.
    fn initial(&self) -> Vec<(Self::Action, Self::State)>;

    /// What can happen next; none where a path ends.
    fn actions(&self, state: &Self::State) -> Vec<Self::Action>;

    /// Where that leads; `None` where it changes nothing, so that the path without it covers
    /// the path with it.
    ///
    /// # Errors
    /// What is wrong with that.
    fn step(
        &self,
        state: &Self::State,
        action: &Self::Action,
    ) -> Result<Option<Self::State>, String>;

    /// Looks at a state, and whether a path ends there.
    ///
    /// # Errors
    /// What is wrong with it.
    fn check(&self, state: &Self::State, is_end: bool) -> Result<(), String>;
}

/// What a walk found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How many states it visited.
    pub states: usize,
    /// How many steps it took, to known states too.
    pub steps: usize,
    /// How many of the states end a path.
    pub ends: usize,
    /// The length of the longest of the shortest paths to a state.
    pub depth: usize,
    /// What was wrong, and how to get there by the fewest steps.
    pub failure: Option<Failure>,
    /// That it stopped at the limit: not every path was walked.
    pub is_cut: bool,
}

/// What was wrong, and how to get there by the fewest steps. As text, and where a test unwraps it,
/// a line a step.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure {
    /// What was wrong.
    pub what: String,
    /// From the beginning.
    pub path: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        for (number, step) in (1..).zip(&self.path) {
            write!(f, "\n  {number}. {step}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How a state was reached first.
struct Visit<A> {
    before: Option<usize>,
    action: A,
    depth: usize,
}

/// Walks every path, to the first failure or to `max_states`.
pub fn explore<M: Model>(model: &M, max_states: usize) -> Report {
    let mut report = Report {
        states: 0,
        steps: 0,
        ends: 0,
        depth: 0,
        failure: None,
        is_cut: false,
    };
    let mut known = HashSet::new();
    let mut visits = Vec::new();
    let mut queue = VecDeque::new();
    for (action, state) in model.initial() {
        if known.insert(fingerprint(&state)) {
            queue.push_back((visits.len(), state));
            visits.push(Visit {
                before: None,
                action,
                depth: 0,
            });
        }
    }
    while let Some((at, state)) = queue.pop_front() {
        report.states = report.states.saturating_add(1);
        report.depth = visits.get(at).map_or(0, |visit: &Visit<_>| visit.depth);
        let mut is_end = true;
        for action in model.actions(&state) {
            report.steps = report.steps.saturating_add(1);
            match model.step(&state, &action) {
                Ok(None) => {}
                Ok(Some(next)) => {
                    is_end = false;
                    if known.insert(fingerprint(&next)) {
                        queue.push_back((visits.len(), next));
                        visits.push(Visit {
                            before: Some(at),
                            action,
                            depth: report.depth.saturating_add(1),
                        });
                    }
                }
                Err(what) => {
                    let mut path = path_to(&visits, at);
                    path.push(action.to_string());
                    report.failure = Some(Failure { what, path });
                    return report;
                }
            }
        }
        report.ends = report.ends.saturating_add(usize::from(is_end));
        if let Err(what) = model.check(&state, is_end) {
            let path = path_to(&visits, at);
            report.failure = Some(Failure { what, path });
            return report;
        }
        if known.len() >= max_states {
            report.is_cut = !queue.is_empty();
            return report;
        }
    }
    report
}

fn path_to<A: Display>(visits: &[Visit<A>], at: usize) -> Vec<String> {
    let mut path = Vec::new();
    let mut at = Some(at);
    while let Some(visit) = at.and_then(|at| visits.get(at)) {
        path.push(visit.action.to_string());
        at = visit.before;
    }
    path.reverse();
    path
}

/// Always the same for the same state: the hasher has no key of its own.
fn fingerprint<S: Hash>(state: &S) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts to ten by one or by two; seven is wrong.
    struct Counting {
        wrong: Option<u32>,
    }

    impl Model for Counting {
        type State = u32;
        type Action = u32;

        fn initial(&self) -> Vec<(u32, u32)> {
            vec![(0, 0)]
        }

        fn actions(&self, state: &u32) -> Vec<u32> {
            if *state < 10 { vec![1, 2] } else { vec![] }
        }

        fn step(&self, state: &u32, action: &u32) -> Result<Option<u32>, String> {
            Ok(Some(state + action))
        }

        fn check(&self, state: &u32, is_end: bool) -> Result<(), String> {
            if self.wrong == Some(*state) {
                return Err("wrong".to_owned());
            }
            assert_eq!(is_end, *state >= 10);
            Ok(())
        }
    }

    #[test]
    fn every_state_is_visited_once() {
        let report = explore(&Counting { wrong: None }, 1_000);
        assert_eq!((report.states, report.steps, report.ends), (12, 20, 2));
        assert_eq!(report.failure, None);
        assert!(!report.is_cut);
    }

    #[test]
    fn the_failure_comes_with_a_shortest_path() {
        let report = explore(&Counting { wrong: Some(7) }, 1_000);
        assert_eq!(report.failure.unwrap().path.len(), 5);
    }

    #[test]
    fn a_walk_that_was_cut_says_so() {
        assert!(explore(&Counting { wrong: None }, 5).is_cut);
    }
}
