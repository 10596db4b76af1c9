//! Stands in for any program of the platform in the tests of `clusterctl`: answers at its admin endpoint and says well.
//!
//! It takes its name from its file's name and its address from the settings file, as the real ones do.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
};

fn main() {
    let mut arguments = std::env::args();
    let file = arguments.next().expect("a program has a name");
    let name = file.rsplit("trireme-").next().expect("splitting gives a part").to_owned();
    let settings = arguments.nth(1).expect("called as `--config PATH`");
    let settings: toml::Table =
        fs::read_to_string(settings).expect("readable settings").parse().expect("TOML settings");
    let address = settings[&name]["admin_listen"].as_str().expect("an address").to_owned();
    let listener = TcpListener::bind(address).expect("a free admin port");
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        // What is asked does not matter; only that the client is not cut off while it asks.
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}");
    }
}
