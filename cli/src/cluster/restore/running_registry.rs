//! The registry of a node that is being restored: it runs alone until the images are in it.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use crate::cluster::{choices::Choices, layout::Layout, registry::Registry};

/// A registry that starts alone answers at once.
const REGISTRY_DEADLINE: Duration = Duration::from_secs(20);
const LOOK_PERIOD: Duration = Duration::from_millis(50);

/// The registry while nothing else runs yet. Dropped, it is stopped.
pub struct RunningRegistry {
    process: Child,
    /// Where images are put.
    pub registry: Registry,
}

impl RunningRegistry {
    /// Starts it and waits until it answers.
    pub async fn start(
        layout: &Layout,
        choices: &Choices,
        programs: &Path,
    ) -> anyhow::Result<RunningRegistry> {
        let log = File::options().create(true).append(true).open(layout.log("registry-proxy"));
        let process = Command::new(programs.join("trireme-registry-proxy"))
            .arg("--config")
            .arg(layout.settings())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.context("open the registry's log")?)
            .spawn()
            .context("start the registry")?;
        let registry = Registry::new(format!("127.0.0.1:{}", choices.ports.registry));
        let mut running = RunningRegistry { process, registry };
        let deadline = Instant::now() + REGISTRY_DEADLINE;
        while !running.registry.answers().await {
            let ended = running.process.try_wait().context("watch the registry")?;
            if ended.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(layout.log("registry-proxy")).unwrap_or_default();
                let last = log.lines().last().unwrap_or("it said nothing").to_owned();
                bail!("start the registry: {last}");
            }
            tokio::time::sleep(LOOK_PERIOD).await;
        }
        Ok(running)
    }

    /// Ends it.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.end().context("stop the registry")
    }

    fn end(&mut self) -> std::io::Result<()> {
        if self.process.try_wait()?.is_none() {
            let pid =
                i32::try_from(self.process.id()).ok().and_then(rustix::process::Pid::from_raw);
            if let Some(pid) = pid {
                rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
            }
            self.process.wait()?;
        }
        Ok(())
    }
}

impl Drop for RunningRegistry {
    fn drop(&mut self) {
        // What went wrong before is told already.
        let _ = self.end();
    }
}
