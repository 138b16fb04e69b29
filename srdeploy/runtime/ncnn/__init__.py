"""Networks in ncnn's format, which Vulkan applications and the native runner read."""
