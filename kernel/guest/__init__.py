"""A real Linux kernel in a QEMU guest whose root is this machine's own, for what a simulated one cannot prove."""
