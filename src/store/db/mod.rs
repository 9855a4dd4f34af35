//! The store database: connections, their settings, and waiting for other processes.
//!
//! One connection writes, behind a lock; reads take one from a pool, so a reader never waits for
//! our own writer. "Database is busy" never leaves this module: SQLite itself waits up to an hour,
//! and a refusal that it does not wait for is tried again here.
//!
//! It does not know which paths are pending, nor what lies on disk.

mod read;
mod rows;
mod write;

use std::path::PathBuf;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use rusqlite::trace::{TraceEvent, TraceEventCodes};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::error::StoreError;
use super::open::{Access, Durability, Journal, Listener, OpenOptions};
use crate::format::StoreDir;

pub use read::Direction;
pub use write::{Group, GroupResults, Registration, Standing};

/// The tables, indices and triggers of a new store.
const SCHEMA: &str = include_str!("../schema.sql");

/// How long SQLite waits for another process before it says "busy": an hour, as Nix.
const BUSY_TIMEOUT: Duration = Duration::from_secs(3600);
/// First and longest pause before a refused transaction is tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// Pages in the write-ahead log before it is copied back; Nix's figure.
const WAL_AUTOCHECKPOINT: u32 = 40_000;
/// Truncates the log when the last connection closes; Nix's figure, 2^40 bytes.
const JOURNAL_SIZE_LIMIT: i64 = 1 << 40;
/// KiB of pages that the writer may hold: a transaction of thousands of rows in SQLite's own 2 MiB
/// writes the same pages many times over.
const WRITER_CACHE_KIB: i64 = 32 << 10;
/// Prepared statements that a connection keeps.
const STATEMENT_CACHE: usize = 32;

/// The database of one store.
pub struct Db {
    file: PathBuf,
    store_dir: StoreDir,
    options: OpenOptions,
    /// See [`BUSY_TIMEOUT`]; shorter in tests.
    busy_timeout: Duration,
    writer: Mutex<Option<Connection>>,
    readers: Mutex<Vec<Connection>>,
}

/// What a new connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Create,
    Write,
    Read,
}

impl Db {
    /// Opens the database at `file`; the tables are created if `options` say so.
    pub(super) fn open(
        file: PathBuf,
        store_dir: StoreDir,
        options: OpenOptions,
        tables: Tables,
    ) -> Result<Self, StoreError> {
        let db = Self {
            file,
            store_dir,
            options,
            busy_timeout: BUSY_TIMEOUT,
            writer: Mutex::new(None),
            readers: Mutex::new(Vec::new()),
        };
        match tables {
            Tables::Create => {
                let connection = db.connect(Purpose::Create)?;
                db.retry("creating the tables", || connection.execute_batch(SCHEMA))?;
                *db.writer.lock() = Some(connection);
            }
            Tables::Exist => {
                let connection = db.connect(Purpose::Read)?;
                db.readers.lock().push(connection);
            }
        }
        Ok(db)
    }

    /// The store folder that all paths in the database start with.
    #[must_use]
    pub fn store_dir(&self) -> &StoreDir {
        &self.store_dir
    }

    fn fail(&self, doing: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError + '_ {
        move |source| StoreError::database(doing, &self.file, source)
    }

    fn connect(&self, purpose: Purpose) -> Result<Connection, StoreError> {
        if self.options.access == Access::ReadOnly {
            return self.connect_read_only();
        }
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
        if purpose == Purpose::Create {
            flags |= OpenFlags::SQLITE_OPEN_CREATE;
        }
        let connection = self.connect_with(flags, "")?;
        self.retry("opening", || self.settle(&connection, purpose))?;
        Ok(connection)
    }

    /// Without writing anything: through the log and shared memory of those who write, if they
    /// are there to be read; else as a file that nobody writes.
    fn connect_read_only(&self) -> Result<Connection, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let beside = |suffix: &str| {
            let mut name = self.file.clone().into_os_string();
            name.push(suffix);
            PathBuf::from(name).exists()
        };
        // SQLite would create a log that is missing, if it may.
        if beside("-wal") && beside("-shm") {
            let connection = self.connect_with(flags, "?readonly_shm=1")?;
            let probe = "select count(*) from sqlite_master";
            if connection.query_row(probe, [], |row| row.get::<_, i64>(0)).is_ok() {
                return Ok(connection);
            }
        }
        self.connect_with(flags, "?immutable=1")
    }

    fn connect_with(&self, flags: OpenFlags, query: &str) -> Result<Connection, StoreError> {
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        let uri = self.uri(query);
        let mut connection = match self.options.journal {
            Journal::Wal => Connection::open_with_flags(uri, flags),
            // What Nix uses where shared memory does not work: locks are files beside it.
            Journal::Truncate => Connection::open_with_flags_and_vfs(uri, flags, c"unix-dotfile"),
        }
        .map_err(self.fail("opening"))?;
        if let Some(listener) = self.options.listener {
            connection
                .trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(told_to(listener)))
                .map_err(self.fail("opening"))?;
        }
        connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
        connection.busy_timeout(self.busy_timeout).map_err(self.fail("opening"))?;
        Ok(connection)
    }

    /// `file:`, the path and `query`.
    fn uri(&self, query: &str) -> PathBuf {
        use std::os::unix::ffi::{OsStrExt, OsStringExt};
        let mut uri = b"file:".to_vec();
        for &byte in self.file.as_os_str().as_bytes() {
            match byte {
                b'%' | b'?' | b'#' => uri.extend(format!("%{byte:02x}").into_bytes()),
                _ => uri.push(byte),
            }
        }
        uri.extend(query.as_bytes());
        std::ffi::OsString::from_vec(uri).into()
    }

    fn settle(&self, connection: &Connection, purpose: Purpose) -> rusqlite::Result<()> {
        let wal = self.options.journal == Journal::Wal;
        if purpose != Purpose::Read {
            let wanted = if wal { "wal" } else { "truncate" };
            let mode: String =
                connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
            if mode != wanted {
                connection.pragma_update(None, "journal_mode", wanted)?;
            }
            connection.pragma_update(None, "foreign_keys", 1)?;
            connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
            // FULL: a commit is on disk when it returns. NORMAL: as Nix, the last may be lost.
            let synchronous = match self.options.durability {
                Durability::Durable => "full",
                Durability::Relaxed => "normal",
            };
            connection.pragma_update(None, "synchronous", synchronous)?;
        }
        if wal {
            connection.pragma_update(None, "journal_size_limit", JOURNAL_SIZE_LIMIT)?;
            connection.pragma_update(None, "wal_autocheckpoint", WAL_AUTOCHECKPOINT)?;
            // The log stays when the last connection closes, so that who may not write the
            // folder can still read the database.
            let mut keep = 1;
            let persist = rusqlite::FileControl::PersistWal(&mut keep);
            connection.file_control(Some(rusqlite::MAIN_DB), persist)?;
        }
        Ok(())
    }

    /// Runs `work` on a connection for reading.
    fn reading<T>(
        &self,
        doing: &'static str,
        mut work: impl FnMut(&Connection) -> Result<T, rows::RowError>,
    ) -> Result<T, StoreError> {
        let pooled = self.readers.lock().pop();
        let connection = match pooled {
            Some(connection) => connection,
            None => self.connect(Purpose::Read)?,
        };
        let mut pause = FIRST_PAUSE;
        let result = loop {
            match work(&connection) {
                Err(rows::RowError::Sqlite(e)) if is_busy(&e) => wait(&mut pause),
                other => break other,
            }
        };
        self.readers.lock().push(connection);
        result.map_err(|e| e.at(doing, &self.file))
    }

    /// The writing connection, opened at its first use.
    fn writer(&self) -> Result<MutexGuard<'_, Option<Connection>>, StoreError> {
        if self.options.access == Access::ReadOnly {
            return Err(StoreError::ReadOnly(self.store_dir.as_str().into()));
        }
        let mut guard = self.writer.lock();
        if guard.is_none() {
            *guard = Some(self.connect(Purpose::Write)?);
        }
        Ok(guard)
    }

    fn retry<T>(
        &self,
        doing: &'static str,
        mut work: impl FnMut() -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut pause = FIRST_PAUSE;
        loop {
            match work() {
                Err(e) if is_busy(&e) => wait(&mut pause),
                other => return other.map_err(self.fail(doing)),
            }
        }
    }
}

/// Whether the tables are to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tables {
    /// A new store.
    Create,
    /// An old one.
    Exist,
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Db").field("file", &self.file).finish_non_exhaustive()
    }
}

/// Passes statements on. What a trigger does is a comment to SQLite and no statement of ours.
fn told_to(listener: Listener) -> impl FnMut(TraceEvent<'_>) + Send + 'static {
    move |event| match event {
        TraceEvent::Stmt(statement, text) if !text.starts_with("--") => {
            listener(statement.expanded_sql().as_deref().unwrap_or(text));
        }
        _ => {}
    }
}

/// Any of the kinds of SQLITE_BUSY: another process is in the way for now.
fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
}

/// A pause before another try. There is nothing to wait *on*: SQLite refused without waiting
/// (a snapshot, a recovery, a deadlock it saw), and no event tells when that has passed.
fn wait(pause: &mut Duration) {
    std::thread::park_timeout(*pause);
    *pause = (*pause * 2).min(LONGEST_PAUSE);
}

#[cfg(test)]
mod tests;
