"""Devices that are reached through a POSIX shell: what ssh and adb have in common."""
