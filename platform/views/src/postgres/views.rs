//! The schemas of views in a server: made when a view is first written, found when it is first
//! asked for, and dropped with it.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, RwLockWriteGuard},
};

use super::{
    OpenError, Options,
    server::{Contents, Server},
};

/// The schemas of views, and what belongs to each of those that were found. Clones share both.
#[derive(Debug)]
pub(super) struct Views<S> {
    pub(super) server: Server,
    /// By their names.
    found: Arc<RwLock<BTreeMap<String, Arc<S>>>>,
}

impl<S> Clone for Views<S> {
    fn clone(&self) -> Self {
        Self {
            server: self.server.clone(),
            found: Arc::clone(&self.found),
        }
    }
}

/// Why a view's schema cannot be used.
#[derive(Debug)]
pub(super) enum Error {
    /// The server does not answer.
    Sql(sqlx::Error),
    /// It is not of the view that the program knows: what is wrong, and what to do.
    Incompatible(String),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

/// Whether a statement failed because the schema it is about, or its table, is not there.
pub(super) fn is_gone(error: &sqlx::Error) -> bool {
    let answer = error.as_database_error();
    let code = answer.and_then(|answer| answer.code());
    matches!(code.as_deref(), Some("3F000" | "42P01"))
}

impl<S> Views<S> {
    /// Reaches the server, and holds these views against what is there.
    pub(super) async fn connect(options: &Options, views: &[Contents]) -> Result<Self, OpenError> {
        let server = Server::connect(options).await?;
        let views_of = Self {
            server,
            found: Arc::default(),
        };
        for view in views {
            views_of
                .definition(view)
                .await
                .map_err(|error| match error {
                    Error::Sql(source) => OpenError::of(&options.address, source),
                    Error::Incompatible(what) => OpenError::Incompatible {
                        address: options.address.clone(),
                        view: view.name.clone(),
                        what,
                    },
                })?;
        }
        Ok(views_of)
    }

    /// What belongs to a view; none where it was never written.
    pub(super) async fn find(
        &self,
        name: &str,
        wanted: impl FnOnce() -> (Contents, S),
    ) -> Result<Option<Arc<S>>, Error> {
        if let Some(found) = self.known(name) {
            return Ok(Some(found));
        }
        let (contents, with) = wanted();
        if !self.definition(&contents).await? {
            return Ok(None);
        }
        Ok(Some(self.know(contents.name, with)))
    }

    /// Makes the schema of a view where there is none.
    pub(super) async fn make(
        &self,
        wanted: impl FnOnce() -> (Contents, S),
    ) -> Result<Arc<S>, Error> {
        let (contents, with) = wanted();
        let mut line = self.server.line().await?;
        let made = contents.make(&mut line);
        let made = self.server.within(made).await?;
        line.release();
        contents.check(&made)?;
        Ok(self.know(contents.name, with))
    }

    /// Drops the schema of a view.
    pub(super) async fn discard(&self, name: &str) -> Result<(), sqlx::Error> {
        self.forget(name);
        let mut line = self.server.line().await?;
        let dropped = Contents::discard(&mut line, name);
        self.server.within(dropped).await?;
        line.release();
        Ok(())
    }

    /// Forgets a view that somebody else has dropped.
    pub(super) fn forget(&self, name: &str) {
        self.write().remove(name);
    }

    /// Whether there is a schema of a view, after a look at whether it was made for it.
    async fn definition(&self, view: &Contents) -> Result<bool, Error> {
        let mut line = self.server.line().await?;
        let found = view.find(&mut line);
        let found = self.server.within(found).await?;
        line.release();
        match found {
            None => Ok(false),
            Some(found) => view.check(&found).map(|()| true),
        }
    }

    fn known(&self, name: &str) -> Option<Arc<S>> {
        let found = self.found.read().unwrap_or_else(PoisonError::into_inner);
        found.get(name).cloned()
    }

    fn know(&self, name: String, with: S) -> Arc<S> {
        let with = Arc::new(with);
        self.write().insert(name, Arc::clone(&with));
        with
    }

    /// No code panics while it holds the lock, so a poisoned one is still whole.
    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Arc<S>>> {
        self.found.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contents {
    fn check(&self, found: &str) -> Result<(), Error> {
        if found == self.definition {
            return Ok(());
        }
        Err(Error::Incompatible(format!(
            "its indexes have changed and its version has not; give it a new version, or \
             `DROP SCHEMA \"{}\" CASCADE`: it is then filled again from the log",
            self.name
        )))
    }
}
