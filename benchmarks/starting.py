"""Start-up to ready, and what an idle service takes."""

import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.options import Options, Samples
from benchmarks.running import Watched, now, python, spent
from benchmarks.service import running_service
from benchmarks.tables import Table

IDLE_S = 2.0
SETTLED_S = 0.3


def measure(options: Options, samples: Samples) -> Table:
    """Start a service and a Python that only imports a web framework, in turn."""
    ready, framework, idle, memory = [], [], [], []
    for _ in range(options.laps):
        began = now()
        with python("timeit", "-n1", "-r1", "import fastapi, uvicorn") as process:
            process.communicate()
        framework.append(now() - began)
        with TemporaryDirectory(dir=samples.folder) as folder:
            began = now()
            with running_service(Path(folder, "ackline.db"), samples.folder) as service:
                ready.append(now() - began)
                time.sleep(SETTLED_S)
                before, began = spent(service.pid), now()
                time.sleep(IDLE_S)
                took = spent(service.pid).since(before)
                idle.append(took.total / (now() - began) * 1e3)
                looked = Watched()
                looked.look(service.pid)
                memory.append(looked.peak_mb())
    return Table(
        part="start",
        title="Start-up and idle",
        note=f"Idle for {IDLE_S:g} s after the start. Beside it, a Python that imports FastAPI and "
        "uvicorn, and ends.",
        rows=[
            {
                "start to ready s": median(ready),
                "importing the web framework s": median(framework),
                "ratio": median(a / b for a, b in zip(ready, framework, strict=True)),
                "idle CPU ms/s": median(idle),
                "idle MB": median(memory),
            }
        ],
    )
