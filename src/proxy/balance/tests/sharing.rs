//! How requests are shared out.
