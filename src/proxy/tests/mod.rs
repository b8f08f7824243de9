//! Tests of the pure rooms together.

mod forwarding;
mod simulation;
