"""Write the lock files of all jars: the local Kafka, its tools, its mirror, and Strimzi.

Run ``python -m tests.support.lock_kafka`` after changing ``VERSION`` or ``STRIMZI``. It resolves
dependencies with jgo (about 20 s and 43 MB the first time) and needs the network.
"""

from __future__ import annotations

from pathlib import Path

from jgo.env import LockFile
from jgo.maven import MavenContext

VERSION = "4.1.2"
STRIMZI = "1.2.0"
# Kafka's jars leave the choice of a logger to the distribution; without one it logs nothing.
LOGGER = "org.slf4j:slf4j-simple:1.7.36"
ROOT = Path(__file__).parents[2]
LOCKS = {
    "src/alertstream/local/broker/kafka.lock.toml": (f"org.apache.kafka:kafka_2.13:{VERSION}",),
    "bench/kafka-tools.lock.toml": (f"org.apache.kafka:kafka-tools:{VERSION}",),
    "deploy/mirror/connect-mirror.lock.toml": (f"org.apache.kafka:connect-mirror:{VERSION}",),
    "tests/support/deploy/strimzi.lock.toml": (
        f"io.strimzi:crd-generator:{STRIMZI}",
        f"io.strimzi:api:{STRIMZI}",
    ),
}


def write(endpoints: tuple[str, ...], path: Path) -> None:
    """Resolve ``endpoints`` and write their lock file."""
    context = MavenContext()
    wanted, needed = context.resolver.resolve(
        [context.create_dependency(jar) for jar in (*endpoints, LOGGER)]
    )
    jars = wanted + [jar for jar in needed if jar.scope in ("compile", "runtime")]
    jars.sort(key=lambda jar: (jar.artifact != wanted[0].artifact, jar.groupId, jar.artifactId))
    lock = LockFile.from_resolved_dependencies(jars, environment_name=path.name.split(".")[0])
    lock.min_java_version = 17
    lock.save(path)


if __name__ == "__main__":
    for path, endpoints in LOCKS.items():
        write(endpoints, ROOT / path)
