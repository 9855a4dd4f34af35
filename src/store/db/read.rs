//! Questions to the database, each for many paths at once.
//!
//! A set of paths travels as one JSON text that SQLite's `json_each` unfolds, so a question costs
//! one statement whatever its size.

use std::collections::{BTreeMap, BTreeSet};

use super::rows::{self, RowError};
use super::{Db, StoreError};
use crate::format::{StorePath, ValidPathInfo};

/// Which way a closure goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// What the paths refer to.
    References,
    /// What refers to the paths.
    Referrers,
}

const VALID: &str = "select j.key from json_each(?1) j cross join ValidPaths v \
                     on v.path = j.value";
const REFERENCES_OF: &str = "select r.referrer, v.path from json_each(?1) j \
                             cross join Refs r on r.referrer = j.value \
                             cross join ValidPaths v on v.id = r.reference";
const REFERRERS: &str = "select j.key, v.path from json_each(?1) j \
                         cross join ValidPaths t on t.path = j.value \
                         cross join Refs r on r.reference = t.id \
                         cross join ValidPaths v on v.id = r.referrer";
const FORWARD: &str = "with recursive seen(id) as (\
                       select v.id from json_each(?1) j cross join ValidPaths v \
                       on v.path = j.value union select r.reference from seen cross join Refs r \
                       on r.referrer = seen.id) \
                       select v.path from seen cross join ValidPaths v on v.id = seen.id";
const BACKWARD: &str = "with recursive seen(id) as (\
                        select v.id from json_each(?1) j cross join ValidPaths v \
                        on v.path = j.value union select r.referrer from seen cross join Refs r \
                        on r.reference = seen.id) \
                        select v.path from seen cross join ValidPaths v on v.id = seen.id";
const DERIVERS: &str = "select j.key, v.path from json_each(?1) j \
                        cross join DerivationOutputs d on d.path = j.value \
                        cross join ValidPaths v on v.id = d.drv";
const OUTPUTS: &str = "select j.key, d.id, d.path from json_each(?1) j \
                       cross join ValidPaths v on v.path = j.value \
                       cross join DerivationOutputs d on d.drv = v.id";

impl Db {
    fn json<'p>(&self, paths: impl IntoIterator<Item = &'p StorePath>) -> String {
        let full: Vec<String> = paths.into_iter().map(|p| self.store_dir.print(p)).collect();
        serde_json::Value::from(full).to_string()
    }

    /// Those of `paths` that are valid.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be read.
    pub fn valid<'p>(
        &self,
        paths: impl IntoIterator<Item = &'p StorePath>,
    ) -> Result<BTreeSet<StorePath>, StoreError> {
        let paths: Vec<&StorePath> = paths.into_iter().collect();
        let json = self.json(paths.iter().copied());
        self.reading("looking for valid paths", |c| {
            let mut statement = c.prepare_cached(VALID)?;
            let keys = statement.query_map([&json], rows::place)?;
            let mut found = BTreeSet::new();
            for key in keys {
                found.extend(paths.get(key?).map(|&path| path.clone()));
            }
            Ok(found)
        })
    }

    /// What is known of those of `paths` that are valid.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be read or a row is bad.
    pub fn infos<'p>(
        &self,
        paths: impl IntoIterator<Item = &'p StorePath>,
    ) -> Result<BTreeMap<StorePath, ValidPathInfo>, StoreError> {
        let json = self.json(paths);
        let sql = format!(
            "select {} from json_each(?1) j cross join ValidPaths v on v.path = j.value",
            rows::INFO_COLUMNS
        );
        self.reading("reading what is known of paths", |c| {
            // One snapshot for both statements: a path must not change in between.
            let snapshot = c.unchecked_transaction()?;
            let mut by_id = BTreeMap::new();
            let mut statement = snapshot.prepare_cached(&sql)?;
            let mut rows = statement.query([&json])?;
            while let Some(row) = rows.next()? {
                let (id, info) = rows::info(row, &self.store_dir)?;
                by_id.insert(id, info);
            }
            let ids: Vec<i64> = by_id.keys().copied().collect();
            let ids = serde_json::Value::from(ids).to_string();
            let mut statement = snapshot.prepare_cached(REFERENCES_OF)?;
            let mut rows = statement.query([&ids])?;
            while let Some(row) = rows.next()? {
                let reference = rows::path(row, 1, "path", &self.store_dir)?;
                if let Some(info) = by_id.get_mut(&row.get(0)?) {
                    info.references.insert(reference);
                }
            }
            Ok(by_id.into_values().map(|info| (info.path.clone(), info)).collect())
        })
    }

    /// What is known of `path`, if it is valid.
    ///
    /// # Errors
    /// As [`Db::infos`].
    pub fn info(&self, path: &StorePath) -> Result<Option<ValidPathInfo>, StoreError> {
        Ok(self.infos([path])?.remove(path))
    }

    /// References of each of `paths` that is valid.
    ///
    /// # Errors
    /// As [`Db::infos`].
    pub fn references<'p>(
        &self,
        paths: impl IntoIterator<Item = &'p StorePath>,
    ) -> Result<BTreeMap<StorePath, BTreeSet<StorePath>>, StoreError> {
        let infos = self.infos(paths)?;
        Ok(infos.into_iter().map(|(path, info)| (path, info.references)).collect())
    }

    /// What refers to each of `paths`; a path that nothing refers to has no entry.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be read or a row is bad.
    pub fn referrers<'p>(
        &self,
        paths: impl IntoIterator<Item = &'p StorePath>,
    ) -> Result<BTreeMap<StorePath, BTreeSet<StorePath>>, StoreError> {
        self.pairs("looking for referrers", REFERRERS, paths)
    }

    /// Valid derivations that say they make each of `paths`, valid or not.
    ///
    /// # Errors
    /// As [`Db::referrers`].
    pub fn valid_derivers<'p>(
        &self,
        paths: impl IntoIterator<Item = &'p StorePath>,
    ) -> Result<BTreeMap<StorePath, BTreeSet<StorePath>>, StoreError> {
        self.pairs("looking for derivers", DERIVERS, paths)
    }

    fn pairs<'p>(
        &self,
        doing: &'static str,
        sql: &str,
        paths: impl IntoIterator<Item = &'p StorePath>,
    ) -> Result<BTreeMap<StorePath, BTreeSet<StorePath>>, StoreError> {
        let paths: Vec<&StorePath> = paths.into_iter().collect();
        let json = self.json(paths.iter().copied());
        self.reading(doing, |c| {
            let mut found: BTreeMap<StorePath, BTreeSet<StorePath>> = BTreeMap::new();
            let mut statement = c.prepare_cached(sql)?;
            let mut rows = statement.query([&json])?;
            while let Some(row) = rows.next()? {
                let other = rows::path(row, 1, "path", &self.store_dir)?;
                if let Some(&path) = paths.get(rows::place(row)?) {
                    found.entry(path.clone()).or_default().insert(other);
                }
            }
            Ok(found)
        })
    }

    /// The derivation that made `path`, if the path is valid and that is known.
    ///
    /// # Errors
    /// As [`Db::infos`].
    pub fn deriver(&self, path: &StorePath) -> Result<Option<StorePath>, StoreError> {
        Ok(self.info(path)?.and_then(|info| info.deriver))
    }

    /// The outputs that the database knows of each valid derivation in `drvs`, by name.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be read or a row is bad.
    pub fn derivation_outputs<'p>(
        &self,
        drvs: impl IntoIterator<Item = &'p StorePath>,
    ) -> Result<BTreeMap<StorePath, BTreeMap<String, StorePath>>, StoreError> {
        let drvs: Vec<&StorePath> = drvs.into_iter().collect();
        let json = self.json(drvs.iter().copied());
        self.reading("looking for outputs of derivations", |c| {
            let mut found: BTreeMap<StorePath, BTreeMap<String, StorePath>> = BTreeMap::new();
            let mut statement = c.prepare_cached(OUTPUTS)?;
            let mut rows = statement.query([&json])?;
            while let Some(row) = rows.next()? {
                let path = rows::path(row, 2, "DerivationOutputs.path", &self.store_dir)?;
                let bad_name = |e: rusqlite::Error| RowError::Bad {
                    path: self.store_dir.print(&path),
                    column: "DerivationOutputs.id",
                    why: e.to_string(),
                };
                let name: String = row.get(1).map_err(bad_name)?;
                if let Some(&drv) = drvs.get(rows::place(row)?) {
                    found.entry(drv.clone()).or_default().insert(name, path);
                }
            }
            Ok(found)
        })
    }

    /// All that `paths` reach in `direction`, the valid ones of `paths` themselves included.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be read or a row is bad.
    pub fn closure<'p>(
        &self,
        paths: impl IntoIterator<Item = &'p StorePath>,
        direction: Direction,
    ) -> Result<BTreeSet<StorePath>, StoreError> {
        let sql = match direction {
            Direction::References => FORWARD,
            Direction::Referrers => BACKWARD,
        };
        self.set("computing a closure", sql, &self.json(paths))
    }

    /// Every valid path.
    ///
    /// # Errors
    /// As [`Db::closure`].
    pub fn all_valid(&self) -> Result<BTreeSet<StorePath>, StoreError> {
        // The parameter is not used, so that all questions have one form.
        self.set("listing valid paths", "select path from ValidPaths where ?1 is not null", "")
    }

    fn set(
        &self,
        doing: &'static str,
        sql: &str,
        parameter: &str,
    ) -> Result<BTreeSet<StorePath>, StoreError> {
        self.reading(doing, |c| {
            let mut statement = c.prepare_cached(sql)?;
            let mut rows = statement.query([parameter])?;
            let mut found = BTreeSet::new();
            while let Some(row) = rows.next()? {
                found.insert(rows::path(row, 0, "path", &self.store_dir)?);
            }
            Ok(found)
        })
    }

    /// The valid path with this hash part.
    ///
    /// # Errors
    /// As [`Db::closure`].
    pub fn path_from_hash_part(&self, hash_part: &str) -> Result<Option<StorePath>, StoreError> {
        let from = format!("{}/{hash_part}", self.store_dir);
        let sql = "select path from ValidPaths where path >= ?1 order by path limit 1";
        let found = self.set("looking for a hash part", sql, &from)?;
        Ok(found.into_iter().find(|path| path.hash_part() == hash_part))
    }
}
