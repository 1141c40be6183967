//! The wire format of Protocol Buffers, as far as BuildKit's messages need it: numbers, and what has
//! a length. Not the messages.

/// One field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// A number or a boolean.
    Number(u64),
    /// Bytes, a text, or a message.
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// Returns the bytes; none of a number.
    pub(super) fn bytes(self) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Number(_) => &[],
        }
    }

    /// Returns the number; none of bytes.
    pub(super) fn number(self) -> u64 {
        match self {
            Self::Number(number) => number,
            Self::Bytes(_) => 0,
        }
    }

    /// Returns the text; what is not UTF-8 is replaced.
    pub(super) fn text(self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }
}

/// The fields of a message, by their numbers, in the order in which they are there. Ends where the
/// message does, or is malformed.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let key = self.varint()?;
            let number = key >> 3;
            match key & 7 {
                0 => return Some((number, Value::Number(self.varint()?))),
                2 => {
                    let length = usize::try_from(self.varint()?).ok()?;
                    return Some((number, Value::Bytes(self.take(length)?)));
                }
                // Numbers of a fixed length, which no message here has.
                1 => self.take(8).map(drop)?,
                5 => self.take(4).map(drop)?,
                _ => return None,
            }
        }
    }
}

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}

/// A message that is written.
#[derive(Debug, Clone, Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// Adds a number.
    pub(super) fn number(mut self, field: u64, value: u64) -> Self {
        self.varint(field << 3);
        self.varint(value);
        self
    }

    /// Adds bytes, a text, or a message.
    pub(super) fn bytes(mut self, field: u64, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        self.varint((field << 3) | 2);
        self.varint(u64::try_from(value.len()).unwrap_or(u64::MAX));
        self.0.extend_from_slice(value);
        self
    }

    /// Returns the message.
    pub(super) fn done(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut number: u64) {
        loop {
            let low = u8::try_from(number & 0x7f).unwrap_or(0x7f);
            number >>= 7;
            if number == 0 {
                self.0.push(low);
                return;
            }
            self.0.push(low | 0x80);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let inner = Message::default().bytes(1, "x").done();
        let written = Message::default()
            .number(1, 300)
            .bytes(3, &inner)
            .number(16, u64::MAX)
            .done();
        // The example of the format's documentation: field 1 is 300.
        assert_eq!(written.get(..3), Some(&[0x08, 0xac, 0x02][..]));
        let fields: Vec<_> = Fields(&written).collect();
        let expected = [
            (1, Value::Number(300)),
            (3, Value::Bytes(&inner)),
            (16, Value::Number(u64::MAX)),
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn what_is_cut_off_ends() {
        let written = Message::default().bytes(1, "hello").done();
        for length in 0..written.len() {
            let cut = written.get(..length).unwrap();
            assert_eq!(Fields(cut).count(), 0, "{length}");
        }
        assert_eq!(Fields(&[0xff; 20]).count(), 0);
    }
}
