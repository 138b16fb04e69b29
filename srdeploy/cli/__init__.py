"""The command line: parses, then one call per command."""
