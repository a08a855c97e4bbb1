//! Reading: the socket's read half, the check of frame headers, the frame decoder and the reader.

pub(crate) mod decoder;
pub(crate) mod header_check;
pub(crate) mod message_reader;
mod read_buffer;
pub(crate) mod read_half;
pub(crate) mod reader;
mod streamed;
mod streaming;
pub(crate) mod violation;
