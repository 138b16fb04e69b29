"""VDSR: plain convolutions on luma."""
