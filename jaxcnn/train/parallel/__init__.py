"""What machines do to the one pure step; the only place that knows devices.

single: jit on one device. mapped: pmap. sharded: jit over a mesh, of all hosts. members: several runs in one program.
scanned: stretches of steps as one program. choice: which of them a run gets. hosts: several processes at one run.
"""

from jaxcnn.train.parallel.choice import choose, choose_scan, make_programs
from jaxcnn.train.parallel.mapped import data_parallel
from jaxcnn.train.parallel.members import member_programs
from jaxcnn.train.parallel.programs import AXIS, Arrays, Feed, Programs, Stretch, advance, stretch_length, warm_up
from jaxcnn.train.parallel.sharded import sharded
from jaxcnn.train.parallel.single import single_device

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
    "warm_up",
]
