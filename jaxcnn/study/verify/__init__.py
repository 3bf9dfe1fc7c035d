"""Verify a study or a single run: every number again, from predictions and records, by formulas of its own."""

from jaxcnn.study.verify.checks import Check
from jaxcnn.study.verify.study import verify

__all__ = ["Check", "verify"]
