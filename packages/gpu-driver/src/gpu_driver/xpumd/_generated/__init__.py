"""Generated from packages/gpu-driver/proto by tools/generate_protos.py: do not edit."""
