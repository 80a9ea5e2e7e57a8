//! What a person sees of a bucket with `kubectl`.

use std::hash::Hasher;

use twox_hash::XxHash3_64;

use crate::engine::{BucketId, FORMAT, Head};
use crate::object::Metadata;

/// The label by which an object is known to be ours.
pub(crate) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Its value.
pub(crate) const MANAGER: &str = "kv-configmap";

/// A label value holds as many characters.
const LABEL_VALUE_BYTES: usize = 63;

/// The label that tells a head from a segment.
pub(crate) const PART: &str = "kv-configmap/part";

/// The label that tells a bucket from one of the same name before or after it.
pub(crate) const BUCKET_ID: &str = "kv-configmap/bucket-id";

/// Sets our labels and annotations for a bucket with that head; those of others stay.
pub(crate) fn describe_head(metadata: &mut Metadata, bucket: &str, head: &Head, limit: u64) {
    describe(metadata, bucket, head.id(), "head");
    let snapshot = head.snapshot();
    let bytes = format!("{} of {limit}", head.live_bytes());
    metadata.set_annotation("kv-configmap/revision", &snapshot.revision().to_string());
    metadata.set_annotation("kv-configmap/entries", &snapshot.len().to_string());
    metadata.set_annotation("kv-configmap/bytes", &bytes);
    metadata.set_annotation("kv-configmap/segments", &head.segments().len().to_string());
}

/// Sets our labels and annotations for a segment.
pub(crate) fn describe_segment(metadata: &mut Metadata, bucket: &str, id: BucketId, bytes: usize) {
    describe(metadata, bucket, id, "segment");
    metadata.set_annotation("kv-configmap/bytes", &bytes.to_string());
}

/// Sets our labels and annotations for an offer.
pub(crate) fn describe_offer(metadata: &mut Metadata, bucket: &str, id: BucketId) {
    describe(metadata, bucket, id, "offer");
}

fn describe(metadata: &mut Metadata, bucket: &str, id: BucketId, part: &str) {
    metadata.set_label(MANAGED_BY, MANAGER);
    metadata.set_label("kv-configmap/bucket", &label_value(bucket));
    metadata.set_label(BUCKET_ID, &id.to_string());
    metadata.set_label(PART, part);
    metadata.set_annotation("kv-configmap/bucket", bucket);
    metadata.set_annotation("kv-configmap/format", &FORMAT.to_string());
    // Argo CD otherwise refreshes an application at every commit.
    metadata.set_annotation("argocd.argoproj.io/ignore-resource-updates", "true");
}

/// The bucket's name, or its beginning and a hash where it is too long for a label.
fn label_value(bucket: &str) -> String {
    if bucket.len() <= LABEL_VALUE_BYTES {
        return bucket.to_owned();
    }
    let mut hasher = XxHash3_64::new();
    hasher.write(bucket.as_bytes());
    let hash = format!("{:016x}", hasher.finish());
    let beginning = &bucket[..LABEL_VALUE_BYTES - 1 - hash.len()];
    // The part before the hash may end in any character of the name; a label value may have
    // '-' and '.' inside.
    format!("{beginning}-{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_becomes_a_label_of_63_characters_that_still_tells_buckets_apart() {
        assert_eq!(label_value(&"a".repeat(63)), "a".repeat(63));
        let (one, two) = (
            format!("{}1", "a".repeat(150)),
            format!("{}2", "a".repeat(150)),
        );
        assert_eq!(label_value(&one).len(), 63);
        assert_ne!(label_value(&one), label_value(&two));
    }
}
