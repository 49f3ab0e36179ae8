"""Write the lock files anew: all jars of the local Kafka, its tools and its mirror, with sha256.

Run ``python tests/lock_kafka.py`` after changing ``VERSION``. It resolves their dependencies
through jgo (about 20 s and 43 MB the first time) and needs the network.
"""

from __future__ import annotations

from pathlib import Path

from jgo.env import LockFile
from jgo.maven import MavenContext

VERSION = "4.1.2"
# Kafka's jars leave the choice of a logger to the distribution; without one it logs nothing.
LOGGER = "org.slf4j:slf4j-simple:1.7.36"
ROOT = Path(__file__).parents[1]
LOCKS = {
    f"org.apache.kafka:kafka_2.13:{VERSION}": ROOT / "src" / "alertstream" / "kafka.lock.toml",
    f"org.apache.kafka:kafka-tools:{VERSION}": ROOT / "tests" / "bench" / "kafka-tools.lock.toml",
    f"org.apache.kafka:connect-mirror:{VERSION}": ROOT
    / "deploy"
    / "mirror"
    / "connect-mirror.lock.toml",
}


def write(endpoint: str, path: Path) -> None:
    """Resolve ``endpoint`` and write its lock file."""
    context = MavenContext()
    wanted, needed = context.resolver.resolve(
        [context.create_dependency(jar) for jar in (endpoint, LOGGER)]
    )
    jars = wanted + [jar for jar in needed if jar.scope in ("compile", "runtime")]
    jars.sort(key=lambda jar: (jar.artifact != wanted[0].artifact, jar.groupId, jar.artifactId))
    lock = LockFile.from_resolved_dependencies(jars, environment_name=path.name.split(".")[0])
    lock.min_java_version = 17
    lock.save(path)


if __name__ == "__main__":
    for endpoint, path in LOCKS.items():
        write(endpoint, path)
