//! Rows that were used lately, so that they are not loaded and read again for each batch.

use std::collections::HashMap;

/// A bounded cache in two generations: what is used moves into the young one, and when that is
/// full it becomes the old one, whose rows are forgotten. Holds at most twice `max_rows`.
#[derive(Debug)]
pub(crate) struct Rows<R> {
    young: HashMap<String, R>,
    old: HashMap<String, R>,
    max_rows: usize,
}

impl<R> Rows<R> {
    pub(crate) fn new(max_rows: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            max_rows,
        }
    }

    /// Takes a row out: whoever changes it puts the result back.
    pub(crate) fn take(&mut self, id: &str) -> Option<R> {
        self.young.remove(id).or_else(|| self.old.remove(id))
    }

    pub(crate) fn put(&mut self, id: String, row: R) {
        if self.young.len() >= self.max_rows {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, row);
    }

    pub(crate) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_is_forgotten() {
        let mut rows = Rows::new(2);
        for round in 0..10 {
            let kept = rows.take("kept").unwrap_or(0);
            rows.put("kept".into(), kept + 1);
            rows.put(format!("once-{round}"), 0);
            assert!(rows.young.len() + rows.old.len() <= 4);
        }
        assert_eq!(rows.take("kept"), Some(10));
        assert_eq!(rows.take("once-0"), None);
    }
}
