//! What has not ended yet, by name: who waits for the end can say what it waits for.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The parts of a process that run. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Running(Arc<Mutex<BTreeSet<&'static str>>>);

/// One part; dropped where it ends, however it does.
#[derive(Debug)]
pub struct Part {
    running: Running,
    name: &'static str,
}

impl Running {
    /// Counts with a part from here on.
    #[must_use]
    pub fn begin(&self, name: &'static str) -> Part {
        self.parts().insert(name);
        Part {
            running: self.clone(),
            name,
        }
    }

    /// The parts that have not ended, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        self.parts().iter().copied().collect()
    }

    fn parts(&self) -> MutexGuard<'_, BTreeSet<&'static str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.running.parts().remove(self.name);
    }
}

/// How it ended; an error too where something had not by then.
pub(crate) fn ended(served: Option<anyhow::Result<()>>, left: &[&str]) -> anyhow::Result<()> {
    served.unwrap_or_else(|| {
        let left = left.join(", ");
        Err(anyhow::anyhow!(
            "stopped without waiting any longer for: {left}"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_does_not_wait_for_all_is_a_failure_that_names_what_was_left() {
        ended(Some(Ok(())), &[]).unwrap();
        let error = ended(None, &["gateway", "payments"]).unwrap_err();
        assert!(error.to_string().ends_with("gateway, payments"), "{error}");
    }
}
