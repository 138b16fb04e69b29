"""Devices that somebody else keeps: adapters for hosted farms, each as thin as its library allows."""
