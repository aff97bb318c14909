"""A real one-node Kubernetes in private namespaces, for tests and to play with; see docs/dev/e2e.md."""
