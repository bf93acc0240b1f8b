"""Pure functions: boxes, rotated boxes, quads, edge distances, anchor points."""
