//! Whether new work is taken, while what was accepted goes on.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{Problem, errors};

/// A gate in front of what makes more work. Cheap to clone; open until somebody closes it.
///
/// ```
/// use recourse_service::admission::Admission;
///
/// let admission = Admission::default();
/// assert!(admission.check().is_ok());
/// admission.close("9 MiB are left");
/// assert_eq!(admission.check().unwrap_err().code().code, "storage-low");
/// admission.open();
/// assert!(admission.check().is_ok());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Admission {
    closed: Arc<Mutex<Option<String>>>,
}

impl Admission {
    /// Takes no more new work, and says why.
    pub fn close(&self, why: impl Into<String>) {
        self.set(Some(why.into()));
    }

    /// Takes new work again.
    pub fn open(&self) {
        self.set(None);
    }

    fn set(&self, closed: Option<String>) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = closed;
    }

    /// To be asked before new work is accepted, and after it is known that it is not a repeat.
    ///
    /// # Errors
    /// `storage-low`.
    pub fn check(&self) -> Result<(), Problem> {
        match &*self.closed.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(why) => Err(Problem::new(errors::STORAGE_LOW).detail(why.clone())),
        }
    }
}
