//! The two command lines: `paasctl` for those who run apps, `clusterctl` for those who run the cluster.

#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test may end by a panic"))]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "printing is what a command line does")]

pub mod cluster;
pub mod output;
pub mod paas;
