//! Whether the cluster's certificates hold, and for how long.

use std::path::Path;

use super::finding::{Finding, Grade};
use crate::cluster::{
    certificate::Certificate,
    certs::{authority, held},
    choices::Choices,
    layout::Layout,
    up::data_flag,
};
use jiff::Timestamp;

/// They are renewed long before; one that ends this soon was not.
const WARN_DAYS: i64 = 14;

/// All of them.
pub(super) fn certificates(layout: &Layout, choices: &Choices) -> Vec<Finding> {
    let held = held(layout, choices).into_iter().map(|held| (held.name, held.path));
    let all = held.chain([("authority".to_owned(), authority(layout))]);
    let now = Timestamp::now();
    all.map(|(name, path)| certificate(layout, &name, &path, now)).collect()
}

fn certificate(layout: &Layout, name: &str, path: &Path, now: Timestamp) -> Finding {
    let area = format!("certificate of {name}");
    let data = data_flag(layout);
    let renew = format!(
        "`clusterctl certs:rotate{data}` makes a new one; `clusterctl logs supervisor{data}` says why that was not done in time"
    );
    let certificate = match Certificate::read(path) {
        Ok(certificate) => certificate,
        Err(error) => return Finding::new(&area, Grade::Problem, error.to_string(), renew),
    };
    let (days, ends) = (certificate.days_left(), certificate.ends);
    if now < certificate.starts {
        let seen =
            format!("it holds from {} only; this machine's clock says {now}", certificate.starts);
        Finding::new(&area, Grade::Problem, seen, "set the clock".to_owned())
    } else if now > ends {
        Finding::new(&area, Grade::Problem, format!("it ended at {ends}"), renew)
    } else if days < WARN_DAYS {
        Finding::new(&area, Grade::Warning, format!("{days} days left"), renew)
    } else {
        Finding::well(&area, format!("{days} days left"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_judged_by_its_time() {
        service::install_crypto();
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path());
        let authority = service::Authority::create(&layout.authority()).unwrap();
        let path = folder.path().join("cert.pem");
        let grade = |days: u32, now: Timestamp| {
            let issued = authority.issue_server(&["a.example".to_owned()], &[], days).unwrap();
            std::fs::write(&path, issued.cert_pem).unwrap();
            certificate(&layout, "api", &path, now).grade
        };
        let now = Timestamp::now();
        let day = jiff::SignedDuration::from_hours(24);
        assert_eq!(grade(100, now), Grade::Well);
        assert_eq!(grade(13, now), Grade::Warning);
        assert_eq!(grade(10, now + day * 11), Grade::Problem);
        assert_eq!(grade(100, now - day), Grade::Problem, "the clock is behind");
        std::fs::write(&path, "no certificate").unwrap();
        assert_eq!(certificate(&layout, "api", &path, now).grade, Grade::Problem);
    }
}
