"""SAFMN: modulation by features pooled at several levels."""
