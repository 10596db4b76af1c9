//! Writes that win and writes that lose.
