//! From columns to the model's types and back. A column that cannot be one is an
//! [`Error::Inconsistent`].

use std::fmt::Display;
use std::str::FromStr;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use sqlx::sqlite::SqliteQueryResult;

use crate::Error;

/// Reads a number.
pub(crate) fn number<T: TryFrom<i64, Error: Display>>(
    value: i64,
    what: &'static str,
) -> Result<T, Error> {
    T::try_from(value).map_err(|error| Error::inconsistent(format!("{what} {value}"), error))
}

/// Writes a number, which the database keeps signed.
pub(crate) fn signed(value: u64, what: &'static str) -> Result<i64, Error> {
    i64::try_from(value).map_err(|error| Error::inconsistent(format!("{what} {value}"), error))
}

/// Reads a name, an id, a digest or a time.
pub(crate) fn text<T: FromStr<Err: Display>>(value: &str, what: &'static str) -> Result<T, Error> {
    value
        .parse()
        .map_err(|error| Error::inconsistent(format!("{what} `{value}`"), error))
}

/// Writes a time, always with nine decimals, so that the order of the texts is that of the times.
pub(crate) fn time(at: Timestamp) -> String {
    format!("{at:.9}")
}

/// Reads one that may be absent.
pub(crate) fn optional<T: FromStr<Err: Display>>(
    value: Option<&str>,
    what: &'static str,
) -> Result<Option<T>, Error> {
    value.map(|value| text(value, what)).transpose()
}

/// Reads a JSON document.
pub(crate) fn document<T: DeserializeOwned>(json: &str, what: &str) -> Result<T, Error> {
    serde_json::from_str(json).map_err(|error| Error::inconsistent(what, error))
}

/// Checks that a statement changed one row.
pub(crate) fn one(result: &SqliteQueryResult, what: &str) -> Result<(), Error> {
    match result.rows_affected() {
        1 => Ok(()),
        rows => Err(Error::inconsistent(
            what,
            format!("one row was to be changed, not {rows}"),
        )),
    }
}
