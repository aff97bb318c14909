"""A driver package that has stories to tell, for the tests of the demo."""
