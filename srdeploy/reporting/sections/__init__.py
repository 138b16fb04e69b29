"""The sections of the report page: a file for each, and the table that orders them."""
