"""The pruning methods: one table, and the classes that the methods share."""
