"""Kubernetes DRA driver for Intel QuickAssist accelerators (`qat.intel.com`)."""
