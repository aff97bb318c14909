"""Generated from packages/common/proto by tools/generate_protos.py: do not edit."""
