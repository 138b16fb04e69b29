"""FSRCNN: narrow convolutions at low resolution, then a transposed one."""
