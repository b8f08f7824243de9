//! Values as operators write them, in flags, variables and files alike: text to a checked type, with advice when it is
//! refused.

pub mod duration;
pub mod field;
pub mod host;
pub mod listen;
pub mod log;
pub mod network;
pub mod number;
pub mod path;
pub mod size;
pub mod upstream;
