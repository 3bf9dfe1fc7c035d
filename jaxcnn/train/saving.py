"""When and what a loop saves: checkpoints after epochs, within them, and before it stops on request."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import jax

from jaxcnn.runtime.signals import Interrupted
from jaxcnn.train.divergence import Unsound, halted, sound
from jaxcnn.train.member import Member
from jaxcnn.train.parallel import Programs
from jaxcnn.train.state import TrainState


class Saving:
    """Checkpoints of the runs in one loop.

    Args:
        members: The runs.
        programs: Theirs.
    """

    def __init__(self, members: Sequence[Member], programs: Programs):
        self._members, self._programs, self._plan = members, programs, members[0].plan
        self.kept = list(members)
        """The runs as they were saved last: where steps that went wrong can be made again."""
        self.histories: list[list[dict[str, Any]]] = [[] for _ in members]
        """Records of the epochs trained so far, for each; the loop adds to them."""
        self._step, self._time = int(members[0].state.step), time.monotonic()
        self._used = any(member.checkpoints is not None for member in members)

    def due(self, step: int) -> bool:
        """Whether a checkpoint within an epoch is due, by steps or by minutes."""
        plan = self._plan
        if not self._used or step == self._step:
            return False
        if plan.checkpoint_steps is not None and step - self._step >= plan.checkpoint_steps:
            return True
        # Several hosts save together, and their clocks differ.
        minutes = plan.checkpoint_minutes if jax.process_count() == 1 else None
        return minutes is not None and time.monotonic() - self._time >= 60 * minutes

    def save(
        self,
        placed: TrainState,
        sums: Sequence[Mapping[str, float]],
        records: Sequence[Mapping[str, Any] | None] | None = None,
    ) -> None:
        """Save all members.

        Args:
            placed: State on the devices.
            sums: Of the epoch under way, for each; empty at its end.
            records: Of the epoch that has ended, for each; None for a member that had ended before.

        Raises:
            Unsound: See `inspect`; nothing was saved.
        """
        if not self._used:
            return
        if records is None:  # At the end of an epoch the loop has done so before it evaluates.
            self.inspect(placed, sums)
        states = self._programs.part(self._programs.fetch(placed))
        for place, (member, state) in enumerate(zip(self._members, states, strict=True)):
            record = None if records is None else records[place]
            if member.checkpoints is not None and (records is None or record is not None):
                member.checkpoints.save(state, sums[place], record)
            if self._programs.halting is not None:
                earlier = (*member.earlier, *self.histories[place])
                self.kept[place] = member._replace(state=state, sums=sums[place], earlier=earlier)
        self._step, self._time = max(int(state.step) for state in states), time.monotonic()

    def inspect(self, placed: TrainState, sums: Sequence[Mapping[str, float]]) -> None:
        """Look at losses and weights, once an epoch and before a save within one.

        Raises:
            Unsound: One is not finite, and there are programs that can say since which step.
        """
        if self._programs.halting is not None:
            bare = placed._replace(batch_stats={}, opt_state={}, ema={})
            if any(map(halted, sums)) or not sound(self._programs.fetch(bare).params):
                raise Unsound

    def stop(self, placed: TrainState, sums: Sequence[Mapping[str, float]], step: int) -> NoReturn:
        """Save and end, because a signal asked for it.

        Raises:
            Interrupted: Always.
        """
        self.save(placed, sums)
        if any(member.checkpoints is None for member in self._members):
            raise Interrupted(f"interrupted after step {step}; nothing was saved: no output folder was given")
        raise Interrupted(f"interrupted after step {step}, saved; the same command goes on from there", resumable=True)
