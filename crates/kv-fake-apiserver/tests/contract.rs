//! The cases of the contract on the fake server; the same ones run on a real server elsewhere in the
//! workspace.

use kv_fake_apiserver::{FakeApiServer, contract};

macro_rules! on_the_fake {
    ($($module:ident::$case:ident,)*) => {$(
        #[tokio::test(start_paused = true)]
        async fn $case() {
            let server = FakeApiServer::new();
            contract::cases::$case(server.client(), "default").await;
        }
    )*};
}

kv_fake_apiserver::contract_cases!(on_the_fake);
