"""Networks into LiteRT's format."""
