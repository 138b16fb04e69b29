"""iPhones, iPads and Macs, through a Mac and coremltools' own device tools."""
