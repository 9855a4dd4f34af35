//! Rows to values: the texts of a foreign database are checked, never trusted.
//!
//! Another program may have written the row, or a fault on the disk. A bad one is an error that
//! names path and column; it is never skipped, since a path that seems absent would be built again
//! over what is there.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::Row;
use rusqlite::types::ValueRef;

use crate::format::{Algorithm, Hash, Origin, StoreDir, StorePath, ValidPathInfo};
use crate::store::StoreError;

/// Columns that [`info`] reads, in order.
pub(super) const INFO_COLUMNS: &str =
    "v.id, v.path, v.hash, v.registrationTime, v.deriver, v.narSize, v.ultimate, v.sigs, v.ca";

/// A failed read.
#[derive(Debug)]
pub(super) enum RowError {
    Sqlite(rusqlite::Error),
    Bad { path: String, column: &'static str, why: String },
}

impl From<rusqlite::Error> for RowError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl RowError {
    pub(super) fn at(self, doing: &'static str, file: &Path) -> StoreError {
        match self {
            Self::Sqlite(source) => StoreError::database(doing, file, source),
            Self::Bad { path, column, why } => StoreError::BadRow { path, column, why },
        }
    }
}

/// A row under inspection; `path` names it in errors.
struct Inspected<'r, 's> {
    row: &'r Row<'s>,
    path: String,
}

impl Inspected<'_, '_> {
    fn bad(&self, column: &'static str, why: impl ToString) -> RowError {
        RowError::Bad { path: self.path.clone(), column, why: why.to_string() }
    }

    fn text(&self, index: usize, column: &'static str) -> Result<Option<&str>, RowError> {
        match self.row.get_ref(index)? {
            ValueRef::Null => Ok(None),
            ValueRef::Text(bytes) => std::str::from_utf8(bytes)
                .map(Some)
                .map_err(|_| self.bad(column, "it is not UTF-8 text")),
            ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Blob(_) => {
                Err(self.bad(column, "it is not text"))
            }
        }
    }

    fn integer(&self, index: usize, column: &'static str) -> Result<i64, RowError> {
        match self.row.get_ref(index)? {
            ValueRef::Null => Ok(0),
            ValueRef::Integer(value) => Ok(value),
            ValueRef::Real(_) | ValueRef::Text(_) | ValueRef::Blob(_) => {
                Err(self.bad(column, "it is not an integer"))
            }
        }
    }
}

/// What a column holds, for error messages only.
fn shown(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            String::from_utf8_lossy(bytes).into_owned()
        }
        ValueRef::Integer(value) => value.to_string(),
        ValueRef::Real(value) => value.to_string(),
        ValueRef::Null => "(null)".to_owned(),
    }
}

/// Reads a full store path from the column at `index`.
pub(super) fn path(
    row: &Row<'_>,
    index: usize,
    column: &'static str,
    dir: &StoreDir,
) -> Result<StorePath, RowError> {
    let value = row.get_ref(index)?;
    let bytes = match value {
        ValueRef::Text(bytes) => bytes,
        _ => &[],
    };
    dir.parse(bytes).map_err(|e| RowError::Bad { path: shown(value), column, why: e.to_string() })
}

/// Reads [`INFO_COLUMNS`]: the row's id and what it says, without references.
pub(super) fn info(row: &Row<'_>, dir: &StoreDir) -> Result<(i64, ValidPathInfo), RowError> {
    let path = path(row, 1, "path", dir)?;
    let r = Inspected { row, path: dir.print(&path) };
    let hash = r.text(2, "hash")?.unwrap_or_default();
    let nar_hash = Hash::parse(hash, Some(Algorithm::Sha256)).map_err(|e| r.bad("hash", e))?;
    let deriver = r.text(4, "deriver")?;
    let deriver = deriver.map(|text| dir.parse(text.as_bytes())).transpose();
    let size = r.integer(5, "narSize")?;
    let signatures: BTreeSet<String> =
        r.text(7, "sigs")?.unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let info = ValidPathInfo {
        nar_hash,
        nar_size: size.try_into().map_err(|_| r.bad("narSize", "it is negative"))?,
        references: BTreeSet::new(),
        deriver: deriver.map_err(|e| r.bad("deriver", e))?,
        registration_time: r.integer(3, "registrationTime")?,
        origin: match r.integer(6, "ultimate")? {
            1 => Origin::BuiltHere,
            _ => Origin::Elsewhere,
        },
        signatures,
        ca: r.text(8, "ca")?.filter(|text| !text.is_empty()).map(str::to_owned),
        path,
    };
    Ok((row.get(0)?, info))
}

/// The place of a path in the question, from the first column.
pub(super) fn place(row: &Row<'_>) -> rusqlite::Result<usize> {
    // What `json_each` counts fits; a value that does not is out of every range.
    row.get::<_, u32>(0).map(|place| usize::try_from(place).unwrap_or(usize::MAX))
}
