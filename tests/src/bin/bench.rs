//! `cargo xtask bench NAME`: figures of ours beside a peer's from the same run, one JSON line each.

use std::process::ExitCode;

use tests::bench;

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    match name.as_str() {
        "deploy" => bench::deploy::run_all(),
        "failover" => bench::failover::run_all(),
        "store" => bench::store::run_all(),
        "scheduler" => bench::scheduler::run_all(),
        _ => {
            bench::progress("usage: cargo xtask bench deploy|failover|scheduler|store");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
