"""What becomes of a kernel on an H100 or H200, without one: Triton's wheel brings the assembler."""

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple


class CodeShape(NamedTuple):
    """Counts in the machine code."""

    registers: int
    """A thread; 65,536 are shared by all threads of a multiprocessor."""
    stack: int
    """Bytes a thread that did not fit into registers, and travel through memory."""
    barriers: int
    shared: int
    """Bytes of shared memory."""


def code_shape(
    kernel: Any, signature: dict[str, str], constants: dict[str, Any], warps: int, *, aligned: bool = False
) -> CodeShape:
    """Compile for sm_90. ``signature`` names the types of all arguments in order, "constexpr" for ``constants``.

    Pointers that are ``aligned`` to 16 bytes, as those of whole tensors are, let a thread load as many at once.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    pointers = [index for index, kind in enumerate(signature.values()) if aligned and kind.startswith("*")]
    attributes = {(index,): [["tt.divisibility", 16]] for index in pointers}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes)
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps})
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        usage = _read(triton, "--dump-resource-usage", file.name)
        code = _read(triton, "--dump-sass", file.name)
    registers, stack = (int(re.search(rf"{name}:(\d+)", usage).group(1)) for name in ("REG", "STACK"))
    return CodeShape(registers, stack, code.count("BAR.SYNC"), compiled.metadata.shared)


def _read(triton: Any, option: str, file: str) -> str:
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    return subprocess.run([tool, option, file], capture_output=True, text=True, check=True).stdout
