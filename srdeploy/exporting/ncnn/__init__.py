"""Networks into ncnn's format."""
