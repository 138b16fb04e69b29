"""A plug-in of srdeploy: a target with its runtime, a device and an architecture."""
