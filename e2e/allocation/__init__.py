"""Random inventories and claims for the real scheduler and for our allocator; see docs/dev/testing.md."""
