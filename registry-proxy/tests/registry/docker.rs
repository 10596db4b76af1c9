//! The real Docker client and daemon, which the test command installs and starts.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use crate::harness::Home;

/// Runs docker and gives what it printed; panics with its words if it fails.
fn docker(arguments: &[&str], input: &[u8]) -> String {
    let mut child = Command::new("docker")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "docker {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A tar archive with one file: a header block, the content padded to blocks, two empty blocks.
fn tar(content: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..4].copy_from_slice(b"file");
    header[100..107].copy_from_slice(b"0000644");
    header[108..115].copy_from_slice(b"0000000");
    header[116..123].copy_from_slice(b"0000000");
    header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    header[136..147].copy_from_slice(b"00000000000");
    header[148..156].copy_from_slice(b"        ");
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let mut archive = header;
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    archive
}

/// The images a test made; removed when dropped.
struct Images(Vec<String>);

impl Drop for Images {
    fn drop(&mut self) {
        for image in &self.0 {
            // It may be gone already.
            let _ = Command::new("docker").args(["rmi", "-f", image]).output();
        }
    }
}

#[test]
fn docker_pushes_and_pulls_by_digest() {
    let home = Home::new();
    let registry = home.start();
    let name = format!("{}/registry-proxy-test", registry.oci);
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    let id = docker(&["import", "-", &format!("{name}:v1")], &tar(&content));
    let mut images = Images(vec![format!("{name}:v1"), id.clone()]);
    let said = docker(&["push", &format!("{name}:v1")], b"");
    let (_, after) = said.split_once("digest: ").expect("docker tells the digest");
    let digest = after.split_whitespace().next().unwrap();
    // Again: everything is here, nothing is sent.
    let again = docker(&["push", &format!("{name}:v1")], b"");
    assert!(again.contains("Layer already exists"), "{again}");

    docker(&["rmi", "-f", &format!("{name}:v1")], b"");
    let pinned = format!("{name}@{digest}");
    images.0.push(pinned.clone());
    docker(&["pull", &pinned], b"");
    assert_eq!(docker(&["image", "inspect", "-f", "{{.Id}}", &pinned], b""), id);
}
