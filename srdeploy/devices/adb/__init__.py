"""Android devices through the Android Debug Bridge."""
