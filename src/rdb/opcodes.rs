//! The numbers of the RDB format: opcodes, value types, length forms. Nothing but names here.

/// The version that is written: Redis 7.0 and everything later reads it.
pub const VERSION: u16 = 10;
/// The newest version that is read (Redis 7.4 and 8).
pub const MAX_VERSION: u16 = 12;
/// The first version whose files end in a checksum.
pub const FIRST_VERSION_WITH_CHECKSUM: u16 = 5;
/// What every file starts with; four decimal digits of the version follow.
pub const MAGIC: &[u8; 5] = b"REDIS";

/// Slot number, keys in the slot, keys with an expiry in the slot: three lengths.
pub const SLOT_INFO: u8 = 0xf4;
/// A function library: one string, its source.
pub const FUNCTION: u8 = 0xf5;
/// Data of a module that belongs to no key.
pub const MODULE_AUX: u8 = 0xf7;
/// Idle time of the key that follows: a length, in seconds.
pub const IDLE: u8 = 0xf8;
/// Access frequency of the key that follows: one byte.
pub const FREQ: u8 = 0xf9;
/// A fact about the file: two strings, name and value.
pub const AUX: u8 = 0xfa;
/// Keys and keys with an expiry in the database: two lengths.
pub const RESIZE_DB: u8 = 0xfb;
/// Expiry of the key that follows: 8 bytes, little endian, Unix milliseconds.
pub const EXPIRE_MS: u8 = 0xfc;
/// Expiry of the key that follows: 4 bytes, little endian, Unix seconds.
pub const EXPIRE_SECONDS: u8 = 0xfd;
/// The database that the keys after it belong to: a length.
pub const SELECT_DB: u8 = 0xfe;
/// The end; from version 5 on, 8 bytes of checksum follow.
pub const EOF: u8 = 0xff;

/// A value that is one string.
pub const TYPE_STRING: u8 = 0;

/// The two highest bits of a length's first byte choose its form.
pub const LEN_FORM: u8 = 0xc0;
/// The length is in the six bits that are left.
pub const LEN_6: u8 = 0x00;
/// The length is in the six bits that are left and the next byte, high bits first.
pub const LEN_14: u8 = 0x40;
/// The whole first byte: the length is in the next 4 bytes, big endian.
pub const LEN_32: u8 = 0x80;
/// The whole first byte: the length is in the next 8 bytes, big endian.
pub const LEN_64: u8 = 0x81;
/// No length at all: the six bits that are left name an encoding of a string.
pub const LEN_ENCODED: u8 = 0xc0;

/// The string is the decimal text of a signed byte.
pub const STRING_INT8: u8 = 0;
/// The string is the decimal text of a signed 16-bit number, little endian.
pub const STRING_INT16: u8 = 1;
/// The string is the decimal text of a signed 32-bit number, little endian.
pub const STRING_INT32: u8 = 2;
/// The string is compressed: packed length, length, packed bytes.
pub const STRING_LZF: u8 = 3;

/// Inside the data of a module each part starts with one of these, as a length.
pub const MODULE_EOF: u64 = 0;
/// A signed number, kept as a length.
pub const MODULE_SINT: u64 = 1;
/// An unsigned number, kept as a length.
pub const MODULE_UINT: u64 = 2;
/// Four bytes.
pub const MODULE_FLOAT: u64 = 3;
/// Eight bytes.
pub const MODULE_DOUBLE: u64 = 4;
/// A string.
pub const MODULE_STRING: u64 = 5;
