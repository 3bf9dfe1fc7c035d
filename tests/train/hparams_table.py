"""The table of HParams as TensorBoard's own backend makes it from a folder of event files."""

from typing import Any, NamedTuple

import pytest

pytest.importorskip("tensorboard")
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

FINISHED = api_pb2.STATUS_SUCCESS
KINDS = ("string_value", "number_value", "bool_value")


class HParams(NamedTuple):
    columns: list[tuple[str, bool]]  # name, whether its values differ
    metrics: list[str]
    rows: dict[str, dict[str, Any]]  # hyperparameters and last metrics by run
    statuses: set[int]


def read_table(folder):
    multiplexer, request = EventMultiplexer(), RequestContext()
    multiplexer.AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(folder))
    backend = backend_context.Context(TBContext(data_provider=provider))
    found = backend.experiment_from_metadata(request, "", True, backend.hparams_metadata(request, ""), [])
    wanted = [api_pb2.ColParams(metric=each.name) for each in found.metric_infos]
    query = api_pb2.ListSessionGroupsRequest(
        slice_size=1000, include_metrics=True, allowed_statuses=[0, 1, 2, 3], col_params=wanted
    )
    rows, statuses = {}, set()
    for group in list_session_groups.Handler(request, backend, "", query).run().session_groups:
        (session,) = group.sessions
        values = {name: _value(each) for name, each in group.hparams.items()}
        rows[session.name] = values | {each.name.tag: each.value for each in session.metric_values}
        statuses.add(session.status)
    columns = [(each.name, each.differs) for each in found.hparam_infos]
    return HParams(columns, [each.name.tag for each in found.metric_infos], rows, statuses)


def _value(given):
    return next((value for kind in KINDS if (value := getattr(given, kind))), 0)
