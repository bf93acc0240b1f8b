"""The ban that stands in for a GPU: operators that would wait for the device."""

from torch.utils._python_dispatch import TorchDispatchMode

# Each copies data to the host, or makes a shape out of data.
FORBIDDEN = {"_local_scalar_dense", "nonzero", "masked_select", "unique", "_unique2", "unique_dim", "equal", "item"}


class NoHostReads(TorchDispatchMode):
    """Raises at such an operator, and at an index by booleans, which is one in disguise."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in FORBIDDEN, f"{name} reads data on the host"
        if name in ("index", "index_put", "index_put_"):
            indices = [index for index in args[1] if index is not None]
            assert all(index.dtype.is_floating_point or index.dtype.itemsize > 1 for index in indices), "boolean index"
        return func(*args, **(kwargs or {}))
