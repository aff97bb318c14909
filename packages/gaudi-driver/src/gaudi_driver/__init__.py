"""Kubernetes DRA driver for Intel Gaudi accelerators (`gaudi.intel.com`)."""
