"""RRDBNet, the network of ESRGAN and Real-ESRGAN, and its files."""
