//! Carries certificates that the host trusts beyond Debian's own into the image, so that pip and npm verify behind
//! a proxy that inspects TLS.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use anyhow::Result;

use super::finish::inside;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Where Debian looks for a machine's own certificates, so that a later `update-ca-certificates` keeps them.
const LOCAL_FOLDER: &str = "usr/local/share/ca-certificates";
const IMAGE_BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";

/// Adds what the image lacks and makes its bundle and hashed folder anew.
pub fn add(host_bundle: &str, root: &Path) -> Result<()> {
    let image_bundle = fs::read_to_string(root.join(IMAGE_BUNDLE))?;
    let extra = extra(host_bundle, &image_bundle);
    for (number, certificate) in extra.iter().enumerate() {
        fs::write(root.join(LOCAL_FOLDER).join(format!("host-{}.crt", number + 1)), certificate)?;
    }
    if extra.is_empty() {
        return Ok(());
    }
    inside(root, &["update-ca-certificates"])
}

/// Certificates of the host's bundle that the image's bundle does not have.
fn extra(host: &str, image: &str) -> Vec<String> {
    let mut known: HashSet<String> = certificates(image).collect();
    certificates(host).filter(|certificate| known.insert(certificate.clone())).collect()
}

/// The certificates of a bundle, free of what stands between them and of other line ends.
fn certificates(bundle: &str) -> impl Iterator<Item = String> {
    bundle.split(BEGIN).skip(1).filter_map(|rest| {
        let (body, _) = rest.split_once(END)?;
        let lines: String = body
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(|line| format!("{line}\n"))
            .collect();
        Some(format!("{BEGIN}\n{lines}{END}\n"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_image_lacks_is_carried_over_and_once() {
        let pem = |body: &str| format!("{BEGIN}\n{body}\n{END}\n");
        let image = format!("{}{}", pem("AAA"), pem("BBB"));
        let host = format!(
            "# our proxy\n{}{}{}\r\n{}",
            pem("AAA"),
            pem("CCC").replace('\n', "\r\n"),
            pem("BBB"),
            pem("CCC")
        );
        assert_eq!(extra(&host, &image), [pem("CCC")]);
        assert!(extra(&image, &image).is_empty());
    }

    #[test]
    fn a_truncated_certificate_is_left_out() {
        assert!(extra(&format!("{BEGIN}\nAAA\n"), "").is_empty());
    }
}
