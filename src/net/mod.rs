//! The data path: the only IO a request meets.
