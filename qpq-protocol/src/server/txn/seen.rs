//! Rows that were read.

use core::ops::Deref;

use bytes::Bytes;

use super::rows::Row;
use crate::server::fault::Fault;
use crate::storage::keys::{Key, Range};
use crate::storage::records::Record;

/// A row as it was read: its value, if there is one.
pub(in crate::server) struct Seen<R> {
    key: Key<R>,
    value: Option<R>,
}

impl<R> Seen<R> {
    /// Its key.
    pub(in crate::server) const fn key(&self) -> &Key<R> {
        &self.key
    }

    /// Its value.
    pub(in crate::server) fn into_value(self) -> Option<R> {
        self.value
    }

    /// Its value, to be changed: what is left says only where to write it.
    pub(in crate::server) const fn take(&mut self) -> Option<R> {
        self.value.take()
    }
}

impl<R: Clone> Seen<R> {
    /// Its value, to be changed.
    pub(in crate::server) fn value(&self) -> Option<R> {
        self.value.clone()
    }
}

impl<R: Record> Seen<R> {
    pub(super) fn new(key: Key<R>, row: Row) -> Result<Self, Fault> {
        let value = row.map(decode).transpose()?;
        Ok(Self { key, value })
    }

    /// A row as a test has it.
    #[cfg(test)]
    pub(in crate::server) const fn of(key: Key<R>, value: Option<R>) -> Self {
        Self { key, value }
    }
}

impl<R> Deref for Seen<R> {
    type Target = Option<R>;

    fn deref(&self) -> &Option<R> {
        &self.value
    }
}

/// A row that was found in a range. The request does not rest on it unless it says so
/// ([`Change::delete_found`](super::Change::delete_found)).
pub(in crate::server) struct Found<R> {
    key: Key<R>,
    row: Bytes,
}

impl<R: Record> Found<R> {
    pub(super) fn new(range: &Range<R>, (key, row): (Bytes, Bytes)) -> Self {
        Self {
            key: Key::of_range(range, key),
            row,
        }
    }

    /// Its key.
    pub(in crate::server) const fn key(&self) -> &Key<R> {
        &self.key
    }

    /// The stored bytes.
    pub(super) const fn row(&self) -> &Bytes {
        &self.row
    }

    /// Its value.
    pub(in crate::server) fn value(&self) -> Result<R, Fault> {
        decode(self.row.clone())
    }
}

/// Keys that are read together, of whatever rows: one, several in a tuple or an array, or a number that is not known
/// beforehand in a vector.
pub(in crate::server) trait Keys: Send + Sized + 'static {
    /// What was read of each.
    type Seen: Send + 'static;

    /// Visits them in order.
    fn each(&self, visit: &mut impl FnMut(&Bytes));

    /// Reads their rows, which come in the same order.
    fn seen(self, rows: &mut impl Iterator<Item = Row>) -> Result<Self::Seen, Fault>;
}

impl<R: Record> Keys for Key<R> {
    type Seen = Seen<R>;

    fn each(&self, visit: &mut impl FnMut(&Bytes)) {
        visit(self);
    }

    fn seen(self, rows: &mut impl Iterator<Item = Row>) -> Result<Seen<R>, Fault> {
        Seen::new(self, rows.next().flatten())
    }
}

impl<K: Keys> Keys for Option<K> {
    type Seen = Option<K::Seen>;

    fn each(&self, visit: &mut impl FnMut(&Bytes)) {
        if let Some(keys) = self {
            keys.each(visit);
        }
    }

    fn seen(self, rows: &mut impl Iterator<Item = Row>) -> Result<Self::Seen, Fault> {
        self.map(|keys| keys.seen(rows)).transpose()
    }
}

impl<K: Keys> Keys for Vec<K> {
    type Seen = Vec<K::Seen>;

    fn each(&self, visit: &mut impl FnMut(&Bytes)) {
        for keys in self {
            keys.each(visit);
        }
    }

    fn seen(self, rows: &mut impl Iterator<Item = Row>) -> Result<Self::Seen, Fault> {
        let mut seen = Vec::with_capacity(self.len());
        for keys in self {
            seen.push(keys.seen(rows)?);
        }
        Ok(seen)
    }
}

macro_rules! tuples {
    ($($($keys:ident)+;)*) => {
        $(
            impl<$($keys: Keys),+> Keys for ($($keys,)+) {
                type Seen = ($($keys::Seen,)+);

                fn each(&self, visit: &mut impl FnMut(&Bytes)) {
                    #[allow(non_snake_case)]
                    let ($($keys,)+) = self;
                    $($keys.each(visit);)+
                }

                fn seen(self, rows: &mut impl Iterator<Item = Row>) -> Result<Self::Seen, Fault> {
                    #[allow(non_snake_case)]
                    let ($($keys,)+) = self;
                    Ok(($($keys.seen(rows)?,)+))
                }
            }
        )*
    };
}

tuples! {
    A B;
    A B C;
    A B C D;
    A B C D E;
}

/// Reads a stored value; one that cannot be read is the server's fault.
fn decode<T: Record>(row: Bytes) -> Result<T, Fault> {
    T::decode_row(row).ok_or_else(|| Fault::internal("a stored row cannot be read"))
}
