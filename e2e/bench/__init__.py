"""What the GPU driver costs on a real API server, called as a real kubelet calls it: ``make bench-cluster``.

The driver is installed by its chart, on a simulated machine with 72 devices, and keeps its records on a real disk.
Times are for comparison within one run: beside them stand the bare GET, the empty call and the durable write of that
run.
"""
