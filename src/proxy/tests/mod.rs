//! Tests of the pure rooms together.

mod forwarding;
mod retrying;
mod simulation;
