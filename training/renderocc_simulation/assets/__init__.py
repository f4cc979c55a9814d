"""Things of the 17 classes, each shape and paint drawn from a split's own catalogue."""
