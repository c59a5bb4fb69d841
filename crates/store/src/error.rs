//! What can go wrong in the store, by what the caller can do about it.

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such thing.
    #[error("there is no {kind} {id}")]
    NotFound {
        /// What kind of thing.
        kind: &'static str,
        /// Its id as given.
        id: String,
    },
    /// The thing is not in a state that allows this.
    #[error(transparent)]
    Illegal(#[from] domain::task::IllegalTransition),
    /// It clashes with what is recorded.
    #[error("{message}")]
    Conflict {
        /// A stable code.
        code: &'static str,
        /// What clashes.
        message: String,
    },
    /// The disk is full.
    #[error("the disk that holds the data directory is full")]
    DiskFull,
    /// A body is larger than allowed.
    #[error("a body of {size} bytes is larger than the {max} bytes that can be recorded")]
    TooLarge {
        /// Its size.
        size: u64,
        /// The bound.
        max: u64,
    },
    /// The body was erased.
    #[error("this content was erased; its commitment in the log still stands")]
    Erased,
    /// The database failed.
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the database schema could not be brought up to date")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// A file could not be read or written.
    #[error("a file of the data directory could not be read or written")]
    Io(#[source] std::io::Error),
    /// The audit log could not be written or read.
    #[error("the audit log failed")]
    Audit(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A record cannot be read back.
    #[error("a record is damaged: {0}")]
    Corrupt(String),
    /// The store is shutting down.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// A record that cannot be read back.
    pub fn corrupt(what: impl std::fmt::Display) -> Self {
        Self::Corrupt(what.to_string())
    }

    /// The same error, for one more of those who waited for the same thing.
    pub(crate) fn alike(&self) -> Self {
        if matches!(self, Self::DiskFull) {
            return Self::DiskFull;
        }
        let source = std::error::Error::source(self).map(ToString::to_string).unwrap_or_default();
        Self::Database(sqlx::Error::Protocol(format!("{self}: {source}")))
    }

    /// Something that clashes with the record.
    pub fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::Conflict { code, message: message.into() }
    }

    /// Nothing by that id.
    pub fn not_found(kind: &'static str, id: impl std::fmt::Display) -> Self {
        Self::NotFound { kind, id: id.to_string() }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(e: sqlx::Error) -> Self {
        const SQLITE_FULL: &str = "13";
        if let sqlx::Error::Database(d) = &e
            && d.code().as_deref() == Some(SQLITE_FULL)
        {
            return Self::DiskFull;
        }
        if let sqlx::Error::Io(io) = &e
            && io.kind() == std::io::ErrorKind::StorageFull
        {
            return Self::DiskFull;
        }
        Self::Database(e)
    }
}

impl From<std::io::Error> for StoreError {
    fn from(e: std::io::Error) -> Self {
        if e.kind() == std::io::ErrorKind::StorageFull { Self::DiskFull } else { Self::Io(e) }
    }
}

impl From<serde_json::Error> for StoreError {
    fn from(e: serde_json::Error) -> Self {
        Self::Corrupt(e.to_string())
    }
}

impl From<domain::ids::IdError> for StoreError {
    fn from(e: domain::ids::IdError) -> Self {
        Self::Corrupt(e.to_string())
    }
}
