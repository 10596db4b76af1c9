//! Certificates for an app's own host names.

use std::path::{Path, PathBuf};

use clap::Args;
use http::Method;
use proto::api;

use super::failure::Failure;
use super::listing::Listing;
use super::moment;
use super::target::{Json, OnApp};
use crate::output::line;

/// Largest certificate or key file read.
const MAX_PEM_BYTES: u64 = 1 << 20;

/// List an app's certificates
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl certs")]
pub struct List {
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    app: OnApp,
}

/// Give a certificate for HTTPS; a known name is replaced
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl certs:add www fullchain.pem privkey.pem")]
pub struct Add {
    /// Name in the list
    name: String,
    /// The chain, leaf first (PEM)
    chain: PathBuf,
    /// The leaf's key (PEM)
    key: PathBuf,
    #[command(flatten)]
    app: OnApp,
}

/// Remove a certificate
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl certs:remove www")]
pub struct Remove {
    /// Name in the list
    name: String,
    #[command(flatten)]
    app: OnApp,
}

impl List {
    /// Lists them.
    pub async fn run(self) -> Result<(), Failure> {
        let certificates: Vec<api::CertificateInfo> = self.app.open().await?.get("certs").await?;
        let listing = Listing {
            when_empty: "No certificates; the platform's own serves. Add one: paasctl certs:add NAME CHAIN KEY",
            headers: &["NAME", "HOSTS", "ENDS"],
            row: |certificate: api::CertificateInfo| {
                let ends = moment::local(&certificate.not_after);
                vec![certificate.name, certificate.hosts.join(", "), ends]
            },
        };
        listing.print(certificates, &self.json)
    }
}

impl Add {
    /// Adds it.
    pub async fn run(self) -> Result<(), Failure> {
        let chain_pem = pem(&self.chain, "CERTIFICATE")?;
        let key_pem = pem(&self.key, "PRIVATE KEY")?;
        let app = self.app.open().await?;
        let new = api::NewCertificate { name: self.name, chain_pem, key_pem };
        let certificate: api::CertificateInfo = app.send(Method::POST, "certs", &new).await?;
        let ends = moment::local(&certificate.not_after);
        line(format!(
            "Certificate {} for {}, valid until {ends}",
            certificate.name,
            certificate.hosts.join(", ")
        ));
        Ok(())
    }
}

impl Remove {
    /// Removes it.
    pub async fn run(self) -> Result<(), Failure> {
        let app = self.app.open().await?;
        app.remove("certs", &self.name).await?;
        line(format!("Removed certificate {}; the platform's own serves instead.", self.name));
        Ok(())
    }
}

fn pem(path: &Path, kind: &str) -> Result<String, Failure> {
    let read = std::fs::File::open(path)
        .and_then(|file| std::io::read_to_string(std::io::Read::take(file, MAX_PEM_BYTES)));
    let text = read.map_err(|error| Failure::local(format!("read {}", path.display()), error))?;
    if !text.contains(&format!("{kind}-----")) {
        let kind = kind.to_ascii_lowercase();
        return Err(Failure::usage(format!("{} holds no {kind} in PEM form", path.display()))
            .hint("The order is: paasctl certs:add NAME CHAIN KEY"));
    }
    Ok(text)
}
