"""Many devices on many hosts: certificates, scheduler, workers, and campaigns over them."""
