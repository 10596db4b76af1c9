//! The hook's side: a small program that git starts. Plain blocking I/O.

use std::{
    env,
    io::{self, BufRead, Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::ExitCode,
};

use super::{EXIT, OUTPUT, Request, SESSION_VARIABLE, SOCKET_VARIABLE, Update};

/// A frame is never longer.
const MAX_FRAME: u32 = 1 << 20;

/// Tells the builder of the push, shows what it says and ends with its exit code.
pub fn run() -> ExitCode {
    match talk() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let told = writeln!(
                io::stderr(),
                " !     The builder went away during the push ({error}).\n !     Nothing was changed by it; push again."
            );
            // With standard error closed there is nobody to tell.
            drop(told);
            ExitCode::FAILURE
        }
    }
}

fn talk() -> io::Result<u8> {
    let mut socket = UnixStream::connect(PathBuf::from(variable(SOCKET_VARIABLE)?))?;
    let mut line = serde_json::to_vec(&request()?)?;
    line.push(b'\n');
    socket.write_all(&line)?;
    let mut out = io::stdout().lock();
    loop {
        let mut head = [0; 5];
        socket.read_exact(&mut head)?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]).min(MAX_FRAME);
        let mut bytes = vec![0; length as usize];
        socket.read_exact(&mut bytes)?;
        match head[0] {
            OUTPUT => {
                out.write_all(&bytes)?;
                out.flush()?;
            }
            EXIT => return Ok(bytes.first().copied().unwrap_or(1)),
            _ => return Err(io::Error::other("it said something unknown")),
        }
    }
}

fn request() -> io::Result<Request> {
    let mut updates = Vec::new();
    for line in io::stdin().lock().split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        updates.extend(Update::parse(&line));
    }
    let quarantine = env::var_os("GIT_QUARANTINE_PATH").map(PathBuf::from);
    // git gives it relative to the repository, which is the hook's working folder.
    let quarantine = quarantine.map(|path| path.canonicalize()).transpose()?;
    Ok(Request { session: variable(SESSION_VARIABLE)?, quarantine, updates })
}

fn variable(name: &str) -> io::Result<String> {
    env::var(name).map_err(|_| io::Error::other(format!("{name} is not set")))
}
