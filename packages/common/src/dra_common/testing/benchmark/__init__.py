"""What the drivers cost, measured on a simulated node with the real driver as its own process: ``make bench``.

Every figure is measured in one run on one machine; times say something only as ratios to one another (and to the bare
interpreter and the bare GET that are measured beside them), sizes and counts say something by themselves.
"""
