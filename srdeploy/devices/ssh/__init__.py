"""Machines reached by the user's own OpenSSH: Jetson boards, Pis, servers."""
