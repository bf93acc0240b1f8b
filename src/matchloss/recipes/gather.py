"""What each process found in its share of the images, brought together."""

from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from lightning_fabric import Fabric  # slow to import, and the command line needs the settings only


def gather_images(rows: Tensor, count: int, fabric: "Fabric") -> Tensor:
    """Rows of all images in their order, on the CPU, from those that each process has of every so many-th one."""
    processes = fabric.world_size
    gathered: Tensor = fabric.all_gather(rows.to(fabric.device)).reshape(processes, *rows.shape).cpu()
    return gathered.transpose(0, 1).flatten(0, 1)[:count]
