"""A plug-in of srdeploy: a target with its runtime, a device, an architecture and a metric."""
