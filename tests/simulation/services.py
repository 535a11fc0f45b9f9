"""The service processes of a schedule: started, killed, stopped, continued, drained."""

import asyncio
from dataclasses import dataclass

from app.pipeline.supervisor import Supervisor
from tests.simulation.disk import Disk, Watch
from tests.simulation.engine import DRAIN_S, in_process, service
from tests.simulation.files import MortalReader
from tests.simulation.network import Network
from tests.simulation.rows import LEASE_S, Hold
from tests.simulation.virtual import ProcessLoop
from tests.simulation.world import World


@dataclass(slots=True, eq=False)
class Process:
    """One life of one service process."""

    name: str
    loop: ProcessLoop
    hold: Hold
    disk: Disk
    network: Network
    supervisor: Supervisor
    frozen: bool = False
    frozen_at: float = 0.0
    ends_by: float = float("inf")
    """Until when a drain must be over."""


class Services:
    """Whoever lives, and their loops."""

    def __init__(self, world: World, watch: Watch) -> None:
        self._world = world
        self._watch = watch
        self._living: list[Process] = []
        self._born = 0
        self.kills = 0
        self.disruptions = 0
        """Times that a process lost what it had not written."""
        self.loops: list[ProcessLoop] = [world.outside.loop]
        """Of all that can do anything, the world outside included."""

    def awake(self) -> list[Process]:
        return [process for process in self._living if not process.frozen]

    def start(self) -> None:
        """Begin a new life."""
        world = self._world
        self._born += 1
        name = f"service {self._born}"
        world.note(f"{name} starts")
        loop = ProcessLoop(world.time)  # type: ignore[abstract] # no I/O
        hold = world.rows.hold(name, world.clock)
        disk = Disk(hold, name=name, loop=loop, weather=world.weather, watch=self._watch)
        network = Network(world.outside, name=name, loop=loop)
        loop.enter()
        supervisor = service(
            name=name,
            reader=MortalReader(
                in_process(world.files), pause=world.reader_pause_s, dies=world.reader_dies
            ),
            network=network,
            disk=disk,
            clock=world.clock.with_zero(world.random.uniform(0, 1e6)),
            book=world.book,
            time=world.time,
            note=world.note,
        )
        process = Process(name, loop, hold, disk, network, supervisor)
        self._living.append(process)
        self._look_round()
        loop.create_task(supervisor.supervise()).add_done_callback(
            lambda task: self._ended(process, task)
        )

    def kill(self, process: Process) -> None:
        """Do as ``kill -9`` does, and as whoever watches over the service does then."""
        self._world.note(f"{process.name} is killed")
        self.kills += 1
        self.disruptions += 1
        process.hold.die()
        self._remove(process)
        self._replace_soon()

    def kill_all(self) -> None:
        for process in list(self._living):
            self.kill(process)

    def drain(self, process: Process) -> None:
        """Do as SIGTERM does."""
        self._world.note(f"{process.name} gets SIGTERM")
        self.disruptions += 1
        # A look at the store, and what tidies up, may be under way on a slow disk.
        in_time_s = DRAIN_S + 1.0 + 4 * self._world.weather.slow_s
        process.ends_by = min(process.ends_by, self._world.time.now + in_time_s)
        process.supervisor.drain()

    def freeze(self, process: Process) -> None:
        """Do as SIGSTOP does, and later as SIGCONT does. The lease may run out in between."""
        world = self._world
        for_s = world.random.choice((0.5, 5.0, LEASE_S + 5.0, 2 * LEASE_S))
        world.note(f"{process.name} is stopped for {for_s} s")
        self.disruptions += 1
        process.frozen, process.frozen_at = True, world.time.now
        world.book.unaware.add(process.name)
        self._look_round()
        world.outside.loop.call_later(for_s, self._thaw, process)
        world.outside.loop.call_later(LEASE_S + 0.1, self.stir)
        if world.random.random() < 0.8:
            self._replace_soon()

    def restore(self) -> None:
        """Have somebody live and everybody go on."""
        for process in self._living:
            self._thaw(process)
        if not self._living:
            self.start()

    def stir(self) -> None:
        """Have everybody look at the store soon."""
        for process in self._living:
            process.disk.changed()

    def remove_all(self) -> None:
        """Take everybody out of the world."""
        for process in list(self._living):
            self._remove(process)

    def _remove(self, process: Process) -> None:
        process.disk.cut_off = process.network.cut_off = True
        self._living.remove(process)
        self._world.book.forget_process(process.name)
        process.loop.discard()
        self._look_round()
        self.stir()

    def _ended(self, process: Process, task: "asyncio.Task[None]") -> None:
        """Take note of a supervisor that returned by itself."""
        world = self._world
        if process not in self._living:
            return None
        if task.cancelled() or task.exception() is not None:
            return world.accuse("bug", f"the supervisor ended with {task!r}")
        if process.ends_by == float("inf"):
            return world.accuse("bug", "the supervisor ended without being asked")
        if world.time.now > process.ends_by:
            world.accuse("P4", f"it took {world.time.now - process.ends_by:.1f} s too long to end")
        if left := [t for t in process.loop.unfinished() if t is not task]:
            world.accuse("P4", f"it left tasks behind: {left}")
        world.note(f"{process.name} has ended")
        process.hold.leave()
        self._remove(process)
        self._replace_soon()
        return None

    def _thaw(self, process: Process) -> None:
        if process.frozen and process in self._living:
            self._world.note(f"{process.name} is continued")
            process.frozen = False
            process.ends_by += self._world.time.now - process.frozen_at
            process.loop.wake()
            self._look_round()

    def _replace_soon(self) -> None:
        world = self._world
        delay_s = 0.0 if world.outside.calm else world.random.choice((0.0, 0.1, 3.0, 20.0))
        world.outside.loop.call_later(delay_s, self._start_if_none)

    def _start_if_none(self) -> None:
        if not self.awake():
            self.start()

    def _look_round(self) -> None:
        """Notice who can do anything."""
        self.loops[:] = [process.loop for process in self.awake()]
        self.loops.append(self._world.outside.loop)
