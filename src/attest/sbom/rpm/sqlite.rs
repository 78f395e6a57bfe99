//! As much of SQLite's file format (sqlite.org/fileformat2.html) as reading all rows of one table takes.
//!
//! Nothing in the file is believed: pages are looked up within its bounds, and no page is read more often than there are
//! pages, so that a tree that leads back into itself ends.

const MAGIC: &[u8] = b"SQLite format 3\0";
/// Length of the file's own header, which stands before that of the first page.
const FILE_HEADER: usize = 100;
/// Kinds of pages in a table's tree.
const INTERIOR: u8 = 5;
const LEAF: u8 = 13;

/// A value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// NULL, also in place of the row's own number.
    Null,
    /// An integer.
    Integer(i64),
    /// A text or a blob.
    Bytes(Vec<u8>),
    /// A floating-point number, which nobody here asks for.
    Real,
}

/// A database file.
pub struct Database<'d> {
    bytes: &'d [u8],
    page_size: usize,
    /// Bytes of a page that hold content.
    usable: usize,
}

impl<'d> Database<'d> {
    /// A database of these bytes; `None`: they are none.
    pub fn new(bytes: &'d [u8]) -> Option<Database<'d>> {
        if !bytes.starts_with(MAGIC) || bytes.len() < FILE_HEADER {
            return None;
        }
        let page_size = match number(bytes, 16, 2)? {
            1 => 65_536,
            size => usize::try_from(size).ok()?,
        };
        let usable = page_size.checked_sub(usize::from(bytes[20]))?;
        (page_size >= 512 && usable >= 480).then_some(Database { bytes, page_size, usable })
    }

    /// The rows of a table; `None`: there is no such table, or the file is damaged.
    pub fn table(&self, name: &str) -> Option<Vec<Vec<Value>>> {
        let schema = self.rows(1)?;
        let is_wanted = |row: &&Vec<Value>| {
            let text = |index: usize| matches!(row.get(index), Some(Value::Bytes(bytes)) if bytes.eq_ignore_ascii_case(name.as_bytes()));
            row.first() == Some(&Value::Bytes(b"table".to_vec())) && text(1)
        };
        match schema.iter().find(is_wanted)?.get(3)? {
            Value::Integer(root) => self.rows(u32::try_from(*root).ok()?),
            _ => None,
        }
    }

    /// The rows below a page, in their order.
    fn rows(&self, root: u32) -> Option<Vec<Vec<Value>>> {
        let mut rows = Vec::new();
        let mut ahead = vec![root];
        let mut budget = self.bytes.len() / self.page_size + 1;
        while let Some(number_of_page) = ahead.pop() {
            budget = budget.checked_sub(1)?;
            let page = self.page(number_of_page)?;
            let start = if number_of_page == 1 { FILE_HEADER } else { 0 };
            let count = usize::try_from(number(page, start + 3, 2)?).ok()?;
            match *page.get(start)? {
                LEAF => {
                    for cell in 0..count {
                        let at = usize::try_from(number(page, start + 8 + 2 * cell, 2)?).ok()?;
                        rows.push(record(&self.payload(page, at)?)?);
                    }
                }
                INTERIOR => {
                    ahead.push(u32::try_from(number(page, start + 8, 4)?).ok()?);
                    for cell in (0..count).rev() {
                        let at = usize::try_from(number(page, start + 12 + 2 * cell, 2)?).ok()?;
                        ahead.push(u32::try_from(number(page, at, 4)?).ok()?);
                    }
                }
                _ => return None,
            }
        }
        Some(rows)
    }

    /// A page, by its number from 1.
    fn page(&self, number: u32) -> Option<&'d [u8]> {
        let start = usize::try_from(number).ok()?.checked_sub(1)?.checked_mul(self.page_size)?;
        self.bytes.get(start..start.checked_add(self.usable)?)
    }

    /// The payload of a leaf's cell, with what overflows into pages of its own (section 1.6).
    fn payload(&self, page: &[u8], at: usize) -> Option<Vec<u8>> {
        let (length, after) = varint(page, at)?;
        let (_row, start) = varint(page, after)?;
        let length = usize::try_from(length).ok().filter(|length| *length <= self.bytes.len())?;
        let most = self.usable - 35;
        if length <= most {
            return Some(page.get(start..start + length)?.to_vec());
        }
        let least = (self.usable - 12) * 32 / 255 - 23;
        let even = least + (length - least) % (self.usable - 4);
        let local = if even <= most { even } else { least };
        let mut payload = page.get(start..start + local)?.to_vec();
        let mut next = number(page, start + local, 4)?;
        while payload.len() < length {
            let overflow = self.page(u32::try_from(next).ok()?)?;
            let take = (length - payload.len()).min(self.usable - 4);
            payload.extend_from_slice(overflow.get(4..4 + take)?);
            next = number(overflow, 0, 4)?;
        }
        Some(payload)
    }
}

/// The values of a record (section 2.1).
fn record(payload: &[u8]) -> Option<Vec<Value>> {
    let (header, mut at) = varint(payload, 0)?;
    let header = usize::try_from(header).ok()?;
    let mut body = header;
    let mut values = Vec::new();
    while at < header {
        let (kind, after) = varint(payload, at)?;
        at = after;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => usize::try_from(kind).ok()?,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            _ => usize::try_from((kind - 12) / 2).ok()?,
        };
        let bytes = payload.get(body..body.checked_add(length)?)?;
        body += length;
        values.push(match kind {
            0 => Value::Null,
            8 => Value::Integer(0),
            9 => Value::Integer(1),
            7 => Value::Real,
            1..=6 => {
                let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
                let sign = if negative { -1 } else { 0 };
                Value::Integer(bytes.iter().fold(sign, |value: i64, byte| value << 8 | i64::from(*byte)))
            }
            _ => Value::Bytes(bytes.to_vec()),
        });
    }
    Some(values)
}

/// A big-endian number of `length` bytes.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(length)?)?;
    Some(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// A number of one to nine bytes, and where the next thing begins.
fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0;
    for index in 0..9 {
        let byte = *bytes.get(at + index)?;
        if index == 8 {
            return Some((value << 8 | u64::from(byte), at + 9));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, at + index + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_as_many_bytes_as_they_need() {
        assert_eq!(varint(&[0x7f], 0), Some((127, 1)));
        assert_eq!(varint(&[0x81, 0x00], 0), Some((128, 2)));
        assert_eq!(varint(&[0xff; 9], 0), Some((u64::MAX, 9)));
        assert_eq!(varint(&[0x81], 0), None);
        assert_eq!(record(&[3, 1, 9, 0xff]), Some(vec![Value::Integer(-1), Value::Integer(1)]));
        assert_eq!(record(&[2, 10]), None);
    }

    #[test]
    fn every_cut_and_every_changed_byte_ends_without_harm() {
        let whole = include_bytes!("fixture.sqlite");
        assert!(Database::new(whole).unwrap().table("packages").is_some(), "letter case does not count");
        for end in (0..whole.len()).step_by(97) {
            if let Some(database) = Database::new(&whole[..end]) {
                let _ = database.table("Packages");
            }
        }
        let mut broken = whole.to_vec();
        for at in (16..whole.len()).step_by(13) {
            for change in [0xff, 0x05, 0x80] {
                broken[at] ^= change;
                if let Some(database) = Database::new(&broken) {
                    let _ = database.table("Packages");
                }
                broken[at] ^= change;
            }
        }
    }
}
