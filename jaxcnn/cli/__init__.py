"""The command line: `jaxcnn COMMAND`, also `python -m jaxcnn COMMAND`; `launch` is the entry of experiment scripts."""

from jaxcnn.cli.entry import launch, main

__all__ = ["launch", "main"]
