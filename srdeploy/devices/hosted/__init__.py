"""Devices that others keep: adapters for hosted farms, each as thin as its library allows."""
