//! A fake Kubernetes API server in the process, as a tower service under kube::Client.
