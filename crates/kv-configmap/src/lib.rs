//! A key-value store in the ConfigMaps or Secrets of a Kubernetes cluster.
