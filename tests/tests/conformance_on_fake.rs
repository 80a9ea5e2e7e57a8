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

struct SingleObjects;

impl Suite for SingleObjects {
    type Place = Fake;
    const NAME: &'static str = "single-object-on-fake";

    fn buckets(place: &Fake) -> Buckets {
        Buckets::config_maps(place.client(), place.namespace()).in_single_objects()
    }
}

/// Every few commits are flushed, merged and compacted.
struct TinyParts;

impl Suite for TinyParts {
    type Place = Fake;
    const NAME: &'static str = "tiny-parts-on-fake";

    fn buckets(place: &Fake) -> Buckets {
        Buckets::config_maps(place.client(), place.namespace()).with_tiny_parts()
    }
}

mod config_maps {
    kv_conformance::suite!(super::BucketHarness<super::ConfigMaps>);
}

mod secrets {
    kv_conformance::suite!(super::BucketHarness<super::Secrets>);
}

mod single_objects {
    kv_conformance::suite!(super::BucketHarness<super::SingleObjects>);
}

mod tiny_parts {
    kv_conformance::suite!(super::BucketHarness<super::TinyParts>);
}
