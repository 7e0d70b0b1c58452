//! Values of a schema and their bytes.

use alloy_primitives::{Bytes, I256, U256};

use super::schema::Schema;

/// A value of OBI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// For [`Schema::Unsigned`].
    Unsigned(U256),
    /// For [`Schema::Signed`].
    Signed(I256),
    /// For [`Schema::Bool`].
    Bool(bool),
    /// For [`Schema::String`].
    String(String),
    /// For [`Schema::Bytes`]; also accepted for lists and arrays of `u8`.
    Bytes(Bytes),
    /// For [`Schema::List`] and [`Schema::Array`].
    List(Vec<Value>),
    /// For [`Schema::Struct`]: the fields in order.
    Struct(Vec<(String, Value)>),
}

/// Why a value cannot be encoded or bytes cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The value is of another type, or too large for it.
    #[error("the value does not fit the type {schema}")]
    Mismatch {
        /// The type.
        schema: String,
    },
    /// The bytes end too early, or claim more items than they can hold.
    #[error("the bytes end within a value of type {schema}")]
    OutOfRange {
        /// The type.
        schema: String,
    },
    /// A text is no UTF-8.
    #[error("a string is no UTF-8")]
    NotText,
    /// Bytes are left over.
    #[error("{0} bytes are left over")]
    NotFinished(usize),
}

impl Schema {
    /// The bytes of a value.
    ///
    /// # Errors
    /// If the value is not of this type.
    pub fn encode(&self, value: &Value) -> Result<Vec<u8>, CodecError> {
        let mut out = Vec::new();
        self.write(value, &mut out)?;
        Ok(out)
    }

    /// The value of these bytes, which must be used up.
    ///
    /// # Errors
    /// If they are not the bytes of one value.
    pub fn decode(&self, encoded: &[u8]) -> Result<Value, CodecError> {
        let mut rest = encoded;
        let value = self.read(&mut rest)?;
        if rest.is_empty() { Ok(value) } else { Err(CodecError::NotFinished(rest.len())) }
    }

    fn mismatch(&self) -> CodecError {
        CodecError::Mismatch { schema: self.to_string() }
    }

    fn out_of_range(&self) -> CodecError {
        CodecError::OutOfRange { schema: self.to_string() }
    }

    fn write(&self, value: &Value, out: &mut Vec<u8>) -> Result<(), CodecError> {
        match (self, value) {
            (Self::Unsigned(size), Value::Unsigned(number)) if number.bit_len() <= size * 8 => {
                push_low(out, &number.to_be_bytes(), *size);
            }
            (Self::Signed(size), Value::Signed(number)) if fits(*number, *size) => {
                push_low(out, &number.to_be_bytes(), *size);
            }
            (Self::Bool, Value::Bool(flag)) => out.push(u8::from(*flag)),
            (Self::String, Value::String(text)) => {
                self.write_length(text.len(), out)?;
                out.extend_from_slice(text.as_bytes());
            }
            (Self::Bytes, Value::Bytes(bytes)) => {
                self.write_length(bytes.len(), out)?;
                out.extend_from_slice(bytes);
            }
            (Self::List(item), Value::Bytes(bytes)) if **item == Self::Unsigned(1) => {
                self.write_length(bytes.len(), out)?;
                out.extend_from_slice(bytes);
            }
            (Self::Array(item, length), Value::Bytes(bytes))
                if **item == Self::Unsigned(1) && bytes.len() == *length as usize =>
            {
                out.extend_from_slice(bytes);
            }
            (Self::List(item), Value::List(items)) => {
                self.write_length(items.len(), out)?;
                items.iter().try_for_each(|value| item.write(value, out))?;
            }
            (Self::Array(item, length), Value::List(items)) if items.len() == *length as usize => {
                items.iter().try_for_each(|value| item.write(value, out))?;
            }
            (Self::Struct(fields), Value::Struct(values)) if fields.len() == values.len() => {
                for ((name, field), (given, value)) in fields.iter().zip(values) {
                    if name != given {
                        return Err(self.mismatch());
                    }
                    field.write(value, out)?;
                }
            }
            _ => return Err(self.mismatch()),
        }
        Ok(())
    }

    fn write_length(&self, length: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let length = u32::try_from(length).map_err(|_| self.mismatch())?;
        out.extend_from_slice(&length.to_be_bytes());
        Ok(())
    }

    fn read(&self, rest: &mut &[u8]) -> Result<Value, CodecError> {
        Ok(match self {
            Self::Unsigned(size) => Value::Unsigned(U256::from_be_slice(self.take(*size, rest)?)),
            Self::Signed(size) => {
                let bytes = self.take(*size, rest)?;
                let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
                let mut word = [if negative { 0xff } else { 0 }; 32];
                for (place, byte) in word.iter_mut().rev().zip(bytes.iter().rev()) {
                    *place = *byte;
                }
                Value::Signed(I256::from_be_bytes(word))
            }
            Self::Bool => Value::Bool(self.take(1, rest)?.first().is_some_and(|byte| *byte != 0)),
            Self::String => {
                let bytes = self.take_counted(rest)?;
                Value::String(std::str::from_utf8(bytes).map_err(|_| CodecError::NotText)?.to_owned())
            }
            Self::Bytes => Value::Bytes(Bytes::copy_from_slice(self.take_counted(rest)?)),
            Self::List(item) => {
                let length = self.take_length(rest)?;
                self.read_items(item, length, rest)?
            }
            Self::Array(item, length) => self.read_items(item, *length as usize, rest)?,
            Self::Struct(fields) => {
                let read = fields.iter().map(|(name, field)| Ok((name.clone(), field.read(rest)?)));
                Value::Struct(read.collect::<Result<_, CodecError>>()?)
            }
        })
    }

    fn read_items(&self, item: &Self, length: usize, rest: &mut &[u8]) -> Result<Value, CodecError> {
        if item.smallest().saturating_mul(length) > rest.len() {
            return Err(self.out_of_range());
        }
        (0..length).map(|_| item.read(rest)).collect::<Result<_, _>>().map(Value::List)
    }

    fn take<'a>(&self, length: usize, rest: &mut &'a [u8]) -> Result<&'a [u8], CodecError> {
        let (head, tail) = rest.split_at_checked(length).ok_or_else(|| self.out_of_range())?;
        *rest = tail;
        Ok(head)
    }

    fn take_length(&self, rest: &mut &[u8]) -> Result<usize, CodecError> {
        let (head, tail) = rest.split_first_chunk().ok_or_else(|| self.out_of_range())?;
        *rest = tail;
        Ok(u32::from_be_bytes(*head) as usize)
    }

    fn take_counted<'a>(&self, rest: &mut &'a [u8]) -> Result<&'a [u8], CodecError> {
        let length = self.take_length(rest)?;
        self.take(length, rest)
    }
}

/// Whether a number can be written in this many bytes of two's complement.
fn fits(number: I256, size: usize) -> bool {
    let bits = size * 8 - 1;
    let magnitude = if number.is_negative() { !number.into_raw() } else { number.into_raw() };
    magnitude.bit_len() <= bits
}

fn push_low(out: &mut Vec<u8>, word: &[u8; 32], size: usize) {
    out.extend_from_slice(word.get(32usize.saturating_sub(size)..).unwrap_or_default());
}
