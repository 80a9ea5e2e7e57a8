//! The suite on ConfigMaps and Secrets of a real API server.

use kv_configmap::Buckets;
use kv_tests::{BucketHarness, Place, Real, Suite};

struct ConfigMaps;

impl Suite for ConfigMaps {
    type Place = Real;
    const NAME: &'static str = "configmap-on-real";

    fn buckets(place: &Real) -> Buckets {
        Buckets::config_maps(place.client(), place.namespace())
    }
}

struct Secrets;

impl Suite for Secrets {
    type Place = Real;
    const NAME: &'static str = "secret-on-real";

    fn buckets(place: &Real) -> Buckets {
        Buckets::secrets(place.client(), place.namespace())
    }
}

mod config_maps {
    kv_conformance::suite!(
        #[ignore = "needs a real API server"]
        super::BucketHarness<super::ConfigMaps>
    );
}

mod secrets {
    kv_conformance::suite!(
        #[ignore = "needs a real API server"]
        super::BucketHarness<super::Secrets>
    );
}
