//! The contract of the fake API server, on a real one: so that the fake can't lie.

use kv_fake_apiserver::contract;
use kv_tests::{Place, Real};

/// Runs a case in a namespace of its own, which goes also when the case fails.
macro_rules! on_the_real_server {
    ($($module:ident::$case:ident,)*) => {$(
        #[tokio::test]
        #[ignore = "needs a real API server"]
        async fn $case() {
            let place = Real::new().await;
            let (client, namespace) = (place.client(), place.namespace().to_owned());
            let case = async move { contract::cases::$case(client, &namespace).await };
            let outcome = tokio::spawn(case).await;
            place.finish().await;
            outcome.expect("the case holds");
        }
    )*};
}

kv_fake_apiserver::contract_cases!(on_the_real_server);
