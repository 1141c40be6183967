//! What the world knows of ports, images and the clients of stores. Guesses that the delivery file
//! can overrule, never rules.

/// Ports on which something else than HTTP is spoken.
const TCP_PORTS: &[u16] = &[
    21, 22, 25, 53, 110, 143, 389, 465, 587, 636, 853, 993, 995, 1433, 1521, 1883, 1935, 2181,
    2222, 3306, 3389, 4222, 5222, 5432, 5433, 5671, 5672, 5900, 6379, 6380, 6432, 6667, 7687, 8554,
    8883, 9042, 9092, 9093, 9300, 11211, 25565, 26257, 27017, 33060, 61613, 61616,
];

/// Images of stores and brokers, and the port on which each listens. None of them speaks HTTP there.
const STORES: &[(&str, u16)] = &[
    ("cassandra", 9042),
    ("kafka", 9092),
    ("keydb", 6379),
    ("mariadb", 3306),
    ("memcached", 11211),
    ("mongo", 27017),
    ("mongodb", 27017),
    ("mosquitto", 1883),
    ("eclipse-mosquitto", 1883),
    ("mysql", 3306),
    ("nats", 4222),
    ("percona", 3306),
    ("pgvector", 5432),
    ("postgis", 5432),
    ("postgres", 5432),
    ("postgresql", 5432),
    ("rabbitmq", 5672),
    ("redis", 6379),
    ("redis-stack-server", 6379),
    ("timescaledb", 5432),
    ("valkey", 6379),
    ("zookeeper", 2181),
];

/// Programs that ask a store how it is, and know its usual port by themselves.
const STORE_CLIENTS: &[&str] = &[
    "healthcheck.sh",
    "keydb-cli",
    "mariadb-admin",
    "mongo",
    "mongosh",
    "mysql",
    "mysqladmin",
    "pg_isready",
    "psql",
    "rabbitmq-diagnostics",
    "rabbitmqctl",
    "redis-cli",
    "valkey-cli",
];

/// A store or broker that needs nothing but arguments to run as a process.
struct Server {
    program: &'static str,
    /// What has it listen where the engine wants it.
    listen: &'static [&'static str],
    /// What names the directory of its data.
    data: Option<&'static str>,
}

const SERVERS: &[Server] = &[
    Server {
        program: "memcached",
        listen: &["-l", "${HOST}", "-p", "${PORT}"],
        data: None,
    },
    Server {
        program: "nats-server",
        listen: &["-a", "${HOST}", "-p", "${PORT}"],
        data: Some("--store_dir"),
    },
    Server {
        program: "redis-server",
        listen: &["--bind", "${HOST}", "--port", "${PORT}"],
        data: Some("--dir"),
    },
    Server {
        program: "valkey-server",
        listen: &["--bind", "${HOST}", "--port", "${PORT}"],
        data: Some("--dir"),
    },
];

/// Returns the program that a store's image runs, where it can run as it is.
pub(crate) fn store_program(store: &str) -> Option<&'static str> {
    let server = format!("{store}-server");
    let mut programs = SERVERS.iter().map(|known| known.program);
    programs.find(|program| *program == store || *program == server)
}

/// Returns the arguments that have a store listen where the engine wants it, and keep its data in
/// the volume of this name; `None` when the program is not known, or is told already.
pub(crate) fn store_arguments(words: &[String], volume: Option<&str>) -> Option<Vec<String>> {
    let program = words.first()?.rsplit('/').next()?;
    let server = SERVERS.iter().find(|server| server.program == program)?;
    let is_told = |argument: &str| words.iter().any(|word| word == argument);
    let flags = server.listen.iter().filter(|word| word.starts_with('-'));
    if flags.into_iter().any(|flag| is_told(flag)) {
        return None;
    }
    let mut arguments: Vec<String> = server.listen.iter().map(|&word| word.to_owned()).collect();
    if let (Some(flag), Some(volume)) = (server.data, volume)
        && !is_told(flag)
    {
        arguments.push(flag.to_owned());
        arguments.push(format!(
            "${{VOLUME_{}}}",
            super::address::variable_prefix(volume)
        ));
    }
    Some(arguments)
}

/// Tells whether TLS is usually spoken on a port, which a container ends itself.
pub(crate) fn is_tls(port: u16) -> bool {
    matches!(port, 443 | 8443 | 9443)
}

/// Tells whether something else than HTTP is usually spoken on a port.
pub(crate) fn is_tcp(port: u16) -> bool {
    TCP_PORTS.contains(&port)
}

/// Returns the name and port of the store or broker that an image is.
pub(crate) fn store(image: &str) -> Option<(&'static str, u16)> {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    let name = name.rsplit('/').next().unwrap_or(name);
    let name = name.split_once(':').map_or(name, |(name, _)| name);
    STORES.iter().find(|(store, _)| *store == name).copied()
}

/// Tells whether a program is the client of a store.
pub(crate) fn is_store_client(program: &str) -> bool {
    let name = program.rsplit('/').next().unwrap_or(program);
    STORE_CLIENTS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_told_where_to_listen_unless_it_is_told_already() {
        let words = |line: &str| -> Vec<String> { line.split(' ').map(str::to_owned).collect() };
        let arguments = store_arguments(&words("redis-server --appendonly yes"), Some("my-data"));
        assert_eq!(
            arguments.unwrap().join(" "),
            "--bind ${HOST} --port ${PORT} --dir ${VOLUME_MY_DATA}"
        );
        assert_eq!(
            store_arguments(&words("redis-server --port 7000"), None),
            None
        );
        assert_eq!(store_arguments(&words("postgres"), None), None);
        assert_eq!(store_program("redis"), Some("redis-server"));
        assert_eq!(store_program("memcached"), Some("memcached"));
        assert_eq!(store_program("postgres"), None);
    }

    #[test]
    fn an_image_is_known_whatever_its_registry_and_tag() {
        for image in [
            "postgres",
            "postgres:16-alpine",
            "registry.example.com:5000/library/postgres:16",
            "bitnami/postgresql:16",
            "postgres@sha256:0123",
        ] {
            assert_eq!(store(image).map(|(_, port)| port), Some(5432), "{image}");
        }
        assert_eq!(store("postgres-exporter:1"), None);
    }
}
