"""The chart on a real Kubernetes: `make cluster-test`."""
