"""The common part of the Kubernetes DRA drivers for Intel accelerators."""
