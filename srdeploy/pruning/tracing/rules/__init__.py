"""Rules: what each kind of tensor operation does to channels."""
