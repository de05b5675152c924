//! XDR (RFC 4506): big-endian items in multiples of four bytes, read from and written to one piece of memory
//! and at most one payload beside it.
//!
//! Invariants: no length is believed before it was compared with what is there, and none leads to an
//! allocation; opaque data is a slice of what was received, never a copy. A payload is the last item of what
//! it belongs to: it is kept apart, so that a READ's data goes out from where storage left it, and a WRITE's
//! data goes to storage from where it was received. Padding is written as zeroes, and not looked at when
//! read.

use bytes::Bytes;

/// What items are padded to.
pub const UNIT: usize = 4;

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XdrFault {
    /// They end too early.
    #[error("the data ends too early")]
    Short,
    /// A length is above its bound.
    #[error("a length of {len}, at most {max} are allowed")]
    TooLong {
        /// What was found.
        len: usize,
        /// What is allowed.
        max: usize,
    },
    /// A number has no meaning in its place.
    #[error("{0} means nothing here")]
    Unknown(u32),
}

/// A type with an encoding; `put` is the exact inverse of `get`.
pub trait Xdr: Sized {
    /// Takes one off `input`.
    ///
    /// # Errors
    /// What is there is not one.
    fn get(input: &mut Reader) -> Result<Self, XdrFault>;

    /// Appends it to `output`.
    fn put(&self, output: &mut Writer);
}

/// Bytes that were received, and how far they are read.
#[derive(Clone, Debug)]
pub struct Reader {
    bytes: Bytes,
    at: usize,
    payload: Option<Bytes>,
}

impl Reader {
    /// Reads `bytes`, which have everything in them.
    #[must_use]
    pub fn new(bytes: Bytes) -> Reader {
        Reader { bytes, at: 0, payload: None }
    }

    /// Reads `bytes`, which end with the length of `payload`.
    #[must_use]
    pub fn with_payload(bytes: Bytes, payload: Option<Bytes>) -> Reader {
        Reader { bytes, at: 0, payload }
    }

    /// Bytes that are not read yet, the payload aside.
    #[must_use]
    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// What is not read yet, the payload aside.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    fn take(&mut self, len: usize) -> Result<&[u8], XdrFault> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len()).ok_or(XdrFault::Short)?;
        let start = std::mem::replace(&mut self.at, end);
        Ok(&self.bytes[start..end])
    }

    /// So many bytes and their padding (RFC 4506 4.9).
    ///
    /// # Errors
    /// There are fewer.
    pub fn fixed<const N: usize>(&mut self) -> Result<[u8; N], XdrFault> {
        let bytes = self.take(N.next_multiple_of(UNIT))?;
        Ok(*bytes.first_chunk().expect("at least N were taken"))
    }

    /// Opaque data of at most `max` bytes, its length before it (RFC 4506 4.10).
    ///
    /// # Errors
    /// It is longer, or not all there.
    pub fn opaque(&mut self, max: usize) -> Result<Bytes, XdrFault> {
        let len = u32::get(self)? as usize;
        if len > max {
            return Err(XdrFault::TooLong { len, max });
        }
        let start = self.at;
        self.take(len.next_multiple_of(UNIT))?;
        Ok(self.bytes.slice(start..start + len))
    }
}

/// What is to be sent: bytes, and perhaps a payload behind them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writer {
    /// The bytes; with a payload they end with its length.
    pub bytes: Vec<u8>,
    /// The payload, without padding.
    pub payload: Option<Bytes>,
}

impl Writer {
    /// Appends opaque data, its length before it.
    pub fn opaque(&mut self, data: &[u8]) {
        (data.len() as u32).put(self);
        self.raw(data);
    }

    /// Appends bytes and their padding.
    pub fn raw(&mut self, data: &[u8]) {
        debug_assert!(self.payload.is_none(), "a payload is the last item");
        self.bytes.extend_from_slice(data);
        self.bytes.resize(self.bytes.len() + padding(data.len()), 0);
    }

    /// All in one piece, payload and padding with it: for tests, and for what is small.
    #[must_use]
    pub fn into_bytes(mut self) -> Vec<u8> {
        if let Some(payload) = self.payload.take() {
            self.raw(&payload);
        }
        self.bytes
    }
}

/// Bytes that follow `len` bytes of opaque data.
#[must_use]
pub fn padding(len: usize) -> usize {
    len.next_multiple_of(UNIT) - len
}

/// The encoding of one value.
pub fn encoded(value: &impl Xdr) -> Vec<u8> {
    let mut output = Writer::default();
    value.put(&mut output);
    output.into_bytes()
}

impl Xdr for () {
    fn get(_: &mut Reader) -> Result<(), XdrFault> {
        Ok(())
    }

    fn put(&self, _: &mut Writer) {}
}

impl Xdr for u32 {
    fn get(input: &mut Reader) -> Result<u32, XdrFault> {
        Ok(u32::from_be_bytes(input.fixed()?))
    }

    fn put(&self, output: &mut Writer) {
        output.raw(&self.to_be_bytes());
    }
}

impl Xdr for u64 {
    fn get(input: &mut Reader) -> Result<u64, XdrFault> {
        Ok(u64::from_be_bytes(input.fixed()?))
    }

    fn put(&self, output: &mut Writer) {
        output.raw(&self.to_be_bytes());
    }
}

/// 0 or 1 (RFC 4506 4.4).
impl Xdr for bool {
    fn get(input: &mut Reader) -> Result<bool, XdrFault> {
        match u32::get(input)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(XdrFault::Unknown(other)),
        }
    }

    fn put(&self, output: &mut Writer) {
        u32::from(*self).put(output);
    }
}

/// Fixed opaque data (RFC 4506 4.9).
impl<const N: usize> Xdr for [u8; N] {
    fn get(input: &mut Reader) -> Result<[u8; N], XdrFault> {
        input.fixed()
    }

    fn put(&self, output: &mut Writer) {
        output.raw(self);
    }
}

/// Opaque data or a string, as long as what it came in.
impl Xdr for Bytes {
    fn get(input: &mut Reader) -> Result<Bytes, XdrFault> {
        input.opaque(input.left())
    }

    fn put(&self, output: &mut Writer) {
        output.opaque(self);
    }
}

/// Optional data (RFC 4506 4.19).
impl<T: Xdr> Xdr for Option<T> {
    fn get(input: &mut Reader) -> Result<Option<T>, XdrFault> {
        Ok(if bool::get(input)? { Some(T::get(input)?) } else { None })
    }

    fn put(&self, output: &mut Writer) {
        self.is_some().put(output);
        if let Some(value) = self {
            value.put(output);
        }
    }
}

/// A linked list: each element behind a 1, a 0 at the end. It is as long as what it came in allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List<T>(pub Vec<T>);

impl<T: Xdr> Xdr for List<T> {
    fn get(input: &mut Reader) -> Result<List<T>, XdrFault> {
        let mut list = Vec::new();
        while let Some(element) = Option::<T>::get(input)? {
            list.push(element);
        }
        Ok(List(list))
    }

    fn put(&self, output: &mut Writer) {
        for element in &self.0 {
            true.put(output);
            element.put(output);
        }
        false.put(output);
    }
}

/// An array, its length before it, of at most `MAX` elements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Array<T, const MAX: usize>(pub Vec<T>);

impl<T: Xdr, const MAX: usize> Xdr for Array<T, MAX> {
    fn get(input: &mut Reader) -> Result<Self, XdrFault> {
        let len = u32::get(input)? as usize;
        if len > MAX {
            return Err(XdrFault::TooLong { len, max: MAX });
        }
        (0..len).map(|_| T::get(input)).collect::<Result<_, _>>().map(Array)
    }

    fn put(&self, output: &mut Writer) {
        (self.0.len() as u32).put(output);
        self.0.iter().for_each(|element| element.put(output));
    }
}

/// Opaque data that is the payload: the last item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload(pub Bytes);

impl Xdr for Payload {
    fn get(input: &mut Reader) -> Result<Payload, XdrFault> {
        let Some(payload) = input.payload.take() else { return Bytes::get(input).map(Payload) };
        match u32::get(input)? as usize {
            len if len == payload.len() => Ok(Payload(payload)),
            len => Err(XdrFault::TooLong { len, max: payload.len() }),
        }
    }

    fn put(&self, output: &mut Writer) {
        (self.0.len() as u32).put(output);
        debug_assert!(output.payload.is_none(), "one payload at most");
        output.payload = Some(self.0.clone());
    }
}

/// Declares a structure and its encoding at once: its fields in order.
macro_rules! xdr_struct {
    ($(
        $(#[$meta:meta])*
        $vis:vis struct $name:ident { $($(#[$doc:meta])* pub $field:ident: $type:ty,)* }
    )*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        $vis struct $name { $($(#[$doc])* pub $field: $type,)* }

        impl $crate::xdr::Xdr for $name {
            fn get(input: &mut $crate::xdr::Reader) -> Result<$name, $crate::xdr::XdrFault> {
                Ok($name { $($field: $crate::xdr::Xdr::get(input)?,)* })
            }

            fn put(&self, output: &mut $crate::xdr::Writer) {
                $($crate::xdr::Xdr::put(&self.$field, output);)*
            }
        }
    )*};
}

/// Declares an enumeration and its encoding at once: the numbers of its values.
macro_rules! xdr_enum {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$doc:meta])* $value:ident = $number:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum $name { $($(#[$doc])* $value = $number,)* }

        impl $crate::xdr::Xdr for $name {
            fn get(input: &mut $crate::xdr::Reader) -> Result<$name, $crate::xdr::XdrFault> {
                match <u32 as $crate::xdr::Xdr>::get(input)? {
                    $($number => Ok($name::$value),)*
                    other => Err($crate::xdr::XdrFault::Unknown(other)),
                }
            }

            fn put(&self, output: &mut $crate::xdr::Writer) {
                $crate::xdr::Xdr::put(&(*self as u32), output);
            }
        }
    };
}

pub(crate) use {xdr_enum, xdr_struct};

#[cfg(test)]
mod tests {
    use super::*;

    xdr_struct! {
        /// One of everything.
        struct Sample {
            /// A number.
            pub number: u64,
            /// A name.
            pub name: Bytes,
            /// A few.
            pub few: Array<u32, 3>,
            /// A list.
            pub list: List<bool>,
            /// Perhaps.
            pub perhaps: Option<[u8; 3]>,
            /// The end.
            pub data: Payload,
        }
    }

    fn sample() -> Sample {
        Sample {
            number: 0x0102_0304_0506_0708,
            name: Bytes::from_static(b"ashlar"),
            few: Array(vec![7, 8, 9]),
            list: List(vec![true, false]),
            perhaps: Some([1, 2, 3]),
            data: Payload(Bytes::from_static(b"12345")),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = Bytes::from(encoded(&sample()));
        assert_eq!(bytes.len() % UNIT, 0);
        let mut reader = Reader::new(bytes.clone());
        let read = Sample::get(&mut reader).expect("valid");
        assert_eq!((read.clone(), reader.left()), (sample(), 0));
        assert_eq!(read.name.as_ptr(), bytes[12..].as_ptr(), "opaque data is a slice of what was received");
        let mut writer = Writer::default();
        sample().put(&mut writer);
        let payload = writer.payload.take();
        let mut reader = Reader::with_payload(writer.bytes.into(), payload.clone());
        let again = Sample::get(&mut reader).expect("valid");
        assert_eq!(again.data.0.as_ptr(), payload.expect("data").as_ptr());
    }

    #[test]
    fn whatever_ends_early_is_refused() {
        let bytes = Bytes::from(encoded(&sample()));
        for len in 0..bytes.len() {
            assert!(Sample::get(&mut Reader::new(bytes.slice(..len))).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn lengths_are_not_believed() {
        let huge = Bytes::from_static(&[0xff; 16]);
        assert!(matches!(Bytes::get(&mut Reader::new(huge.clone())), Err(XdrFault::TooLong { .. })));
        assert!(Array::<u32, 16>::get(&mut Reader::new(huge.clone())).is_err());
        assert_eq!(bool::get(&mut Reader::new(huge.clone())), Err(XdrFault::Unknown(u32::MAX)));
        let payload = Some(Bytes::from_static(&[1; 9]));
        assert!(Payload::get(&mut Reader::with_payload(huge, payload)).is_err());
    }
}
