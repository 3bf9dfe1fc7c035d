"""The record of software and hardware."""

import json
import os

import jax

from jaxcnn.runtime.environment import cores, environment, versions


def test_the_record_names_versions_devices_and_flags():
    record = environment()
    assert json.loads(json.dumps(record)) == record
    assert record["versions"] == versions()
    assert record["versions"]["jax"] == jax.__version__
    assert len(record["devices"]) == jax.device_count()
    assert record["platform"] == "cpu"
    assert 1 <= record["cores"] == cores() <= os.cpu_count()
    assert record["xla_flags"] == os.environ["XLA_FLAGS"]
