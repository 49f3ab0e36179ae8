"""Send, filter, print and monitor a sky survey's alert stream on Apache Kafka."""

from importlib.metadata import version

__version__ = version("alertstream")
