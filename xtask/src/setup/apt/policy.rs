//! Keeps packages from starting their services while we install them, with Debian's `policy-rc.d`.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Result;

const FILE: &str = "/usr/sbin/policy-rc.d";

/// Under systemd Docker may start by itself; without, we start it, in our own way.
const SCRIPT: &str = "#!/bin/sh
# Written by Trireme's set-up for as long as it installs packages.
if [ -d /run/systemd/system ]; then
  case \"$1\" in docker|docker.*|containerd|containerd.*) exit 0 ;; esac
fi
exit 101
";

/// Services stay off for as long as this lives.
pub struct Held {
    is_ours: bool,
}

/// Writes the policy; a policy of the machine's own is respected and left alone.
pub fn hold_services() -> Result<Held> {
    // One left over from a set-up that was killed is ours to replace.
    if fs::read_to_string(FILE).is_ok_and(|text| text == SCRIPT) {
        fs::remove_file(FILE)?;
    }
    match fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(Path::new(FILE)) {
        Ok(mut file) => {
            file.write_all(SCRIPT.as_bytes())?;
            Ok(Held { is_ours: true })
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Held { is_ours: false }),
        Err(error) => Err(error.into()),
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.is_ours {
            // A leftover is replaced by the next set-up, so a failure here is not worth one.
            let _ = fs::remove_file(FILE);
        }
    }
}
