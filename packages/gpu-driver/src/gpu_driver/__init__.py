"""Kubernetes DRA driver for Intel GPUs (`gpu.intel.com`)."""
