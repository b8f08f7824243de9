//! Bodies: decoding what a sender frames, encoding what a receiver is owed.
