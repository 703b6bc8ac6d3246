//! Data to text, without a terminal: everything here is a pure function.

pub(crate) mod amount;
pub(crate) mod finding;
pub(crate) mod line;
pub(crate) mod quote;
pub(crate) mod reason;
pub(crate) mod table;
pub(crate) mod value;
