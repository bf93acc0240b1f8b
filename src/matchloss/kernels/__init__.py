"""Numba (CPU) and Triton (CUDA) twins of hot loops, under the names of what they speed up; private."""
