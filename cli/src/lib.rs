//! The two command lines: `paasctl` for those who run apps, `clusterctl` for those who run the cluster.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "printing is what a command line does"
)]

pub mod cluster;
pub mod output;
pub mod paas;
