"""Pictures in, larger pictures out: files, folders and comparisons."""
