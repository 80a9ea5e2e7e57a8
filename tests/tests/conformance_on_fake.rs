//! The suite on ConfigMaps and Secrets of the fake API server.

use kv_configmap::Buckets;
use kv_tests::{BucketHarness, Fake, Place, Suite};

struct ConfigMaps;

impl Suite for ConfigMaps {
    type Place = Fake;
    const NAME: &'static str = "configmap-on-fake";

    fn buckets(place: &Fake) -> Buckets {
        Buckets::config_maps(place.client(), place.namespace())
    }
}

struct Secrets;

impl Suite for Secrets {
    type Place = Fake;
    const NAME: &'static str = "secret-on-fake";

    fn buckets(place: &Fake) -> Buckets {
        Buckets::secrets(place.client(), place.namespace())
    }
}

mod config_maps {
    kv_conformance::suite!(super::BucketHarness<super::ConfigMaps>);
}

mod secrets {
    kv_conformance::suite!(super::BucketHarness<super::Secrets>);
}
