"""SRVGGNetCompact, the compact network of Real-ESRGAN, and its files."""
