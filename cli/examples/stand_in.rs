//! Stands in for any program of the platform in the tests of `clusterctl`: answers at its admin endpoint and says well.
//!
//! It takes its name from its file's name and its address from the settings file, as the real ones do.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    process::Command,
    thread::sleep,
    time::Duration,
};

fn main() {
    let mut arguments = std::env::args();
    let file = arguments.next().expect("a program has a name");
    if arguments.len() == 1 && arguments.next().as_deref() == Some("--version") {
        let version = format!("{file} {}\n", env!("CARGO_PKG_VERSION"));
        std::io::stdout().write_all(version.as_bytes()).expect("somebody asked");
        return;
    }
    let name = file.rsplit("trireme-").next().expect("splitting gives a part").to_owned();
    let path = arguments.nth(1).expect("called as `--config PATH`");
    let settings: toml::Table =
        fs::read_to_string(&path).expect("readable settings").parse().expect("TOML settings");
    let address = settings[&name]["admin_listen"].as_str().expect("an address").to_owned();
    let own_place = format!("{path}.{name}");
    let listener = loop {
        match TcpListener::bind(&address) {
            Ok(listener) => break listener,
            // The real router takes over from the one that runs, which then ends.
            Err(_) if name == "router" => {
                let old =
                    fs::read_to_string(&own_place).expect("the one that runs told its process");
                // It fails when that one has ended, and the port is free at the next try.
                let _ = Command::new("kill").arg(old).status();
                sleep(Duration::from_millis(10));
            }
            Err(error) => panic!("listen at {address}: {error}"),
        }
    };
    fs::write(own_place, std::process::id().to_string()).expect("a folder to write to");
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        // What is asked does not matter; only that the client is not cut off while it asks.
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}");
    }
}
