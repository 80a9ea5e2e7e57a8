//! Is the API server ready?

use std::time::Duration;

use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Asks `/readyz` as anybody. The answer is 200 only once the server has made its own roles, of which
/// one allows the question.
pub(super) fn is_ready(authority: &[u8], port: u16) -> bool {
    let Ok(authority) = Certificate::from_pem(authority) else {
        return false;
    };
    let roots = RootCerts::new_with_certs(&[authority]);
    let agent: Agent = Agent::config_builder()
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        // A proxy of the environment can't reach the loopback.
        .proxy(None)
        .timeout_global(Some(Duration::from_secs(5)))
        .build()
        .into();
    agent
        .get(format!("https://127.0.0.1:{port}/readyz"))
        .call()
        .is_ok()
}
