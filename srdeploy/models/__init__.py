"""Networks: weights in, a module and its card out."""
