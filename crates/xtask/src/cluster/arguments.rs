//! The command line of each server.
//!
//! As in production wherever a test could see the difference: etcd syncs each write to the disk, the API
//! server keeps its defaults of caching, fairness and admission.

use std::path::Path;

use super::access;
use super::ports::Ports;

pub(super) fn etcd(folder: &Path, ports: &Ports) -> Vec<String> {
    let (url, peer_url) = (ports.etcd_url(), ports.etcd_peer_url());
    vec![
        "--name=kv".to_owned(),
        format!("--data-dir={}", folder.join("etcd").display()),
        format!("--listen-client-urls={url}"),
        format!("--advertise-client-urls={url}"),
        format!("--listen-peer-urls={peer_url}"),
        format!("--initial-advertise-peer-urls={peer_url}"),
        format!("--initial-cluster=kv={peer_url}"),
    ]
}

pub(super) fn apiserver(folder: &Path, ports: &Ports) -> Vec<String> {
    let file = |name| folder.join(name).display().to_string();
    vec![
        format!("--etcd-servers={}", ports.etcd_url()),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={}", ports.apiserver),
        format!("--tls-cert-file={}", file(access::SERVER_CERT)),
        format!("--tls-private-key-file={}", file(access::SERVER_KEY)),
        format!("--token-auth-file={}", file(access::TOKENS)),
        "--authorization-mode=RBAC".to_owned(),
        "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!(
            "--service-account-key-file={}",
            file(access::ACCOUNT_PUBLIC_KEY)
        ),
        format!(
            "--service-account-signing-key-file={}",
            file(access::ACCOUNT_KEY)
        ),
        // Nobody makes the accounts that this plugin waits for.
        "--disable-admission-plugins=ServiceAccount".to_owned(),
        // No endpoint of the service `kubernetes`: a loopback address is not allowed there.
        "--advertise-address=127.0.0.1".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
    ]
}

pub(super) fn manager(folder: &Path) -> Vec<String> {
    vec![
        format!("--kubeconfig={}", folder.join(access::KUBECONFIG).display()),
        "--controllers=garbage-collector-controller,namespace-controller".to_owned(),
        "--leader-elect=false".to_owned(),
        // It has nothing to serve.
        "--secure-port=0".to_owned(),
    ]
}
