"""Write src/alertstream/kafka.lock.toml anew: every jar of the local Kafka, with its sha256.

Run ``python tests/lock_kafka.py`` after changing ``ENDPOINT`` to another Kafka version. It resolves
Kafka's dependencies through jgo (about 20 s and 43 MB the first time) and needs the network.
"""

from __future__ import annotations

from pathlib import Path

from jgo.env import LockFile
from jgo.maven import MavenContext

# Kafka's jars leave the choice of a logger to the distribution; without one it logs nothing.
ENDPOINT = ["org.apache.kafka:kafka_2.13:4.1.2", "org.slf4j:slf4j-simple:1.7.36"]
LOCK = Path(__file__).parents[1] / "src" / "alertstream" / "kafka.lock.toml"


def main() -> None:
    context = MavenContext()
    wanted, needed = context.resolver.resolve([context.create_dependency(jar) for jar in ENDPOINT])
    jars = wanted + [jar for jar in needed if jar.scope in ("compile", "runtime")]
    jars.sort(key=lambda jar: (jar.artifact != wanted[0].artifact, jar.groupId, jar.artifactId))
    lock = LockFile.from_resolved_dependencies(jars, environment_name="alertstream-kafka")
    lock.min_java_version = 17
    lock.save(LOCK)


if __name__ == "__main__":
    main()
