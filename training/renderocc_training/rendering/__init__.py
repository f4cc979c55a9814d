"""Rendering heads that only training needs; what live use shares is in renderocc_ros.rendering."""
