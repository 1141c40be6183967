//! What the name of an image tells: its version, and whether it is a database. Not what is in it.

/// A program that keeps data for others.
pub(super) struct Store {
    /// What people call it.
    pub(super) name: &'static str,
    /// The port that it listens on.
    pub(super) port: u32,
    /// Whether its data is meant to outlive it.
    pub(super) is_durable: bool,
}

const fn store_of(name: &'static str, port: u32, is_durable: bool) -> Store {
    Store {
        name,
        port,
        is_durable,
    }
}

/// The images of databases, queues and caches, by the last part of their name.
const STORES: &[(&str, Store)] = &[
    ("postgres", store_of("PostgreSQL", 5432, true)),
    ("postgresql", store_of("PostgreSQL", 5432, true)),
    ("postgis", store_of("PostgreSQL", 5432, true)),
    ("timescaledb", store_of("TimescaleDB", 5432, true)),
    ("pgvector", store_of("PostgreSQL", 5432, true)),
    ("mysql", store_of("MySQL", 3306, true)),
    ("mariadb", store_of("MariaDB", 3306, true)),
    ("percona", store_of("Percona Server", 3306, true)),
    ("mongo", store_of("MongoDB", 27017, true)),
    ("mongodb", store_of("MongoDB", 27017, true)),
    ("redis", store_of("Redis", 6379, false)),
    ("valkey", store_of("Valkey", 6379, false)),
    ("keydb", store_of("KeyDB", 6379, false)),
    ("memcached", store_of("Memcached", 11211, false)),
    ("rabbitmq", store_of("RabbitMQ", 5672, false)),
    ("elasticsearch", store_of("Elasticsearch", 9200, true)),
    ("opensearch", store_of("OpenSearch", 9200, true)),
    ("clickhouse-server", store_of("ClickHouse", 8123, true)),
    ("cassandra", store_of("Cassandra", 9042, true)),
    ("couchdb", store_of("CouchDB", 5984, true)),
    ("influxdb", store_of("InfluxDB", 8086, true)),
    ("neo4j", store_of("Neo4j", 7687, true)),
    ("etcd", store_of("etcd", 2379, true)),
];

/// Returns what an image keeps data for others with, if it does.
pub(super) fn store(image: &str) -> Option<&'static Store> {
    let (name, _) = parts(image);
    STORES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, store)| store)
}

/// Says whether an image has neither a digest nor a tag other than `latest`.
pub(super) fn is_unpinned(image: &str) -> bool {
    let (_, tag) = parts(image);
    !image.contains('@') && matches!(tag, None | Some("latest"))
}

/// Returns the last part of an image's name, and its tag.
fn parts(image: &str) -> (&str, Option<&str>) {
    let image = image.split('@').next().unwrap_or_default();
    let last = image.rsplit('/').next().unwrap_or_default();
    match last.split_once(':') {
        Some((name, tag)) => (name, Some(tag)),
        None => (last, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_tells_version_and_kind() {
        for (image, unpinned, name) in [
            ("postgres", true, Some("PostgreSQL")),
            (
                "docker.io/library/postgres:17-alpine",
                false,
                Some("PostgreSQL"),
            ),
            ("localhost:5000/shop", true, None),
            ("redis:latest", true, Some("Redis")),
            ("mysql@sha256:aa", false, Some("MySQL")),
            ("", true, None),
        ] {
            assert_eq!(is_unpinned(image), unpinned, "{image}");
            assert_eq!(store(image).map(|store| store.name), name, "{image}");
        }
    }
}
