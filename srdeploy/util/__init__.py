"""Common tools: checked configuration, files, text tables, progress, shipped files."""
