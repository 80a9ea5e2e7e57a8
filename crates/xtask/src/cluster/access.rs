//! Keys, certificates, tokens and the kubeconfig: who may talk to the cluster, and how.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::{Value, json};

use super::ports::Ports;

pub(super) const AUTHORITY: &str = "ca.crt";
pub(super) const SERVER_CERT: &str = "server.crt";
pub(super) const SERVER_KEY: &str = "server.key";
pub(super) const ACCOUNT_KEY: &str = "service-account.key";
pub(super) const ACCOUNT_PUBLIC_KEY: &str = "service-account.pub";
pub(super) const TOKENS: &str = "tokens.csv";
pub(super) const KUBECONFIG: &str = "kubeconfig";

/// Name and groups. The first may do everything; the others nothing, until a test gives them a role.
const USERS: [(&str, &str); 3] = [("admin", "system:masters"), ("alice", ""), ("bob", "")];

/// The certificate that signs the server's.
pub(super) fn authority(folder: &Path) -> anyhow::Result<Vec<u8>> {
    let path = folder.join(AUTHORITY);
    fs::read(&path).with_context(|| format!("{} can't be read", path.display()))
}

/// Makes everything anew, with fresh secrets.
pub(super) fn write(folder: &Path, ports: &Ports) -> anyhow::Result<()> {
    let authority = write_certificates(folder)?;
    let accounts = KeyPair::generate()?;
    write_secret(folder, ACCOUNT_KEY, &accounts.serialize_pem())?;
    write_secret(folder, ACCOUNT_PUBLIC_KEY, &accounts.public_key_pem())?;

    let tokens = USERS.map(|_| token());
    let lines = USERS.iter().zip(&tokens).map(|((user, groups), token)| {
        if groups.is_empty() {
            format!("{token},{user},{user}\n")
        } else {
            format!("{token},{user},{user},{groups}\n")
        }
    });
    write_secret(folder, TOKENS, &lines.collect::<String>())?;
    let kubeconfig = kubeconfig(&ports.apiserver_url(), &authority, &tokens);
    write_secret(
        folder,
        KUBECONFIG,
        &serde_json::to_string_pretty(&kubeconfig)?,
    )
}

fn write_certificates(folder: &Path) -> anyhow::Result<String> {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "kv test cluster");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    let key = KeyPair::generate()?;
    let authority = params.self_signed(&key)?.pem();
    let issuer = Issuer::new(params, key);

    let mut params = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()])?;
    params
        .distinguished_name
        .push(DnType::CommonName, "kube-apiserver");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let server = params.signed_by(&key, &issuer)?.pem();

    write_secret(folder, AUTHORITY, &authority)?;
    write_secret(folder, SERVER_CERT, &server)?;
    write_secret(folder, SERVER_KEY, &key.serialize_pem())?;
    Ok(authority)
}

/// A kubeconfig is YAML, and JSON is YAML.
fn kubeconfig(server: &str, authority: &str, tokens: &[String; USERS.len()]) -> Value {
    let users: Vec<Value> = USERS
        .iter()
        .zip(tokens)
        .map(|((name, _), token)| json!({ "name": name, "user": { "token": token } }))
        .collect();
    let contexts: Vec<Value> = USERS
        .iter()
        .map(|(name, _)| json!({ "name": name, "context": { "cluster": "kv", "user": name } }))
        .collect();
    let cluster = json!({
        "server": server,
        "certificate-authority-data": BASE64.encode(authority),
    });
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "kv", "cluster": cluster }],
        "users": users,
        "contexts": contexts,
        "current-context": USERS[0].0,
    })
}

fn token() -> String {
    format!("{:032x}", rand::random::<u128>())
}

fn write_secret(folder: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let path = folder.join(name);
    File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("{} could not be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kubeconfig_has_a_context_per_user_and_starts_as_admin() {
        let tokens = ["a", "b", "c"].map(str::to_owned);
        let config = kubeconfig("https://127.0.0.1:1", "PEM", &tokens);
        assert_eq!(config["current-context"], "admin");
        assert_eq!(config["contexts"][1]["name"], "alice");
        assert_eq!(config["users"][2]["user"]["token"], "c");
        assert_eq!(
            config["clusters"][0]["cluster"]["certificate-authority-data"],
            "UEVN"
        );
    }
}
