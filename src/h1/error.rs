//! Why a head was refused.
