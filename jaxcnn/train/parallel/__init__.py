"""What machines do to the one pure step; the only place that knows devices.

one_device: jit, scan, several runs in one program. many_devices: pmap, and jit over a mesh, of all hosts. choice: which
of them a run gets. hosts: several processes at one run.
"""

from jaxcnn.train.parallel.choice import choose, choose_scan, make_programs
from jaxcnn.train.parallel.many_devices import data_parallel, sharded
from jaxcnn.train.parallel.one_device import member_programs, single_device
from jaxcnn.train.parallel.programs import (
    AXIS,
    Arrays,
    Feed,
    Programs,
    Stretch,
    advance,
    stretch_length,
    to_host,
    warm_up,
)

__all__ = [
    "AXIS",
    "Arrays",
    "Feed",
    "Programs",
    "Stretch",
    "advance",
    "choose",
    "choose_scan",
    "data_parallel",
    "make_programs",
    "member_programs",
    "sharded",
    "single_device",
    "stretch_length",
    "to_host",
    "warm_up",
]
